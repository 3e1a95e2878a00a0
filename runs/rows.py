"""Many rows with one statement: saving those of a model, summing up the damage in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, models


def save_all(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """UPDATE these columns of these rows (all of one model) from arrays.

    Django's bulk_update writes a CASE of all rows for each column, which takes PostgreSQL
    longer than the rows themselves.
    """
    if not rows:
        return
    meta = type(rows[0])._meta
    columns: list[Any] = [meta.get_field(name) for name in fields]
    kinds = ["bigint", *(column.db_type(connection) for column in columns)]
    values = [[row.pk for row in rows]] + [
        [column.get_db_prep_save(getattr(row, column.attname), connection) for row in rows] for column in columns
    ]
    names = [connection.ops.quote_name(column.column) for column in columns]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {meta.db_table} t SET " + ", ".join(f"{name} = v.{name}" for name in names)
            + f" FROM unnest({arrays}) AS v(id, {', '.join(names)}) WHERE t.id = v.id", values)


def sum_damage(run_ids: Sequence[int]) -> None:
    """Tell on the runs what is damaged in their files."""
    if not run_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_run r SET bad_records = f.bad, lost_bytes = f.lost FROM ("
            "SELECT k.id, coalesce(sum(bad_records), 0) AS bad, coalesce(sum(lost_bytes), 0) AS lost "
            "FROM unnest(%s::bigint[]) AS k(id) LEFT JOIN runs_logfile ON run_id = k.id GROUP BY k.id) f "
            "WHERE r.id = f.id AND (r.bad_records, r.lost_bytes) <> (f.bad, f.lost)", [list(set(run_ids))])
