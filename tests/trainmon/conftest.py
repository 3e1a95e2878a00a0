"""A data directory for each test that runs real processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.conftest import alice, lora  # noqa: F401
from tests.runs.test_access import addresses  # noqa: F401
from tests.trainmon.machine import end_all


def _made() -> Path:
    # Not pytest's tmp_path: that lies in a 0700 folder, which only one of the tests is about.
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """A TRAINMON_HOME that does not exist yet, in a folder that everybody may enter."""
    folder = _made()
    yield folder / "home"
    end_all(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """One TRAINMON_HOME for the tests of a file."""
    folder = _made()
    yield folder / "home"
    end_all(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)
