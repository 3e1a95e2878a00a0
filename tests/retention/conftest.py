"""People and a source for the tests of cleanup, and callers of its API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runs.models import Source
from tests.retention.oldruns import source_at
from tests.runs.api.conftest import fresh_buckets, run  # noqa: F401
from tests.runs.conftest import ada, alice, bob, charlie, lora  # noqa: F401


@pytest.fixture
def source(tmp_path: Path, settings: Any) -> Source:
    """A source of the trainer lora whose root is there, and a place for its archives."""
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    return source_at(tmp_path / "logs")
