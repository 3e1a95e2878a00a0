"""P13: the room of dropped points is really free in the database, and before and after are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.urls import reverse

from retention import tasks, vacuum
from retention.models import Vacuum
from runs.models import AuditEntry, SeriesChunk
from tests.retention.oldruns import run_at, source_at
from tests.retention.test_cleanup_command import command
from tests.runs.conftest import signed_in
from tests.runs.factories import make_points

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def compact(transactional_db: None) -> None:
    """No room in the tables of points that other tests have left."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM FULL runs_serieschunk, runs_seriestail, runs_series")


@pytest.fixture
def purged(tmp_path: Path, settings: Any) -> tuple[int, str, str]:
    """What the console says of a purge that drops the points of one of two runs; the other's are at the end of the table."""
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    source = source_at(tmp_path / "logs")
    for name, days in {"old": 40, "young": 30}.items():
        make_points(run_at(source, name, days=days, point_count=60_000), "loss", np.random.default_rng(days).random(60_000))
    with connection.cursor() as cursor:  # their maps are there already
        cursor.execute("VACUUM runs_serieschunk, runs_seriestail, runs_series")
    assert command("--select", "0", "--yes", "--grace", "0d", "--forget-metrics")[0] == 0
    return command("--purge")


def test_dropped_points_give_their_room_back_and_the_console_tells_before_and_after(purged):
    code, out, err = purged
    assert (code, err) == (0, "") and "60,000 points of 1 run were dropped from the database: all points took" in out
    row = Vacuum.objects.get()
    assert row.measured and row.before >= row.after > 0 and row.dropped > 60_000 * 4
    # what went back and what is free is what was dropped, but for the rest of each page
    assert 0.8 * row.dropped < row.before - row.after + row.reusable < 2 * row.dropped
    with connection.cursor() as cursor:
        cursor.execute("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'runs_serieschunk'")
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_freespacemap'")
        assert cursor.fetchone() == (0,)
    assert SeriesChunk.objects.filter(series__run__name="young").exists()
    told = AuditEntry.objects.get(action="vacuum points").details
    assert {name: told[name] for name in ("before", "after", "points")} == {
        "before": row.before, "after": row.after, "points": 60_000}
    again = json.loads(command("--purge", "--json")[1])["database"]
    assert again["before"] == again["after"] and again["points_dropped"] == 0


def test_who_was_killed_before_the_vacuum_or_may_not_ask_the_map_leaves_it_to_the_next_round(
    tmp_path, settings, monkeypatch, ada, bob
):
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    make_points(run_at(source_at(tmp_path / "logs"), "old", days=40, point_count=300), "loss", range(300))
    assert command("--select", "0", "--yes", "--grace", "0d", "--forget-metrics")[0] == 0
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [vacuum.LOCK])  # somebody else is at it
        assert "told when the janitor has vacuumed it" in command("--purge")[1]
        assert "after the next VACUUM" in signed_in(ada).get(reverse("storage")).content.decode()
    monkeypatch.setattr(vacuum, "RELATIONS", "SELECT pg_freespace_of_nobody()")
    tasks.tidy()
    row = Vacuum.objects.get(measured=False)
    assert row.done_at is not None and row.reusable == row.dropped > 0  # nothing went back of so little
    assert "estimated" in signed_in(ada).get(reverse("storage")).content.decode()
    told = signed_in(ada).get("/api/storage/").json()["database"]
    assert (told["vacuumed"]["points_dropped"], told["vacuumed"]["by"]) == (300, "estimate") and told["size"] > 0
    # of what lies with trainers that somebody does not see nothing is told
    source_at(tmp_path / "others", "hidden").trainer.groups.add(Group.objects.create(name="others"))
    assert signed_in(bob).get("/api/storage/").json()["database"] is None
