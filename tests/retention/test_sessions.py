"""CH-72: the figures of cleanups are the sums of the audit trail."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from retention import sessions
from runs.models import AuditEntry
from tests.retention.oldruns import run_at, source_at
from tests.runs.conftest import signed_in
from tests.runs.factories import make_user

if TYPE_CHECKING:
    from pytest_django import Settings


def told(action: str, what: str) -> int:
    return sum(entry.details[what] for entry in AuditEntry.objects.filter(action=action))


@pytest.mark.django_db(transaction=True)
def test_the_figures_of_cleanups_are_the_sums_of_the_audit_trail(tmp_path: Path, settings: Settings):
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    for slug, sizes in (("lora", (9000, 20)), ("router", (70_000,))):
        run_at(source_at(tmp_path / slug, slug), "ds/run", sizes=sizes)
        run_at(source_at(tmp_path / f"{slug}-2", f"{slug}2"), "x")
    call_command("cleanup", "--trainer", "lora", "--select", "all", "--yes", "--no-archive", "--grace", "0d", "--json")
    call_command("cleanup", "--trainer", "router", "--select", "all", "--yes", "--no-archive", "--grace", "7d", "--json")
    call_command("cleanup", "--purge", "--json")
    rows, totals, trainers = list(sessions.sessions()), sessions.totals(), sessions.trainers()
    moved, freed = told("bury run", "bytes"), told("purge run", "freed")
    assert moved == 79_020 and freed >= 9020
    assert [sum(getattr(row, name) for row in rows) for name in ("moved", "moved_bytes", "freed_bytes")] == [2, moved, freed]
    assert [sum(row[name] for row in trainers) for name in ("moved", "moved_bytes", "freed_bytes")] == [2, moved, freed]
    assert (totals["sessions"], totals["moved_bytes"], totals["freed_bytes"]) == (2, moved, freed)
    assert [row.took == row.finished_at - row.confirmed_at for row in rows] == [True, True]
    by_hand = timedelta(minutes=settings.TRAINMON_BY_HAND)
    assert [row.saved for row in rows] == [by_hand - row.took for row in rows]
    assert totals["time_saved"] == 2 * by_hand - totals["at_work"]
    page = signed_in(make_user("ada", "admin")).get("/audit/usage/").content.decode()
    assert f"{moved:,} B" in page and f"{freed:,} B" in page
