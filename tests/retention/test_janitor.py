"""The janitor: what was ordered is done, by a real worker too, and what could not be is gone on with in its next round."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from retention import archive, destinations, graves, orders, plan, purging, tasks, watching, work
from retention.candidates import candidates
from retention.files import listing, open_folder
from retention.janitor import ripe
from retention.meter import Meter
from retention.models import Archive, Plan, Tombstone
from retention.turn import Busy, turn
from runs.models import AuditEntry, Heartbeat, Run, Source
from tests.retention.oldruns import content, run_at, source_at
from tests.runs.conftest import signed_in
from tests.runs.processes import ROOT, environment
from tests.streaming.sites import until, valkey_running
from trainmon.celery import app
from trainmon.settings import broker

AUTHOR = plan.Author("bob", "web")


def drafted(source: Source, **options: Any) -> plan.Draft:
    chosen = [(one, "old") for one in candidates(Run.objects.filter(source=source))]
    return plan.draft(chosen, plan.Options(**options), now())


def ordered(source: Source, **options: Any) -> Plan:
    """A cleanup whose word to the janitor is lost."""
    made = drafted(source, **options)
    return plan.confirm(made, AUTHOR, made.token)


def stage(run: Run) -> str:
    return str(Run.objects.values_list("lifecycle_stage", flat=True).get(pk=run.pk))


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where what is ordered here is sent to, in place of the tests' memory."""
    with valkey_running(tmp_path) as address:
        monkeypatch.setenv("CELERY_BROKER_URL", broker(address))
        app._after_fork()  # forgets its connections
        yield address
        monkeypatch.undo()
        app._after_fork()


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_serves_its_queue_cleans_up_what_was_ordered_and_brings_it_back(source, bus, tmp_path, settings):
    run, bob = run_at(source, sizes=(3000, 10)), User.objects.create_user("bob")
    before = content(Path(source.root) / "ds")
    words = [sys.executable, "-m", "celery", "--quiet", "-A", "trainmon", "worker", "--queues=janitor", "--concurrency=2"]
    places = {"TRAINMON_HOME": str(tmp_path), "TRAINMON_ARCHIVE": settings.TRAINMON_ARCHIVE}
    env = environment(REDIS_URL=bus, TRAINMON_DB_POOL="4", **places)
    with (tmp_path / "said").open("wb") as said:
        worker = subprocess.Popen([*words, "--without-gossip", "--without-mingle"], cwd=ROOT, env=env, stdout=said, stderr=said)
    try:
        made = drafted(source)
        made = orders.clean(made, AUTHOR, made.token)
        until(lambda: Plan.objects.get(pk=made.pk).state == "done")
        assert stage(run) == "buried" and not (Path(source.root) / "ds/run").exists()
        orders.bring_back([Tombstone.objects.get()], bob, "too early")
        until(lambda: Tombstone.objects.get().restored_at is not None)
        assert stage(run) == "active" and content(Path(source.root) / "ds") == before
        assert AuditEntry.objects.get(action="order restore").why == "too early"
        assert AuditEntry.objects.get(action="restore run").who == "bob"
        until(lambda: Heartbeat.objects.filter(service="janitor").exists())
    finally:
        worker.terminate()
        worker.wait(60)


@pytest.mark.django_db
def test_where_the_broker_is_away_it_is_said_and_the_next_round_does_it(source, monkeypatch):
    run, made = run_at(source), drafted(source)
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    app._after_fork()
    with pytest.raises(orders.Away, match="written down") as away:
        orders.clean(made, AUTHOR, made.token)
    assert away.value.plan is not None and away.value.plan.state == "confirmed" and stage(run) == "active"
    tasks.tidy()
    assert stage(run) == "buried"
    with pytest.raises(orders.Away):
        orders.bring_back(purging.lying(), User.objects.create_user("bob"))
    assert [ripe(now() + timedelta(days=30)), stage(run)] == [[], "buried"]  # nobody purges what is wanted back
    tasks.tidy()
    assert stage(run) == "active" and (Path(source.root) / "ds/run").is_dir()
    monkeypatch.undo()
    app._after_fork()


@pytest.mark.django_db
def test_a_plan_that_only_archives_leaves_its_runs_where_they_are(source):
    run, before = run_at(source, pinned=True), content(Path(source.root))
    made = drafted(source, keeps=True)
    orders.clean(made, AUTHOR, made.token)
    tasks.tidy()
    assert (stage(run), content(Path(source.root)), run.archives.get().state) == ("active", before, "verified")


@pytest.mark.django_db
def test_an_archive_that_lay_there_before_is_never_taken_for_that_of_the_run(source, tmp_path):
    """P7: whoever may write beside the archives cannot have a run purged that nobody has packed."""
    run_at(source, "one")
    (planned,) = ordered(source).runs.all()
    (tmp_path / "logs/evil").mkdir()
    with open_folder(source.root, b"evil") as fd:
        to = destinations.at(str(tmp_path / "archive"))
        archive.write(fd, listing(fd), [], to, f"{planned.grave}-1", {"digest": planned.digest})
    tasks.carry_out(planned.plan_id)
    forged, ours = Archive.objects.order_by("name")
    assert (forged.state, ours.state, ours.files) == ("gone", "verified", 2)
    assert Tombstone.objects.get().archive == ours


@pytest.mark.django_db
def test_while_another_cleanup_is_at_work_it_waits_for_its_turn(source):
    run, made = run_at(source), ordered(source)
    with turn():
        for asked in (lambda: tasks.carry_out.run(made.pk), tasks.tidy):
            with pytest.raises(Busy):
                asked()
    assert stage(run) == "active"
    assert tasks.carry_out.run(made.pk) == "done" and tasks.carry_out.run(made.pk) == "done already"


@pytest.mark.django_db
def test_one_cleanup_that_fails_does_not_hold_up_the_others_and_says_so(source, tmp_path, monkeypatch):
    first, second = run_at(source), run_at(source_at(tmp_path / "others", "router"))
    wrong, right = ordered(source), ordered(second.source)
    bury = work._bury_all

    def failing(source_id: int, *rest: Any) -> None:
        if source_id == source.pk:
            raise RuntimeError("the ground is frozen")
        bury(source_id, *rest)

    monkeypatch.setattr(work, "_bury_all", failing)
    tasks.tidy()
    assert (stage(first), stage(second), Plan.objects.get(pk=right.pk).progress) == ("active", "buried", {})
    assert Plan.objects.get(pk=wrong.pk).progress["step"] == "stopped: the ground is frozen"
    monkeypatch.undo()
    tasks.tidy()
    assert stage(first) == "buried"


@pytest.mark.django_db
def test_a_run_whose_place_in_the_trash_cannot_be_read_holds_up_no_other_and_is_gone_on_with(source):
    runs = [run_at(source, "one"), run_at(source, "two")]
    first = ordered(source).runs.get(run=runs[0])
    broken = Path(os.fsdecode(graves.trash_of(source.root))) / f"{first.grave}.list"
    broken.mkdir()
    tasks.tidy()
    assert [stage(run) for run in runs] == ["active", "buried"]
    first.refresh_from_db()
    assert first.step == "burying" and first.error.endswith(f"{first.grave} cannot be read: Is a directory")
    broken.rmdir()
    tasks.tidy()
    assert [stage(run) for run in runs] == ["buried", "buried"]


@pytest.mark.django_db
def test_what_is_past_its_time_is_purged_and_what_must_stay_is_not_looked_at_all_the_time(source, settings):
    run, pinned = run_at(source, "a"), run_at(source, "b")
    settings.TRAINMON_CLEANUP_PURGE = False
    ordered(source, grace=timedelta())
    tasks.tidy(), tasks.tidy()
    assert stage(run) == stage(pinned) == "buried"
    Run.objects.filter(pk=pinned.pk).update(pinned=True)
    settings.TRAINMON_CLEANUP_PURGE = True
    tasks.tidy()
    tomb = pinned.tombstones.get()
    assert (stage(run), stage(pinned)) == ("purged", "buried")
    assert tomb.planned.error == "was not purged: was pinned or bookmarked meanwhile"
    assert (ripe(now()), ripe(now() + timedelta(hours=7))) == ([], [tomb.pk])


@pytest.mark.django_db
def test_a_run_that_somebody_still_writes_to_in_the_trash_is_told_long_before_its_purge(source, bob):
    run_at(source, "a")
    ordered(source)
    tasks.tidy()
    assert "still writes" not in signed_in(bob).get("/storage/trash/").content.decode()
    (grave,) = (Path(source.root).parent / ".trainmon-trash").glob("run-*-plan-*/sub")
    (grave / "late").write_text("still writing")
    tasks.tidy()
    tomb = Tombstone.objects.get()
    assert tomb.grew == ["'sub'", "'sub/late'"] and "still writes" in signed_in(bob).get("/storage/trash/").content.decode()
    (grave / "later").write_text("later")
    for minute, files in ((tomb.pk + 1, 2), (tomb.pk, 3)):  # later on it has one minute of an hour
        watching.watch((tomb.buried_at + timedelta(hours=9)).replace(minute=minute % 60))
        assert len(Tombstone.objects.get().grew) == files


@pytest.mark.django_db
def test_how_far_it_is_stands_on_the_plan_twice_a_second_at_most(source, monkeypatch):
    for number in range(5):
        run_at(source, f"ds/{number}", sizes=(1000,))
    made, seen = ordered(source), []
    write = Meter._write
    monkeypatch.setattr(Meter, "_write", lambda meter, said: (seen.append(said), write(meter, said)))
    tasks.tidy()
    assert seen[0] == {"run": "", "step": "beginning", "done": 0, "total": 5 * 1000 * 3} and seen[-1] == {}
    assert len(seen) < 12
    with Meter(made) as meter:
        assert meter.done == meter.total == 15_000  # what a killed one had done counts


@pytest.mark.django_db(transaction=True)
def test_a_restore_that_somebody_waits_for_comes_before_the_next_archive_of_a_long_cleanup(source):
    bob = User.objects.create_user("bob")
    run_at(source, "ds/first")
    tasks.carry_out(ordered(source).pk)
    run_at(source, "ds/second")
    run_at(source, "ds/third")
    made = ordered(source)
    orders.bring_back([Tombstone.objects.get()], bob, "wanted after all")
    tasks.carry_out(made.pk)
    done = AuditEntry.objects.filter(action__in=["archive run", "restore run", "bury run"]).order_by("pk")
    assert list(done.values_list("action", flat=True))[2:] == ["restore run", *["archive run"] * 2, *["bury run"] * 2]
    assert (Path(source.root) / "ds/first").exists() and not (Path(source.root) / "ds/second").exists()
