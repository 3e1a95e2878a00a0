"""A purge tells bytes as free when they are: after whoever reads a run has let go of its files."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from retention import openers
from runs.models import Run, Source
from tests.retention.oldruns import run_at
from tests.retention.test_cleanup_command import command

pytestmark = pytest.mark.django_db


def buried_and_open(source: Source, name: str) -> tuple[Run, BinaryIO]:
    run = run_at(source, name)
    command("--select", "all", "--yes", "--grace", "0d")
    return run, next(Path(source.root).parent.glob(f".trainmon-trash/run-{run.pk}-*/events*")).open("rb")


def test_a_purge_waits_for_whoever_has_files_open_but_not_for_ever(source, monkeypatch):
    monkeypatch.setattr(openers, "PAUSE", 0.05)
    run, reader = buried_and_open(source, "a")
    later = threading.Timer(0.3, reader.close)
    later.start()
    assert command("--purge")[0] == 0
    assert (Run.objects.get(pk=run.pk).lifecycle_stage, reader.closed) == ("purged", True)
    later.join()
    monkeypatch.setattr(openers, "LET_GO", timedelta(0))
    run, reader = buried_and_open(source, "b")
    assert command("--purge")[0] == 0
    assert (Run.objects.get(pk=run.pk).lifecycle_stage, reader.closed) == ("purged", False)
    reader.close()
