"""A purge tells bytes as free when they are: after whoever reads a run has let go of its files."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from retention import openers
from runs.models import Run
from tests.retention.oldruns import run_at
from tests.retention.test_cleanup_command import command

pytestmark = pytest.mark.django_db


def test_a_purge_waits_for_whoever_has_files_open_but_not_for_ever(source, monkeypatch):
    monkeypatch.setattr(openers, "PAUSE", 0.05)
    for name, patience, waits in (("a", 60.0, True), ("b", 0.0, False)):
        monkeypatch.setattr(openers, "LET_GO", timedelta(seconds=patience))
        run = run_at(source, name)
        command("--select", "all", "--yes", "--grace", "0d")
        reader = next(Path(source.root).parent.glob(f".trainmon-trash/run-{run.pk}-*/events*")).open("rb")
        later = threading.Timer(0.3, reader.close)
        later.start()
        assert command("--purge")[0] == 0
        assert (Run.objects.get(pk=run.pk).lifecycle_stage, reader.closed) == ("purged", waits)
        later.join()
