"""Room that dropped points leave in the database: measured before, vacuumed once they are gone, measured after.

What a VACUUM finds at the end of a table goes back to the disk, the rest is written to again by what comes next.
How much that is the free space map knows; where it may not be asked, it is what was deleted less what went back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.models import F
from django.utils.timezone import now
from psycopg import sql

from retention.models import Vacuum
from runs import audit, counts
from runs.units import counted, size

log = logging.getLogger(__name__)
#: The right to vacuum, held by its connection: two at once would wait for one another.
LOCK = 7206440
#: The tables of points with what is theirs: the file of long values, and the indexes of both.
RELATIONS = """
    WITH tables AS (
        SELECT c.oid, c.reltoastrelid FROM pg_class c JOIN unnest(%s::text[]) AS n(name) ON c.oid = n.name::regclass),
    heaps AS (SELECT oid FROM tables UNION ALL SELECT reltoastrelid FROM tables WHERE reltoastrelid <> 0),
    every AS (SELECT oid FROM heaps UNION ALL SELECT indexrelid FROM pg_index JOIN heaps ON indrelid = oid)
    SELECT coalesce(sum(avail), 0) FROM every, LATERAL pg_freespace(every.oid::regclass)
"""


def note(points: int, dropped: int) -> None:
    """Within the transaction that drops the points of a run: the tables are to be vacuumed."""
    row = Vacuum.objects.filter(done_at=None).first() or Vacuum.objects.create(before=counts.bytes_of_points())
    Vacuum.objects.filter(pk=row.pk).update(runs=F("runs") + 1, points=F("points") + points, dropped=F("dropped") + dropped)


def finish() -> Vacuum | None:
    """Vacuum after points were dropped; None where none were.  Where it cannot be done now the next round tries again."""
    row = Vacuum.objects.filter(done_at=None).first()
    if row is None:
        return None
    try:
        with _client() as client:
            if client is not None:
                _vacuum(client)
                _measured(row, _reusable(client))
    except psycopg.Error as error:
        log.warning("The room of dropped points could not be vacuumed now; the next round tries again: %s", error)
    row.refresh_from_db()
    return row


@contextmanager
def _client() -> Iterator[psycopg.Connection[Any] | None]:
    """A connection of its own, as no VACUUM runs inside a transaction; None where somebody else is at it."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as client:
        locked = client.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        yield client if locked is not None and locked[0] else None


def _vacuum(client: psycopg.Connection[Any]) -> None:
    client.execute("SET statement_timeout = 0")
    client.execute("SET lock_timeout = '30s'")  # somebody's own VACUUM may be at work
    client.execute(sql.SQL("VACUUM {}").format(sql.SQL(", ").join(map(sql.Identifier, counts.OF_POINTS))))


def _reusable(client: psycopg.Connection[Any]) -> int | None:
    """Free bytes in the tables by their free space map; None where it may not be asked.

    The extension that asks is made for the question and rolled back: a dump that holds it could be restored by superusers only.
    """
    try:
        with client.transaction(force_rollback=True):
            client.execute("CREATE EXTENSION IF NOT EXISTS pg_freespacemap")
            row = client.execute(RELATIONS, [list(counts.OF_POINTS)]).fetchone()
        return int(row[0]) if row is not None else None
    except (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.OperationalError) as error:
        log.info("The free space map cannot be asked, the room is estimated: %s", error)
        return None


def _measured(row: Vacuum, reusable: int | None) -> None:
    """Write down what came of it, unless more was dropped meanwhile."""
    after = counts.bytes_of_points()
    facts: dict[str, Any] = {
        "before": row.before, "after": after, "dropped": row.dropped, "measured": reusable is not None,
        "reusable": max(0, row.dropped - max(0, row.before - after)) if reusable is None else reusable}
    with transaction.atomic():
        if Vacuum.objects.filter(pk=row.pk, done_at=None, runs=row.runs).update(done_at=now(), **facts):
            audit.record(None, "vacuum points", row, runs=row.runs, points=row.points, **facts)


def in_words(row: Vacuum | None) -> str:
    """What became of the room in the database."""
    if row is None:
        return f"The database keeps their points: all points take {size(counts.bytes_of_points())} there, as before."
    dropped = f"{row.points:,} points of {counted(row.runs)} were dropped from the database"
    if row.after is None or row.reusable is None:
        return f"{dropped} ({size(row.dropped)}); their room is told when the janitor has vacuumed it."
    measured = "by its free space map" if row.measured else "estimated from what was dropped"
    return (f"{dropped}: all points took {size(row.before)} there, now {size(row.after)} after VACUUM, "
            f"of which {size(row.reusable)} are free for new ones ({measured}).")


def as_json(row: Vacuum | None) -> dict[str, Any]:
    """The same for scripts: ``after`` and ``reusable`` are null until it is vacuumed."""
    if row is None:
        now_held = counts.bytes_of_points()
        return {"points_dropped": 0, "before": now_held, "after": now_held, "dropped": 0, "reusable": None, "by": None}
    by = None if row.done_at is None else "free space map" if row.measured else "estimate"
    return {"points_dropped": row.points, "before": row.before, "after": row.after, "dropped": row.dropped,
            "reusable": row.reusable, "by": by}
