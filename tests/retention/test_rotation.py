"""Stored lines and events of jobs that are long over go by policy; nothing that runs or is kept loses one (ISG-10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils.timezone import now

from retention import rotation, tasks
from retention.models import Hold
from runs import logchunks
from runs.models import AuditEntry, Bookmark, Event, Job, LogChunk
from runs.readers.records import Lines
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_job, make_run, make_source, make_trainer, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kept_for_a_month(settings: Settings) -> None:
    settings.TRAINMON_KEEP_EVENTS = 30


def job_of(days: float, status: str = "finished", **of_run: Any) -> Job:
    """A job with three lines and an event, of which nothing came for so long."""
    then = now() - timedelta(days=days)
    run = make_run(make_source(make_trainer(f"t{Job.objects.count()}")), status=status, last_arrival=then, **of_run)
    ended = then if status == "finished" else None
    job = make_job(run, status=status, last_event=then, last_line=then, ended=ended, line_count=3)
    file = make_file(run)
    lines = Lines([b'{"msg": "a"}'] * 3, [1.0, 2.0, 3.0], ["INFO"] * 3, [""] * 3)
    logchunks.store([((job.pk, file.pk, 0), lines)])
    Event.objects.create(run=run, job=job, log_file=file, generation=0, offset=0, level="ERROR", kind="error", message="x")
    return job


def left() -> set[int]:
    assert set(LogChunk.objects.values_list("job", flat=True)) == set(Event.objects.values_list("job", flat=True))
    return set(LogChunk.objects.values_list("job", flat=True))


def test_lines_of_old_jobs_go_with_an_audit_entry_and_all_others_stay():
    old, young, running = job_of(31), job_of(29), job_of(400, "running")
    pinned, held, marked, future = job_of(90, pinned=True), job_of(90), job_of(90), job_of(90)
    Hold.objects.create(run=held.run, reason="evidence")
    Bookmark.objects.create(run=marked.run, owner=make_user("bob"))
    Job.objects.filter(pk=future.pk).update(last_event=now() + timedelta(days=3650))
    tasks.drop_old_lines()
    assert left() == {job.pk for job in (young, running, pinned, held, marked, future)}
    entry = AuditEntry.objects.get(action="drop old lines")
    assert (entry.who, entry.object_id, entry.details["lines"], entry.details["events"]) == ("trainmon", old.pk, 3, 1)
    old.refresh_from_db()
    assert old.line_count == 0 and old.lines_dropped
    client = signed_in(make_user("ada", "admin"))
    assert "The lines of this job were dropped" in client.get(f"/jobs/{old.pk}/logs/").content.decode()
    for where in ("", "logs/view/"):
        told = [client.get(f"/api/jobs/{job.pk}/{where}").json()["lines_dropped"] for job in (old, young)]
        assert (told[0] or "").endswith("Z") and told[1] is None, where


def test_it_is_off_by_default(settings: Settings):
    settings.TRAINMON_KEEP_EVENTS = 0
    job = job_of(4000)
    assert rotation.drop_old(now()) == rotation.Dropped() and left() == {job.pk}


def test_it_goes_in_batches_and_on_where_it_was_cut_off(monkeypatch: Any):
    monkeypatch.setattr(rotation, "BATCH", 1)
    job = job_of(31)
    since = rotation.before(now())
    assert since is not None and rotation.drop(job.pk, since) == rotation.Dropped(3, 0)
    assert rotation.drop_old(now()) == rotation.Dropped(0, 1) and left() == set()


def test_a_job_that_goes_on_again_keeps_what_it_says_then():
    job = job_of(31)
    tasks.drop_old_lines()
    logchunks.store([((job.pk, job.run.log_files.get().pk, 0), Lines([b'{"msg": "new"}'], [4.0], ["INFO"], [""]))])
    Job.objects.filter(pk=job.pk).update(status="running", last_event=now())
    tasks.drop_old_lines()
    assert LogChunk.objects.get(job=job).count == 1
