"""Sites for all tests: one that hears a real Valkey, one that must look for changes by itself, one that does both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.runs.conftest import ada, alice, bob, charlie, lora  # noqa: F401
from tests.streaming.sites import Site, site_running, valkey_running


@pytest.fixture(scope="session")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Valkey."""
    with valkey_running(tmp_path_factory.mktemp("bus")) as address:
        yield address


@pytest.fixture
def told(bus: str, settings: Any) -> None:
    """What this process commits is told over the bus."""
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [bus], "prefix": "trainmon"}}
    }


@pytest.fixture(scope="session")
def bused(django_db_setup: None, bus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that hears the bus, and looks by itself once a minute only."""
    with site_running(tmp_path_factory.mktemp("bused"), bus, "tests.streaming.unpolled") as site:
        yield site


@pytest.fixture(scope="session")
def deaf(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose bus is down."""
    with site_running(tmp_path_factory.mktemp("deaf"), "redis://127.0.0.1:1") as site:
        yield site


@pytest.fixture(scope="session")
def whole(django_db_setup: None, bus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site as it is run."""
    with site_running(tmp_path_factory.mktemp("whole"), bus) as site:
        yield site
