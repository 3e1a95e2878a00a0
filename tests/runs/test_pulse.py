"""A run's rhythm where an event file and a job's log of the same attempt take turns."""

from __future__ import annotations

import shutil
import time
from itertools import permutations
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


@pytest.mark.django_db
def test_where_a_run_stands_does_not_depend_on_which_of_its_files_was_read_first(tmp_path: Path):
    whole = tmp_path / "whole"
    write(whole / "ds" / "two", 1, 150)
    write(whole / "ds" / "two", 1, 150, start=100)
    job_log(whole / "ds" / "two" / "job.jsonl", steps=60)
    (whole / "ds" / "two" / "train.log").write_text(trees.printed(0, 150))
    settle(whole)
    files = [path for path in whole.rglob("*") if path.is_file()]
    found = set()
    for number, order in enumerate(list(permutations(sorted(files)))[::3]):
        root = tmp_path / str(number)
        for path in order:
            there = root / path.relative_to(whole)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)
            synced(root, f"t{number}")
        found.add(Run.objects.get(source__trainer__slug=f"t{number}").step)
    assert found == {249}, "what is printed counts only where no log of records tells the same job"
