"""A run's rhythm where an event file and a job's log of the same attempt take turns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runs.models import Run
from tests.runs import trees
from tests.runs.trees import grow, job_log, newest, settle, synced, write


def lines(path: Path, first: int, last: int) -> bytes:
    """The lines of a log from one place to another, with their ends."""
    return b"".join(path.read_bytes().splitlines(keepends=True)[first:last])


@pytest.mark.django_db
def test_the_speed_is_known_though_two_files_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    began = time.time() - 30  # a writer's own first record is of now
    monkeypatch.setattr(trees, "WALL", began + 1)
    folder, aside = tmp_path / "logs" / "ds" / "seven", tmp_path / "aside"
    events = write(aside / "events", steps=30, wall=began + 1)
    whole = events.read_bytes()
    log = job_log(aside / "train-1.jsonl", steps=30, end=False)
    folder.mkdir(parents=True)
    cuts = [len(whole) * part // 6 for part in range(7)]
    for turn in range(6):
        grow(folder / newest(aside / "events").name, whole[cuts[turn] : cuts[turn + 1]])
        settle(tmp_path)
        synced(tmp_path / "logs")
        grow(folder / "events.jsonl", lines(log, turn * 5, turn * 5 + 5))
        settle(tmp_path)
        synced(tmp_path / "logs")
    run = Run.objects.get()
    assert len(run.pulse["steps"]) > 10
    assert run.steps_per_second == pytest.approx(1.0, rel=0.2)
