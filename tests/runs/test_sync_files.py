"""A file is read once, goes on where it was left, and is another only where its content is another."""

from __future__ import annotations

import functools
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from runs import commit, reading
from runs.models import LogFile, Run, Series, SeriesChunk, Transition
from runs.readers import jsonl, tfevents
from runs.scan import Options, Progress
from runs.sync import sync
from tests.runs.readers.event_bytes import framed
from tests.runs.trees import (
    copy,
    grow,
    job_log,
    outcome_of,
    point_count,
    points,
    registry,
    same,
    settle,
    source_of,
    synced,
    write,
    write_x,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit for every few records."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 1)
    for reader in (tfevents, jsonl):
        monkeypatch.setattr(reader, "read", functools.partial(reader.read, limit=300))


def run_tree(root: Path) -> Path:
    write(root / "ds" / "run", 3, 60)
    write(root / "ds" / "run", 2, 30, start=40)
    write_x(root / "ds" / "other", steps=150)
    job_log(root / "ds" / "other" / "job.jsonl", steps=40)
    return root


def test_every_scalar_of_the_files_is_stored_once(tmp_path):
    run_tree(tmp_path)
    synced(tmp_path)
    assert sum(Run.objects.values_list("point_count", flat=True)) == point_count(tmp_path) + 40


@pytest.mark.parametrize("seed", range(4))
def test_however_a_tree_grows_the_registry_is_that_of_one_sync(tmp_path, seed):
    whole = run_tree(tmp_path / "whole")
    settle(whole)
    growing = copy(whole, tmp_path / "growing")
    files = {path: path.read_bytes() for path in sorted(growing.rglob("*.*")) if path.is_file()}
    cuts = random.Random(seed)
    marks = {path: sorted(cuts.randrange(len(data)) for _ in range(3)) for path, data in files.items()}
    for stage in range(3):
        for path, data in files.items():
            path.write_bytes(data[: marks[path][stage]])
        synced(growing)
    for path, data in files.items():
        path.write_bytes(data)
        shutil.copystat(whole / path.relative_to(growing), path)
    synced(growing)
    synced(whole)
    assert same(registry(source_of(growing)), registry(source_of(whole)))


def test_many_small_commits_give_the_registry_of_one(tmp_path, small_commits):
    settle(run_tree(tmp_path / "one"))
    copy(tmp_path / "one", tmp_path / "two")
    synced(tmp_path / "one")
    small = registry(source_of(tmp_path / "one"))
    reading.PIECE_BYTES = 24 * 1024 * 1024
    synced(tmp_path / "two")
    assert same(small, registry(source_of(tmp_path / "two")))


def test_a_sync_cut_off_after_any_commit_goes_on_to_the_same_registry(tmp_path, small_commits, monkeypatch):
    settle(run_tree(tmp_path / "one"))
    copy(tmp_path / "one", tmp_path / "two")
    advance, allowed = commit._advance, iter(random.Random(1).choices(range(1, 9), k=500))
    left = [next(allowed)]

    def cut_off(piece):
        left[0] -= 1
        if not left[0]:
            left[0] = next(allowed)
            raise KeyboardInterrupt
        return advance(piece)

    monkeypatch.setattr(commit, "_advance", cut_off)
    interrupted = 0
    while True:
        try:
            synced(tmp_path / "one")
            break
        except KeyboardInterrupt:
            interrupted += 1
    monkeypatch.undo()
    synced(tmp_path / "two")
    assert interrupted > 10
    assert same(registry(source_of(tmp_path / "one")), registry(source_of(tmp_path / "two")))


def test_a_half_written_record_is_waited_for(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    assert synced(tmp_path).points == 19
    path.write_bytes(data)
    done = synced(tmp_path)
    assert (done.points, done.problems, Run.objects.get().point_count) == (1, [], 20)


def test_a_copy_that_renames_itself_into_place_is_read_on(tmp_path):
    path = write(tmp_path / "run", ("loss",), 60)
    data = path.read_bytes()
    edges = range(200, len(data), 500)
    for edge in [*edges, len(data)]:
        part = path.with_name(f".{path.name}.Ab12Cd")
        part.write_bytes(data[:edge])
        part.rename(path)
        synced(tmp_path)
    file = LogFile.objects.get()
    assert (file.points, file.generation, file.reading, file.offset) == (60, 0, 0, len(data))


def test_an_unfinished_copy_beside_the_file_is_no_second_file(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    shutil.copy(path, path.with_name(f".{path.name}.Ab12Cd"))
    synced(tmp_path)
    assert (LogFile.objects.count(), Run.objects.get().point_count) == (1, 20)


def test_a_remount_with_another_device_number_reads_nothing_again(tmp_path):
    write(tmp_path / "run")
    settle(tmp_path)
    synced(tmp_path)
    before = registry(source_of(tmp_path))
    LogFile.objects.update(device=987, inode=65)
    type(source_of(tmp_path)).objects.update(device=987, fingerprint=b"")
    done = synced(tmp_path)
    assert (done.bytes_read, done.missing) == (0, 0)
    assert same(registry(source_of(tmp_path)), before)


def other_content(path: Path, steps: int) -> bytes:
    made = write(path.parent.parent / "aside", ("loss",), steps, wall=1_750_000_000.0)
    data = made.read_bytes()
    shutil.rmtree(made.parent)
    return data


def test_a_file_rewritten_in_place_with_the_same_size_is_a_new_generation(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    synced(tmp_path)
    data = other_content(path, 20)
    assert len(data) == path.stat().st_size
    with path.open("r+b") as rewritten:
        rewritten.write(data)
    synced(tmp_path)
    file = LogFile.objects.get()
    assert (file.generation, file.points, Run.objects.get().point_count) == (1, 20, 20)
    assert Series.objects.get().last_wall > 1_750_000_000.0


def test_a_rewrite_that_hides_its_time_is_found_by_full(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    settle(tmp_path)
    synced(tmp_path)
    times = path.stat()
    data = bytearray(path.read_bytes())
    middle = other_content(path, 20)
    data[400:-64] = middle[400:-64]
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = synced(tmp_path, full=True)
    assert done.bytes_read == len(data)
    assert (LogFile.objects.get().generation, Run.objects.get().point_count) == (1, LogFile.objects.get().points)


@pytest.mark.parametrize("steps", [3, 20, 50])
def test_a_file_replaced_by_another_shows_the_other(tmp_path, steps):
    path = write(tmp_path / "run", ("loss",))
    synced(tmp_path)
    fresh = path.with_name("fresh")
    fresh.write_bytes(other_content(path, steps))
    fresh.rename(path)
    synced(tmp_path)
    file = LogFile.objects.get()
    assert (file.generation, Run.objects.get().point_count) == (1, steps) and file.replaced is not None
    assert Series.objects.get().count == steps


def test_a_truncated_file_that_grows_again_is_a_new_generation(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    synced(tmp_path)
    os.truncate(path, 0)
    synced(tmp_path)
    grow(path, other_content(path, 7))
    synced(tmp_path)
    assert (Run.objects.get().point_count, LogFile.objects.get().points) == (7, 7)


def test_a_file_replaced_beside_ones_that_grew_counts_each_point_once(tmp_path):
    paths = sorted(write(tmp_path / "run", ("loss",), steps) for steps in (10, 11, 12))
    whole = [path.read_bytes() for path in paths]
    paths[1].write_bytes(whole[1][:-100])
    paths[2].write_bytes(whole[2][:-200])
    synced(tmp_path)
    paths[0].write_bytes(other_content(paths[0], 40))
    for path, data in zip(paths[1:], whole[1:], strict=True):
        path.write_bytes(data)
    synced(tmp_path)
    assert Run.objects.get().point_count == sum(LogFile.objects.values_list("points", flat=True)) == point_count(tmp_path)
    assert Series.objects.get().count == point_count(tmp_path)


@pytest.mark.parametrize("first", ["events", "log"])
def test_a_run_stands_where_its_latest_record_says_whichever_file_is_read_first(tmp_path, first):
    events, log = write(tmp_path / "run", ("loss",), 50), job_log(tmp_path / "run" / "job.jsonl", steps=20)
    held = {"events": log, "log": events}[first]
    data = held.read_bytes()
    held.unlink()
    synced(tmp_path)
    held.write_bytes(data)
    synced(tmp_path)
    assert Run.objects.get().step == 49


def test_pages_show_the_old_generation_until_the_new_one_is_read_to_its_end(tmp_path, small_commits, monkeypatch):
    path = write(tmp_path / "run", ("loss",), 40)
    synced(tmp_path)
    path.write_bytes(other_content(path, 60))
    advance = commit._advance

    def cut_off(piece):
        if not piece.begins and piece.file.offset > 1500:
            raise KeyboardInterrupt
        return advance(piece)

    monkeypatch.setattr(commit, "_advance", cut_off)
    with pytest.raises(KeyboardInterrupt):
        synced(tmp_path)
    file = LogFile.objects.get()
    assert (file.generation, file.reading, Run.objects.get().point_count, Series.objects.get().count) == (0, 1, 40, 40)
    monkeypatch.setattr(commit, "_advance", advance)
    synced(tmp_path)
    file = LogFile.objects.get()
    assert (file.generation, file.reading, Run.objects.get().point_count, Series.objects.get().count) == (1, 1, 60, 60)


def test_reading_everything_again_changes_no_point(tmp_path):
    run_tree(tmp_path)
    synced(tmp_path)
    before = {where[:3] + where[4:]: what for where, what in points(source_of(tmp_path)).items()}
    synced(tmp_path, full=True)
    shown = dict(LogFile.objects.values_list("path", "generation"))
    after = {where[:3] + where[4:]: what for where, what in points(source_of(tmp_path)).items()
             if shown[where[2]] == where[3]}
    assert after == before


def test_full_syncs_again_and_again_do_not_fill_the_database(tmp_path):
    run_tree(tmp_path)
    synced(tmp_path)
    for _ in range(6):
        synced(tmp_path, full=True)
    assert set(SeriesChunk.objects.values_list("generation", flat=True)) <= {0}
    assert set(LogFile.objects.values_list("generation", "reading")) == {(0, 0)}


def test_a_full_sync_tells_no_change_of_status_twice(tmp_path):
    job_log(tmp_path / "run" / "job.jsonl", steps=5)
    synced(tmp_path)
    before = list(Transition.objects.values_list("old", "new", "at"))
    synced(tmp_path, full=True)
    assert before and list(Transition.objects.values_list("old", "new", "at")) == before


def test_contents_replaced_again_and_again_are_kept_up_to_a_few(tmp_path):
    path = write(tmp_path / "run", ("loss",), 200)
    for steps in range(201, 208):
        synced(tmp_path)
        path.write_bytes(other_content(path, steps))
    assert 1 < len(set(SeriesChunk.objects.values_list("generation", flat=True))) <= commit.KEPT_GENERATIONS + 1


def test_a_corrupt_record_is_skipped_counted_and_named_with_its_offset(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(data)
    done = synced(tmp_path)
    file = LogFile.objects.get()
    assert (done.damaged, file.bad_records + (file.lost_bytes > 0) > 0, len(file.damages)) == (1, True, 1)
    assert file.points >= 18
    assert str(file.damages[0]["offset"]) in done.problems[0]
    settle(tmp_path)
    assert synced(tmp_path).problems == synced(tmp_path).problems == done.problems


def test_garbage_at_the_end_of_a_file_is_no_silent_stop(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    grow(path, random.Random(0).randbytes(500))
    done = synced(tmp_path)
    assert done.damaged == 1
    assert f"byte {path.stat().st_size - 500}" in done.problems[0]
    grow(path, framed(b"\x09" + bytes(8)))
    assert LogFile.objects.get().points == 20


def test_the_state_of_another_version_is_read_from_the_start(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    log = job_log(tmp_path / "job.jsonl", end=False)
    synced(tmp_path)
    LogFile.objects.update(state=b"of another version")
    grow(path, framed(b"\x09" + bytes(8)))
    job_log(log, start=10, steps=5)
    assert synced(tmp_path).problems == []
    assert sorted(Run.objects.values_list("name", "point_count")) == [("job", 15), ("run", 20)]


def test_an_unchanged_tree_is_not_opened(tmp_path):
    run_tree(tmp_path)
    settle(tmp_path)
    synced(tmp_path)
    opened = {path: path.stat().st_atime_ns for path in tmp_path.rglob("*.*")}
    for path in opened:
        os.utime(path, ns=(1, path.stat().st_mtime_ns))
    done = synced(tmp_path)
    assert (done.bytes_read, done.unchanged, done.grown) == (0, 2, 0)
    assert {path.stat().st_atime_ns for path in opened} == {1}


def test_a_file_exchanged_faster_than_it_is_read_does_not_hold_up_the_sync(tmp_path):
    paths = [write(tmp_path / "run", ("loss",), 10) for _ in range(2)]
    write(tmp_path / "zz-other", ("loss",))
    copies = iter(range(500))

    def exchange(progress: Progress) -> None:
        for path in paths:
            if progress.phase == "reading" and next(copies, None) is not None:
                shutil.copy(path, path.with_name("next"))
                path.with_name("next").rename(path)

    done = sync(source_of(tmp_path).pk, Options(), isolate="here", report=exchange)
    assert next(copies) < 50, "it was read again and again"
    assert getattr(done, "problems", done) == []
    assert set(Run.objects.values_list("point_count", flat=True)) == {20}


@pytest.mark.parametrize("phase", ["scanning", "registering", "reading"])
def test_files_that_vanish_during_a_sync_are_no_error(tmp_path, phase):
    write(tmp_path / "a-stays")
    gone = write(tmp_path / "b-goes")
    write(tmp_path / "b-goes")

    def vanish(progress: Progress) -> None:
        if progress.phase == phase:
            gone.unlink(missing_ok=True)

    done = sync(source_of(tmp_path).pk, Options(), isolate="here", report=vanish)
    assert getattr(done, "problems", done) == []
    assert synced(tmp_path).problems == []
    assert sorted(LogFile.objects.values_list("points", flat=True)) in ([40, 40], [0, 40, 40])
    assert not Run.objects.filter(status_reason="").exists()


def test_a_file_that_was_away_while_it_was_to_be_read_is_read_when_it_is_back(tmp_path):
    path = write(tmp_path / "run")
    settle(tmp_path)
    aside = tmp_path / "aside"

    def vanish(progress: Progress) -> None:
        if progress.phase == "registering" and path.exists():
            path.rename(aside)

    sync(source_of(tmp_path).pk, Options(), isolate="here", report=vanish)
    aside.rename(path)
    assert synced(tmp_path).points == 40


def test_a_run_directory_that_vanishes_during_a_sync_is_missing_at_the_next(tmp_path):
    write(tmp_path / "stays")
    write(tmp_path / "goes")

    def vanish(progress: Progress) -> None:
        if progress.phase == "registering":
            shutil.rmtree(tmp_path / "goes", ignore_errors=True)

    sync(source_of(tmp_path).pk, Options(), isolate="here", report=vanish)
    outcome_of(tmp_path)
    assert dict(Run.objects.values_list("name", "files_missing")) == {"stays": False, "goes": True}


def test_a_file_of_the_future_or_of_before_1970_is_read_like_any_other(tmp_path):
    for name, when in {"future": 4_000_000_000, "ext4's last": 15_032_385_535, "past": -2_000_000_000}.items():
        path = write(tmp_path / name)
        os.utime(path, (when, when))
    assert synced(tmp_path).problems == []
    synced(tmp_path)
    assert set(Run.objects.values_list("point_count", "status_reason")) and Run.objects.filter(point_count=40).count() == 3
    assert all(run.last_arrival.timestamp() <= time.time() for run in Run.objects.all())
