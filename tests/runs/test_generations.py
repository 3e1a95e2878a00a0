"""A file that is read again: what is the same goes, what is another is shown, what is old is forgotten."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import commit, generations, reading
from runs.models import Event, LogFile, Run, Segment, SeriesChunk, SeriesTail
from runs.readers import tfevents
from tests.runs.trees import job_log, settle, synced, write

pytestmark = pytest.mark.django_db


def replace(path: Path, steps: int) -> None:
    """Other content under the same name."""
    path.write_bytes(write(path.parent.parent.parent / "aside", ("loss",), steps, wall=1_750_000_000.0).read_bytes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The event file of a synced run of 140 steps."""
    made = write(tmp_path / "root" / "run", ("loss",), 140)
    settle(tmp_path)
    synced(tmp_path / "root")
    return made


def test_a_reading_that_was_cut_off_is_in_no_later_ones_way(path, monkeypatch):
    root, advance = path.parent.parent, commit._advance

    def cut_off(piece):
        if not piece.begins and piece.file.offset > 3000:
            raise KeyboardInterrupt
        advance(piece)

    monkeypatch.setattr(reading, "PIECE_BYTES", 1)
    monkeypatch.setattr(tfevents, "read", functools.partial(tfevents.read, limit=300))
    monkeypatch.setattr(commit, "_advance", cut_off)
    with pytest.raises(KeyboardInterrupt):
        synced(root, full=True)
    assert LogFile.objects.get().reading == 1
    monkeypatch.undo()
    synced(root, full=True)
    file = LogFile.objects.get()
    assert (file.generation, file.reading, file.points) == (0, 0, 140)
    assert {g for model in (SeriesChunk, SeriesTail, Segment) for g in model.objects.values_list("generation", flat=True)} == {0}
    replace(path, 150)
    assert (synced(root).problems, Run.objects.get().point_count) == ([], 150)


def test_the_step_of_a_run_is_that_of_the_new_content_also_after_a_full_sync(path):
    synced(path.parent.parent, full=True)
    replace(path, 10)
    synced(path.parent.parent)
    assert Run.objects.get().step == 9


def test_a_full_sync_leaves_the_rhythm_of_a_run_as_it_was(path):
    synced(path.parent.parent, full=True)
    path.write_bytes(path.read_bytes() + write(path.parent.parent.parent / "aside", ("loss",), 3, start=140).read_bytes())
    synced(path.parent.parent)
    run = Run.objects.get()
    assert (run.step, len(run.pulse["steps"])) == (142, 21)


def test_what_stood_beside_forgotten_generations_is_forgotten_too(tmp_path):
    log = job_log(tmp_path / "run" / "job.jsonl", steps=50)
    for steps in range(51, 60):
        synced(tmp_path)
        log.unlink()
        job_log(log, steps=steps, note="x" * steps)
    synced(tmp_path)
    for model in (SeriesTail, Segment, Event):
        assert len(set(model.objects.values_list("generation", flat=True))) <= commit.KEPT_GENERATIONS + 1


@pytest.mark.parametrize("together", [10, 1_000_000])
def test_two_readings_are_compared_by_few_queries_however_many_series_there_are(tmp_path, monkeypatch, together):
    monkeypatch.setattr(generations, "POINTS_TOGETHER", together)
    write(tmp_path / "run", 500, 3)
    write(tmp_path / "run", ("long",), 300)
    synced(tmp_path)
    with CaptureQueriesContext(connection) as asked:
        synced(tmp_path, full=True)
    assert set(LogFile.objects.values_list("generation", "reading")) == {(0, 0)}
    assert len(asked) < (100 if together > 10 else 500)
