"""Generations of a file: whether two readings of it hold the same, and dropping one of them."""

from __future__ import annotations

from django.db import connection, models

from runs import chunks
from runs.models import Event, LogFile, Sample, Segment, TextSummary

_OF_FILE = "series_id IN (SELECT id FROM runs_series WHERE run_id = %s) AND log_file_id = %s AND generation = %s"
_ROWS = (
    "SELECT {columns} FROM (SELECT series_id, part, start, count, data FROM runs_serieschunk WHERE {where} "
    "UNION ALL SELECT series_id, part, start, count, data FROM runs_seriestail WHERE {where}) rows {rest}"
)
#: What stands beside the points, by what makes a row itself.
_BESIDE: list[tuple[type[models.Model], tuple[str, ...]]] = [
    (Segment, ("part", "reason", "offset", "first_step", "last_step", "first_wall", "last_wall")),
    (TextSummary, ("offset", "tag", "step", "wall", "text")),
    (Sample, ("offset", "length", "kind", "tag", "step", "wall")),
    (Event, ("offset", "kind", "level", "message", "at", "fields")),
]


def are_same(file: LogFile, one: int, other: int) -> bool:
    """Whether two generations of a file hold the same points, bit for bit, and the same beside them."""
    counts = [_counts(file, generation) for generation in (one, other)]
    return (
        counts[0] == counts[1]
        and all(_beside(file, one, kind) == _beside(file, other, kind) for kind in _BESIDE)
        and all(_points(file, one, series) == _points(file, other, series) for series in {key[0] for key in counts[0]})
    )


def drop(file: LogFile, generation: int) -> None:
    """Delete what one generation of a file brought."""
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(f"DELETE FROM {table} WHERE {_OF_FILE}", [file.run_id, file.pk, generation])
    for model, _ in _BESIDE:
        model._default_manager.filter(log_file=file, generation=generation).delete()


def _counts(file: LogFile, generation: int) -> dict[tuple[int, int], int]:
    """Points by series and part."""
    query = _ROWS.format(columns="series_id, part, sum(count)", where=_OF_FILE, rest="GROUP BY series_id, part")
    with connection.cursor() as cursor:
        cursor.execute(query, [file.run_id, file.pk, generation] * 2)
        return {(series, part): int(count) for series, part, count in cursor.fetchall()}


def _points(file: LogFile, generation: int, series: int) -> list[tuple[int, str, bytes]]:
    """Every bit of one series, whatever chunks it was cut into."""
    where = "series_id = %s AND log_file_id = %s AND generation = %s"
    query = _ROWS.format(columns="part, data", where=where, rest="ORDER BY part, start")
    with connection.cursor() as cursor:
        cursor.execute(query, [series, file.pk, generation] * 2)
        rows = [(part, chunks.unpack(data)) for part, data in cursor.fetchall()]
    joined: list[tuple[int, str, list[list[bytes]]]] = []
    for part, columns in rows:
        kind = columns[2].dtype.str
        if not joined or joined[-1][:2] != (part, kind):
            joined.append((part, kind, [[], [], []]))
        for place, column in enumerate(columns):
            joined[-1][2][place].append(column.tobytes())
    return [(part, kind, b"".join(b"".join(column) for column in three)) for part, kind, three in joined]


def _beside(file: LogFile, generation: int, kind: tuple[type[models.Model], tuple[str, ...]]) -> list[tuple[object, ...]]:
    model, fields = kind
    rows = model._default_manager.filter(log_file=file, generation=generation).order_by()
    return sorted(rows.values_list(*fields), key=repr)
