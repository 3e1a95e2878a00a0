"""Somebody pins a run while it is being buried: they come before the rename, and it stays, or wait until after it."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils.timezone import now

from retention import plan, purging, work
from retention.candidates import candidates
from retention.models import PlannedRun
from retention.turn import turn
from runs import annotate
from runs.models import Run
from tests.retention.oldruns import run_at, source_at

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_at(source_at(tmp_path / "logs"))


def pinning(run: Run) -> Thread:
    """An operator who pins it now, by a connection of their own."""
    request = cast(Any, SimpleNamespace(user=User.objects.create_superuser("bob"), META={}))

    def pin() -> None:
        annotate.pin(request, run, True)
        connection.close()

    begun = Thread(target=pin)
    begun.start()
    return begun


def bury(run: Run) -> PlannedRun:
    drafted = plan.draft([(one, "old") for one in candidates(Run.objects.filter(pk=run.pk))], plan.Options(archive=False), now())
    with turn() as held:
        made = plan.confirm(drafted, plan.Author("bob", "console"), drafted.token)
        work.carry_out(made, held)
    run.refresh_from_db()
    return made.runs.get()


def test_a_run_that_is_pinned_after_the_journal_says_burying_and_before_the_rename_stays(run, monkeypatch):
    held = work._held_and_moved

    def pinned_first(planned: PlannedRun, *rest: Any) -> None:
        assert PlannedRun.objects.get().step == "burying"
        pinning(run).join()
        held(planned, *rest)

    monkeypatch.setattr(work, "_held_and_moved", pinned_first)
    planned = bury(run)
    assert (planned.step, planned.error, run.lifecycle_stage) == ("skipped", "is pinned", "active")
    assert (Path(run.source.root) / "ds/run").is_dir()


def test_who_pins_it_during_the_rename_waits_until_it_is_told_and_keeps_it_from_the_purge(run, monkeypatch):
    move, waiting = work._moved, []

    def moved(planned: PlannedRun) -> list[str]:
        waiting.append(pinning(run))
        waiting[0].join(0.3)
        assert waiting[0].is_alive()
        return move(planned)

    monkeypatch.setattr(work, "_moved", moved)
    planned = bury(run)
    waiting[0].join()
    run.refresh_from_db()
    assert (planned.step, run.lifecycle_stage, run.pinned) == ("buried", "buried", True)
    with turn() as held:
        (kept,) = purging.purge_all(purging.lying(), held, now())
    assert isinstance(kept, purging.Kept) and kept.why == "was pinned or bookmarked meanwhile"
