"""Generations of a file: whether two readings of it hold the same, and dropping those not needed."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import groupby
from typing import Any

from django.db import connection, models

from runs import chunks, logchunks
from runs.models import Event, LogChunk, LogFile, Run, Sample, Segment, TextSummary

_OF_FILE = "series_id IN (SELECT id FROM runs_series WHERE run_id = %s) AND log_file_id = %s AND generation "
#: Points that are compared by one query; of a longer series alone.
POINTS_TOGETHER = 1_000_000
_ROWS = (
    "SELECT {columns} FROM (SELECT series_id, part, start, count, data FROM runs_serieschunk WHERE {where} "
    "UNION ALL SELECT series_id, part, start, count, data FROM runs_seriestail WHERE {where}) rows {rest}"
)
#: What stands beside the points, by what makes a row itself.
_BESIDE: list[tuple[type[models.Model], tuple[str, ...]]] = [
    (Segment, ("part", "reason", "offset", "first_step", "last_step", "first_wall", "last_wall")),
    (TextSummary, ("offset", "tag", "step", "wall", "text")),
    (Sample, ("offset", "length", "kind", "tag", "step", "wall", "said")),
    (Event, ("offset", "kind", "level", "message", "at", "fields")),
]


def are_same(file: LogFile, one: int, other: int) -> bool:
    """Whether two generations of a file hold the same points, bit for bit, and the same beside them."""
    counts = [_counts(file, generation) for generation in (one, other)]
    return (
        counts[0] == counts[1]
        and all(_beside(file, one, kind) == _beside(file, other, kind) for kind in _BESIDE)
        and _lines(file, one) == _lines(file, other)
        and all(_points(file, one, some) == _points(file, other, some) for some in _together(counts[0]))
    )


def drop(run: Run, file: LogFile) -> None:
    """Go back to the generation that is shown: delete what readings of the file after it brought.

    One that was cut off may lie between them, and their numbers are given again.
    """
    _delete(file, f"> {int(file.generation)}", {"generation__gt": file.generation})
    key = run.pulse.get("key")
    if key is not None and key[:2] == [file.pk, file.reading]:
        run.pulse = {**run.pulse, "key": [file.pk, file.generation, key[2]]}
    file.reading = file.generation


def forget(file: LogFile, older_than: int) -> None:
    """Delete what generations of a file brought that were replaced long ago."""
    _delete(file, f"< {int(older_than)}", {"generation__lt": older_than})


def _delete(file: LogFile, which: str, generations: dict[str, int]) -> None:
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(f"DELETE FROM {table} WHERE {_OF_FILE} {which}", [file.run_id, file.pk])
    for model, _ in _BESIDE:
        model._default_manager.filter(log_file=file, **generations).delete()
    LogChunk.objects.filter(log_file=file, **generations).delete()


def _counts(file: LogFile, generation: int) -> dict[tuple[int, int], int]:
    """Points by series and part."""
    query = _ROWS.format(columns="series_id, part, sum(count)", where=_OF_FILE + "= %s", rest="GROUP BY series_id, part")
    with connection.cursor() as cursor:
        cursor.execute(query, [file.run_id, file.pk, generation] * 2)
        return {(series, part): int(count) for series, part, count in cursor.fetchall()}


def _together(counts: dict[tuple[int, int], int]) -> Iterator[list[int]]:
    """Series in handfuls that one query compares."""
    some: list[int] = []
    points = 0
    for series, parts in groupby(sorted(counts.items()), key=lambda item: item[0][0]):
        more = sum(count for _, count in parts)
        if some and points + more > POINTS_TOGETHER:
            yield some
            some, points = [], 0
        some.append(series)
        points += more
    if some:
        yield some


def _points(file: LogFile, generation: int, series: list[int]) -> list[tuple[int, int, str, list[bytes]]]:
    """Digests of every bit of some series, by part and type, whatever chunks they were cut into."""
    where = "series_id = ANY(%s) AND log_file_id = %s AND generation = %s"
    query = _ROWS.format(columns="series_id, part, data", where=where, rest="ORDER BY series_id, part, start")
    whole = []
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, [series, file.pk, generation] * 2)
        rows = ((pk, part, chunks.unpack(data)) for pk, part, data in cursor)
        for key, group in groupby(rows, key=lambda row: (row[0], row[1], row[2][2].dtype.str)):
            digests = [blake2b(digest_size=16) for _ in range(3)]
            for _, _, columns in group:
                for digest, column in zip(digests, columns, strict=True):
                    digest.update(column.tobytes())
            whole.append((*key, [digest.digest() for digest in digests]))
    return whole


def _lines(file: LogFile, generation: int) -> dict[int, bytes]:
    """A digest of all lines kept, by job, whatever chunks they were cut into."""
    digests: dict[int, Any] = {}
    rows = LogChunk.objects.filter(log_file=file, generation=generation).order_by("job", "start")
    for job, data in rows.values_list("job_id", "data").iterator(100):
        digests.setdefault(job, blake2b(digest_size=16)).update(logchunks.unpack(data))
    return {job: digest.digest() for job, digest in digests.items()}


def _beside(file: LogFile, generation: int, kind: tuple[type[models.Model], tuple[str, ...]]) -> list[tuple[object, ...]]:
    model, fields = kind
    rows = model._default_manager.filter(log_file=file, generation=generation).order_by()
    if model is Sample:
        rows = rows.filter(offset__gte=0)  # the others a scan found
    return sorted(rows.values_list(*fields), key=repr)
