"""What a plan lists, what must stay and why, and what its token covers."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from retention.candidates import Candidate, candidates
from retention.models import Hold, PlannedRun
from retention.plan import Author, Changed, Draft, Options, confirm, draft
from runs.models import AuditEntry, Bookmark, Job, Run
from tests.retention.oldruns import aged, run_at
from tests.runs.factories import make_job, make_run, make_source, make_user

pytestmark = pytest.mark.django_db
ME = Author("tess", "console", "old stuff", "all")


def plan_of(*runs: Run, **options: bool) -> Draft:
    return draft([(one, "test") for one in rows(*runs)], Options(**options), now())


def rows(*runs: Run) -> list[Candidate]:
    return candidates(Run.objects.filter(pk__in=[run.pk for run in runs]))


def refusal(run: Run, **options: bool) -> str:
    (one,) = plan_of(run, **options).chosen
    return one.refusal


def folder(run: Run) -> Path:
    return Path(run.source.root) / run.path.decode()


def test_a_plan_lists_files_sizes_and_what_is_freed(source):
    one, two = run_at(source, "a", sizes=(3000, 50)), run_at(source, "ds/b", sizes=(10, 20, 30))
    made = plan_of(one, two)
    assert [(each.candidate.name, each.seen.files, each.seen.size) for each in made.going] == [("a", 2, 3050), ("b", 3, 60)]
    assert (made.total("size"), made.total("files")) == (3110, 5)
    assert made.total("frees") == sum(path.stat().st_blocks * 512 for path in Path(source.root).rglob("*") if path.is_file())


def test_a_file_with_another_link_frees_nothing(source, tmp_path):
    run = run_at(source, sizes=(3000,))
    os.link(next(folder(run).glob("events*")), tmp_path / "kept")
    assert plan_of(run).total("frees") == 0


@pytest.mark.parametrize(("fields", "why"), [
    ({"status": "running"}, "is running"),
    ({"status": "queued"}, "is about to run"),
    ({"last_arrival": timedelta(minutes=-3)}, "was written 3 m"),
    ({"last_arrival": timedelta(days=3)}, "is dated in the future"),
    ({"pinned": True}, "is pinned"),
    ({"files_missing": True}, "files are missing"),
    ({"lifecycle_stage": "buried"}, "is in the trash already"),
])
def test_a_protected_run_stays_with_a_reason(source, fields, why):
    fields = {name: now() + value if isinstance(value, timedelta) else value for name, value in fields.items()}
    assert why in refusal(run_at(source, **fields))


def test_a_run_that_anybody_bookmarked_is_held_or_has_a_running_job_stays(source):
    marked, held, busy = (run_at(source, name) for name in ("a", "b", "c"))
    Bookmark.objects.create(run=marked, owner=make_user("alice"))
    Hold.objects.create(run=held, reason="for the paper")
    make_job(busy)
    assert [refusal(run) for run in (marked, held, busy)] == ["is bookmarked", "is held: for the paper", "is running"]
    Hold.objects.update(until=now() - timedelta(seconds=1))
    Job.objects.update(status="finished")
    assert [one.refusal for one in plan_of(held, busy).chosen] == ["", ""]


def test_force_is_for_pins_and_bookmarks_only(source):
    pinned, running, held = run_at(source, "a", pinned=True), run_at(source, "b", status="running"), run_at(source, "c")
    Hold.objects.create(run=held, reason="law")
    assert [one.refusal for one in plan_of(pinned, running, held, forced=True).chosen] == ["", "is running", "is held: law"]


def test_what_lies_in_the_folder_is_asked_too_not_only_the_registry(source):
    fresh, future, linked = (run_at(source, name) for name in ("a", "b", "c"))
    os.utime(folder(fresh) / "sub/file-1", (time.time() - 60,) * 2)
    os.utime(folder(future) / "sub/file-1", (time.time() + 9e9,) * 2)
    (folder(linked) / "sub/way-out").symlink_to("/etc")
    aged(folder(linked), 30)
    said = [one.refusal for one in plan_of(fresh, future, linked).chosen]
    assert "was written 1 m" in said[0] and "in the future" in said[1]
    assert said[2] == "holds 'sub/way-out', a symlink: only files and folders are cleaned up"


def test_the_parent_of_another_run_or_source_and_the_root_stay(source):
    parent, child, other = (run_at(source, path) for path in ("p", "p/q", "r"))
    root = make_run(source, path=b"", started=now() - timedelta(days=9))
    make_source(source.trainer, root=f"{source.root}/r/sub", enabled=False)
    assert refusal(parent) == "holds another run: 'p/q'"
    assert refusal(child) == ""
    assert refusal(root) == "is the source's root itself"
    assert refusal(other) == "holds the folder of another source"


@pytest.mark.parametrize("path", [b"../elsewhere", b"/etc", b"a/../../b", b".trainmon-trash/x", b"gone", b"link", b"file"])
def test_a_path_that_is_no_folder_strictly_below_the_root_stays(source, tmp_path, path):
    run_at(source, "kept")
    (tmp_path / "elsewhere").mkdir()
    (Path(source.root) / "link").symlink_to(tmp_path / "elsewhere")
    (Path(source.root) / "file").write_text("x")
    old = now() - timedelta(days=9)
    assert refusal(make_run(source, path=path, started=old)) != ""


def test_only_a_quiet_past_counts_as_old(source):
    old, forged, event = run_at(source, "a", days=7.1), run_at(source, "b"), run_at(source, "c")
    Run.objects.filter(pk=forged.pk).update(modified=now() + timedelta(days=400))
    Run.objects.filter(pk=event.pk).update(last_event=now() + timedelta(days=400))
    young, grown, unknown = run_at(source, "d", days=6.9), run_at(source, "e"), run_at(source, "f")
    Run.objects.filter(pk=grown.pk).update(last_arrival=now() - timedelta(days=1))
    Run.objects.filter(pk=unknown.pk).update(modified=None)
    week = [row.id for row in rows(old, forged, event, young, grown, unknown) if row.is_older(timedelta(days=7), now())]
    assert week == [old.pk]


def test_the_token_covers_every_file_and_the_manner(source):
    run = run_at(source)
    token = plan_of(run).token
    assert token == plan_of(run).token
    assert token != plan_of(run, archive=False).token
    path = folder(run) / "sub/file-1"
    seen = path.stat()
    path.write_bytes(b"y" * seen.st_size)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1))
    assert token != plan_of(run).token


def test_a_confirmation_of_another_list_writes_nothing(source):
    one, two = run_at(source, "a"), run_at(source, "b")
    shown, real = plan_of(one), plan_of(one, two)
    with pytest.raises(Changed):
        confirm(real, ME, shown.token)
    assert not PlannedRun.objects.exists() and not AuditEntry.objects.exists()


def test_a_confirmed_plan_is_written_down_with_who_and_why(source):
    made = plan_of(run_at(source, "a"), run_at(source, "b", pinned=True))
    plan = confirm(made, ME, made.token)
    assert list(plan.runs.values_list("step", "error", "files")) == [("planned", "", 2), ("skipped", "is pinned", 0)]
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.action, entry.why, entry.details["bytes"]) == ("tess", "confirm cleanup", "old stuff", 320)


def test_of_two_that_confirm_the_same_at_once_one_does_and_no_secret_of_a_reason_is_kept(source):
    run = run_at(source, "a")
    one, two = plan_of(run), plan_of(run)
    plan = confirm(one, replace(ME, why="password=hunter2hunter2"), one.token)
    with pytest.raises(Changed, match=f"is in cleanup {plan.pk}, which is under way"):
        confirm(two, ME, two.token)
    assert "hunter2" not in plan.why + AuditEntry.objects.get().why


def test_a_plan_asks_the_database_as_often_for_many_runs_as_for_one(source):
    runs = [run_at(source, f"r{number}") for number in range(5)]
    counts = []
    for some in (runs[:1], runs):
        with CaptureQueriesContext(connection) as asked:
            plan_of(*some)
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 4
