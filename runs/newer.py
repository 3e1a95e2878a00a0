"""What has come of a series since somebody looked: the points that join theirs, or word that they must look anew.

A place is where a reader stands: the file, generation and part that were written last, the number of
the next point there, and how many points the whole series had.  Points join where just that part has
grown.  Where another one did (a restart, a parallel writer, a replaced file) the count tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from django.db import connection

from runs.chunks import unpack
from runs.models import Series
from runs.pieces import Array
from runs.snapshot import snapshot

#: File, generation, part, next point, points of the series.
Place = tuple[int, int, int, int, int]
#: Points that one answer holds: beyond, looking anew (thinned) is less.
MOST = 20_000

_ROWS = "SELECT series_id, log_file_id, generation, part, start, count, last_wall{more} FROM {table} WHERE series_id = ANY(%s)"
_PLACES = (
    "SELECT DISTINCT ON (series_id) series_id, r.log_file_id, r.generation, part, start + count FROM ("
    + " UNION ALL ".join(_ROWS.format(table=table, more="") for table in ("runs_serieschunk", "runs_seriestail"))
    + ") r JOIN runs_logfile f ON f.id = r.log_file_id AND f.generation = r.generation "
    "ORDER BY series_id, r.last_wall DESC, r.log_file_id DESC, part DESC, start DESC"
)
_NEW = (
    "SELECT k.series, r.start, r.data FROM unnest(%s::int8[], %s::int8[], %s::int4[], %s::int4[], %s::int8[])"
    " AS k(series, file, generation, part, next) JOIN {table} r"
    " ON (r.series_id, r.log_file_id, r.generation, r.part) = (k.series, k.file, k.generation, k.part)"
    " AND r.start + r.count > k.next JOIN runs_logfile f ON f.id = k.file AND f.generation = k.generation"
    " ORDER BY r.start"
)


@dataclass(frozen=True, slots=True)
class Newer:
    """Points of a series that join those known, in the order in which they were written."""

    tag: str
    place: Place
    steps: Array
    walls: Array
    values: Array


def places(series: Collection[Series]) -> dict[int, Place]:
    """Where a reader of all points of these series stands, by series; ask it in the snapshot that they come from."""
    counts = {one.pk: one.count for one in series}
    with connection.cursor() as cursor:
        cursor.execute(_PLACES, [list(counts)] * 2)
        return {pk: (file, generation, part, end, counts[pk]) for pk, file, generation, part, end in cursor.fetchall()}


def newer(run: int, known: Iterable[tuple[str, Place]]) -> dict[str, Newer | None]:
    """What came of these metrics of a run since; None where it does not join.  What has not changed is left out."""
    asked: Mapping[str, Place] = dict(known)
    with snapshot():
        found = Series.objects.filter(run=run, tag__name__in=asked).order_by()
        counts = {pk: (tag, count) for pk, tag, count in found.values_list("pk", "tag__name", "count")}
        grown = {pk: tag for pk, (tag, count) in counts.items() if 0 < count - asked[tag][4] <= MOST}
        rows = _rows({pk: asked[tag] for pk, tag in grown.items()})
    new: dict[str, Newer | None] = {}
    room = MOST
    for pk, (tag, count) in counts.items():
        if count == asked[tag][4]:
            continue
        new[tag] = _joined(tag, asked[tag], count, rows.get(pk, []), room) if pk in grown else None
        if one := new[tag]:
            room -= len(one.steps)
    return new


def _rows(at: Mapping[int, Place]) -> dict[int, list[tuple[int, bytes]]]:
    """The chunks and tails behind these places: where each begins, and its bytes."""
    rows: dict[int, list[tuple[int, bytes]]] = {}
    if not at:
        return rows
    keys = [list(column) for column in zip(*((pk, *place[:4]) for pk, place in at.items()), strict=True)]
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(_NEW.format(table=table), keys)
            for pk, start, data in cursor.fetchall():
                rows.setdefault(pk, []).append((start, bytes(data)))
    return rows


def _joined(tag: str, place: Place, count: int, rows: list[tuple[int, bytes]], room: int) -> Newer | None:
    file, generation, part, at, known = place
    columns: list[tuple[Array, Array, Array]] = []
    for start, data in rows:
        steps, walls, values = unpack(data)
        if start > at:
            return None
        columns.append((steps[at - start :], walls[at - start :], values[at - start :].astype(np.float64)))
        at = start + len(steps)
    if at - place[3] != count - known or count - known > room:
        return None
    steps, walls, values = (np.concatenate(some) for some in zip(*columns, strict=True))
    return Newer(tag, (file, generation, part, at, count), steps, walls, values)
