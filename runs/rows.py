"""Many rows with one statement: saving those of a model, summing up the damage in files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, models

from runs.arrays import literal


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
    values = [literal(row.pk for row in rows)] + [
        literal(column.get_db_prep_save(getattr(row, column.attname), connection) for row in rows) for column in columns
    ]
    names = [connection.ops.quote_name(column.column) for column in columns]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {meta.db_table} t SET " + ", ".join(f"{name} = v.{name}" for name in names)
            + f" FROM unnest({arrays}) AS v(id, {', '.join(names)}) WHERE t.id = v.id", values)


class Standing:
    """Rows of one model as the database has them, to be saved by what changes from here on.

    A live run changes six of its twenty-five columns with each read; those that hold JSON cost most.  A dictionary or
    list is never altered in place, only replaced.
    """

    def __init__(self, rows: Iterable[models.Model], fields: Sequence[str]) -> None:
        self.rows, self.fields = list(rows), fields
        self._before = [self._now(row) for row in self.rows]

    def _now(self, row: models.Model) -> list[Any]:
        return [getattr(row, name) for name in self.fields]

    def save(self) -> None:
        """Write the rows that changed, with one statement: of each the columns in which any of them did."""
        changed, columns = [], set[int]()
        for row, before in zip(self.rows, self._before, strict=True):
            if differing := [at for at, (old, new) in enumerate(zip(before, self._now(row), strict=True)) if _differ(old, new)]:
                changed.append(row)
                columns.update(differing)
        save_all(changed, [self.fields[at] for at in sorted(columns)])


def _differ(old: Any, new: Any) -> bool:
    """Whether a column has another value; what holds JSON may differ where it compares as equal (1 and True)."""
    return old is not new and (isinstance(new, dict | list) or bool(old != new))


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
