"""What a sync makes of a source whose runs are in the trash, purged, or back."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from retention.models import Archive, PlannedRun
from runs.models import Job, Note, Run, Series, SeriesChunk, SeriesTail
from tests.retention.oldruns import aged, content
from tests.runs.trees import synced, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(tmp_path: Path, settings) -> Path:
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    for name in ("old", "older", "young"):
        write(tmp_path / "logs" / name)
        aged(tmp_path / "logs" / name, {"old": 20, "older": 30, "young": 1}[name])
    synced(tmp_path / "logs")
    return tmp_path / "logs"


def cleanup(*words: str) -> None:
    call_command("cleanup", *words, "--json", stdout=io.StringIO())


def standing() -> dict[str, tuple[str, bool, int]]:
    return {run.name: (run.lifecycle_stage, run.files_missing, run.point_count) for run in Run.objects.order_by("pk")}


def test_a_sync_neither_misses_nor_finds_what_is_in_the_trash(root):
    cleanup("--select", "old", "--yes")
    done = synced(root)
    assert (done.missing, done.new, done.runs) == (0, 0, 1)
    assert standing() == {
        "old": ("buried", False, 40), "older": ("buried", False, 40), "young": ("active", False, 40)}


def test_a_source_whose_runs_all_went_is_no_lost_volume(root):
    aged(root / "young", 9)
    synced(root)
    Run.objects.update(last_arrival=None)
    cleanup("--select", "all", "--yes")
    assert synced(root).missing == 0


def test_a_restored_run_is_the_one_it_was_with_all_that_was_known(root):
    run = Run.objects.get(name="old")
    for grace in ("7d", "0d"):
        cleanup("--select", "1", "--yes", "--grace", grace)
        if grace == "0d":
            cleanup("--purge")
        synced(root)
        call_command("restore", str(run.pk), "--json", stdout=io.StringIO())
        done = synced(root)
        assert (done.new, done.moved, done.missing, done.points) == (0, 0, 0, 0)
        assert standing()["old"] == ("active", False, 40) and Series.objects.filter(run=run).count() == 2


def test_a_new_run_where_a_purged_one_lay_is_a_new_run(root):
    cleanup("--select", "0", "--yes", "--grace", "0d")
    cleanup("--purge")
    write(root / "older", steps=5)
    synced(root)
    found = Run.objects.filter(name="older").values_list("lifecycle_stage", "point_count")
    assert sorted(found) == [("active", 10), ("purged", 40)]


def held(run: Run) -> list[list]:
    """Everything that the registry has of a run's points, words and history, but for the numbers of its rows."""
    chunks = [model.objects.filter(series__run=run) for model in (SeriesChunk, SeriesTail)]
    rows = [[{**row, "id": 0, "series_id": 0} for row in some.order_by("series__tag__name", "pk").values()] for some in chunks]
    return [*rows, list(run.notes.values("author", "text", "created")), list(run.transitions.values("old", "new", "at"))]


def test_a_run_from_its_archive_brings_back_what_the_registry_lost_of_it_and_nothing_twice(root):
    run = Run.objects.get(name="older")
    run.notes.create(text="the good one")
    run.notes.create(text="typo")
    before, points = held(run), run.point_count
    cleanup("--select", "0", "--yes", "--grace", "0d")
    cleanup("--purge")
    Series.objects.filter(run=run).first().delete()
    run.notes.get(text="the good one").delete()
    Note.objects.filter(text="typo").update(text="mended")
    call_command("restore", str(run.pk), "--json", stdout=io.StringIO())
    assert synced(root).points == 0
    assert held(run)[:2] == before[:2] and held(run)[3] == before[3] and standing()["older"] == ("active", False, points)
    assert sorted(note.text for note in run.notes.all()) == ["mended", "the good one"]


def test_a_run_stays_in_the_trash_while_its_archive_is_out_of_reach_and_the_archive_is_not_called_broken(root, capsys):
    cleanup("--select", "0", "--yes", "--grace", "0d")
    archives = root.parent / "archive"
    archives.rename(root.parent / "unmounted")
    archives.mkdir()  # its mount point
    for words in (("cleanup", "--purge"), ("archives", "verify", "--json")):
        with pytest.raises(SystemExit) as ended:
            call_command(*words, stderr=sys.stderr, stdout=sys.stdout)
        assert ended.value.code == 1
    out, said = capsys.readouterr()
    assert '"state": "unreachable"' in out
    assert f"its archive is unreachable: there is nothing at all in {archives} now: is it the right place, and mounted?" in said
    assert Archive.objects.get().state == "verified" and standing()["older"][0] == "buried"
    archives.rmdir()
    (root.parent / "unmounted").rename(archives)
    cleanup("--purge")
    assert standing()["older"][0] == "purged"


def test_points_are_dropped_only_where_the_archive_has_each_of_them_and_come_back_with_it(root, admin_client, capsys):
    older, old = Run.objects.get(name="older"), Run.objects.get(name="old")
    before, points = held(older), older.point_count
    cleanup("--select", "0 1", "--yes", "--grace", "0d", "--forget-metrics")
    SeriesTail.objects.filter(series__run=old).update(last=42)  # no longer what was archived
    with pytest.raises(SystemExit):
        call_command("cleanup", "--purge", stderr=sys.stderr, stdout=sys.stdout)
    why = "old: its points stay in the registry: the registry has points that its archive does not hold"
    assert why in capsys.readouterr().err
    assert not any(held(older)[:2]) and held(older)[2:] == before[2:] and standing()["old"] == ("purged", False, points)
    page = admin_client.get(f"/runs/{older.pk}/").content.decode()
    assert "The points of this run were dropped when it was cleaned up" in page and "points dropped" in page
    assert Series.objects.filter(run=older).exclude(last=None).count() == 2
    call_command("restore", str(older.pk), "--json", stdout=io.StringIO())
    assert synced(root).points == 0 and held(older)[:2] == before[:2]
    assert standing()["older"] == ("active", False, points) and Run.objects.get(name="older").points_dropped is None


def test_points_that_only_the_registry_has_are_never_dropped(root):
    with pytest.raises(CommandError, match="--forget-metrics needs an archive") as refused:
        cleanup("--select", "0", "--yes", "--no-archive", "--forget-metrics")
    assert refused.value.returncode == 2 and standing()["older"][0] == "active"


def test_a_run_that_was_pushed_goes_with_its_folder_and_one_that_is_a_log_file_says_why_it_stays(tmp_path, settings):
    settings.TRAINMON_ARCHIVE, root = str(tmp_path / "archive"), tmp_path / "logs"
    record = {"ts": "2025-01-02T03:04:05Z", "level": "INFO", "msg": "x", "event": "training.step", "fields": {"step": 1}}
    for path in ("data/first/pushed.jsonl", "data/second/pushed.jsonl", "jobs/train-7.jsonl"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(record | {"job_id": path.split("/")[1], "event_id": "e:1"}) + "\n")
    (root / "data/first/model.bin").write_bytes(b"weights")
    write(root / "data/second/inner")
    aged(root, 30)
    synced(root)
    Run.objects.update(status="unknown"), Job.objects.update(status="finished")
    first, before = Run.objects.get(path=b"data/first/pushed.jsonl"), content(root / "data/first")
    with pytest.raises(SystemExit):
        cleanup("--select", "all", "--yes")
    stays = dict(PlannedRun.objects.exclude(error="").values_list("run__path", "error"))
    assert {bytes(path): error for path, error in stays.items()} == {
        b"jobs/train-7.jsonl": "is a log file without a folder of its own, and only folders are moved: delete "
                               "'jobs/train-7.jsonl' by hand; what is known of the run stays",
        b"data/second/pushed.jsonl": "holds another run: 'data/second/inner'"}
    done = synced(root)
    assert not (root / "data/first").exists() and (done.new, done.missing) == (0, 0)
    call_command("restore", str(first.pk), "--json", stdout=io.StringIO())
    call_command("restore", str(Run.objects.get(name="inner").pk), "--json", stdout=io.StringIO())
    done = synced(root)
    assert content(root / "data/first") == before and (done.new, done.missing, done.moved) == (0, 0, 0)
    first.refresh_from_db()
    assert (first.lifecycle_stage, first.files_missing, bytes(first.path)) == ("active", False, b"data/first/pushed.jsonl")
