"""What every test shares: a real PostgreSQL, the embedded one unless DATABASE_URL gives another."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from tests.migrated import migrated
from tests.tables import Emptying, flushing
from tests.trainmon.machine import living, manage, wait_until
from trainmon.embedded import locks
from trainmon.embedded.ensure import ensure

# The files that take longest, in this order, come first: else one worker waits for the other's last.
LONGEST = (
    "test_embedded", "test_up", "test_follow", "test_client", "test_sync_workers", "test_live", "test_sockets", "test_supervisor",
    "test_sse", "test_sync_kill", "test_sweep", "test_schema", "test_follow_kill", "test_sync_database", "test_one_id",
    "test_jobs", "test_charts", "test_accessible", "test_tensorboard", "test_backup", "test_health", "test_demo", "test_compose",
    "test_train", "test_counted", "test_proxy_heals", "test_sandbox", "test_query_access", "test_run", "test_walk",
)

# How long an example takes says nothing on a busy machine; in CI the examples are the same each time.
hypothesis.settings.register_profile(
    "trainmon", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("trainmon")

# Test databases are thrown away: no crash of the machine may cost more than a second run.
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: DjangoDbBlocker,
) -> None:
    """Start the database when the first test needs it; it ends with the last process of the session."""
    if not os.environ.get("DATABASE_URL"):
        ensure(settings.HOME, CARELESS)
        with django_db_blocker.unblock():
            connection.settings_dict["TEST"]["TEMPLATE"] = migrated()


@pytest.fixture(scope="session", autouse=True)
def passwords_are_hashed_in_little_time() -> Iterator[None]:
    """A million rounds take half a second of the processor, at each sign-in and each wrong guess."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PBKDF2PasswordHasher, "iterations", 1000)
        yield


@pytest.fixture(scope="session", autouse=True)
def tables_are_emptied_in_little_time() -> Iterator[None]:
    """A flush takes nearly half a second of the processor, after each test whose commits are real."""
    with pytest.MonkeyPatch.context() as patch:
        emptying = flushing(TransactionTestCase._fixture_teardown)
        if not os.environ.get("DATABASE_URL"):  # it takes a superuser of the database
            emptying = Emptying(emptying)
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: emptying(case))
        yield


@pytest.fixture(scope="session")
def with_tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Makes a TRAINMON_HOME whose database has its tables: a copy of one that is made once for all workers.

    initdb and the migrations take six seconds of a processor; the tests that are about them begin with nothing.
    """
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder) / "with-tables"

    def make(home: Path) -> Path:
        folder.mkdir(exist_ok=True)
        with locks.locked(folder / "lock", timeout=120):
            if not (folder / "postgres").exists():
                migrated_into(folder / "postgres")
        home.mkdir(parents=True)
        subprocess.run(["cp", "-a", folder / "postgres", home / "postgres"], check=True)
        return home

    return make


def migrated_into(postgres: Path) -> None:
    """A database directory that a migrate has made and left, in its final state."""
    # Not in pytest's own folder: that is 0700, and PostgreSQL runs as somebody else where we are root.
    made = Path(tempfile.mkdtemp(prefix="tm-"))
    made.chmod(0o755)
    done = manage(made / "home", "migrate", "-v0")
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: not living(made / "home"))
    shutil.move(made / "home/postgres", postgres)
    shutil.rmtree(made)
