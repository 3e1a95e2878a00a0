"""Pieces: the points of a series, part by part, from the chunks that overlap what is looked at.

One look at what the chunks say of themselves decides which are decoded: those in the range
and one on each side, so that lines reach the edge, as long as the budget of points lasts.
Of longer series only the minimum and maximum of each chunk are taken: they are coarse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import F
from psycopg import Connection, Cursor

from runs.chunks import points_in, unpack_into
from runs.models import Series, SeriesChunk, SeriesTail

Array = np.ndarray
Row = tuple[int, int, bytes]
#: Points that one page or answer decodes at most (measured: 2 M in 0.12 s).
POINTS_PER_PAGE = 2_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an axis that is looked at: steps, or Unix seconds."""

    low: float
    high: float
    wall: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Points of one series in one part of one file, in file order, of the window only.

    ``first`` and ``top`` are the first and the highest step of the whole part.
    """

    file: int
    part: int
    steps: Array
    walls: Array
    values: Array
    first: int
    top: int


@dataclass(frozen=True, slots=True)
class Found:
    """The pieces of one series; ``coarse`` where they are but the extremes of its chunks."""

    series: Series
    pieces: list[Piece]
    coarse: bool


@dataclass(slots=True)
class Packed:
    """What a chunk or tail says of itself."""

    file: int
    generation: int
    part: int
    start: int
    count: int
    first_step: int
    last_step: int
    last_wall: float
    minimum: float | None
    maximum: float | None
    data: bytes | None = None


_FACTS = ("series_id", "log_file_id", "generation", "part", "start", "count", "first_step", "last_step", "last_wall",
          "minimum", "maximum")

#: Chunks that are fetched by one question: about two megabytes.
AT_ONCE = 100
_DATA = (
    "SELECT k.series, k.at, c.data FROM unnest(%s::int8[], %s::int8[], %s::int8[], %s::int4[], %s::int4[], %s::int8[])"
    " AS k(at, series, file, generation, part, start) JOIN runs_serieschunk c"
    " ON (c.series_id, c.log_file_id, c.generation, c.part, c.start)"
    " = (k.series, k.file, k.generation, k.part, k.start) ORDER BY k.at"
)


def found(
    series: Sequence[Series], windows: Mapping[int, Window] | None = None, points: int = POINTS_PER_PAGE
) -> Iterator[Found]:
    """The pieces of each of these series, in three queries (more of many chunks); each is decoded only when it is reached.

    ``windows`` are by run: seconds since a run's start are other times for each.
    """
    packed = _packed([one.pk for one in series])
    wanted = {one.pk: _wanted(packed.get(one.pk, {}), (windows or {}).get(one.run_id)) for one in series}
    coarse = _beyond(wanted, points)
    queue = [(pk, chunk) for pk, chunks in wanted.items() if pk not in coarse for chunk in chunks if chunk.data is None]
    loaded = groupby(_loaded(queue), key=itemgetter(0))
    pk, rows = next(loaded, (None, iter(())))
    for one in series:
        if pk == one.pk:
            for _, at, data in rows:
                queue[at - 1][1].data = data
            pk, rows = next(loaded, (None, iter(())))
        parts, chosen = packed.pop(one.pk, {}), wanted.pop(one.pk)
        yield Found(one, _pieces(parts, chosen, one.pk in coarse), one.pk in coarse)


Parts = dict[tuple[int, int], list[Packed]]


def _packed(ids: Sequence[int]) -> dict[int, Parts]:
    """The chunks and tails of the shown generations, by series and part, in file order; tails with their bytes."""
    parts: dict[int, Parts] = defaultdict(lambda: defaultdict(list))
    if not ids:
        return parts
    for model, columns in ((SeriesChunk, _FACTS), (SeriesTail, (*_FACTS, "data"))):
        rows: Any = (
            model._default_manager.filter(series__in=ids, generation=F("log_file__generation"))
            .order_by("series_id", "log_file_id", "part", "start")
            .values_list(*columns)
        )
        for pk, *facts in rows:
            chunk = Packed(*facts)
            parts[pk][chunk.file, chunk.part].append(chunk)
    return parts


def _wanted(parts: Parts, window: Window | None) -> list[Packed]:
    """The chunks that overlap the window, and one more on each side."""
    if window is None:
        return [chunk for chunks in parts.values() for chunk in chunks]
    return [chunk for chunks in parts.values() for chunk in _overlapping(chunks, window)]


def _overlapping(chunks: list[Packed], window: Window) -> list[Packed]:
    """Those that reach into the window when stretched to their neighbours."""
    lasts = [chunk.last_wall if window.wall else max(chunk.first_step, chunk.last_step) for chunk in chunks]
    firsts = lasts if window.wall else [chunk.first_step for chunk in chunks]
    lows, highs = [-np.inf, *lasts[:-1]], [*firsts[1:], np.inf]
    # not (.. or ..): a clock that tells nothing (NaN) is taken to be within
    return [
        chunk for chunk, low, high in zip(chunks, lows, highs, strict=True)
        if not (high < window.low or low > window.high)
    ]


def _beyond(wanted: Mapping[int, Sequence[Packed]], points: int) -> set[int]:
    """The series that the budget does not hold: the short ones go first."""
    beyond, left = set(), points
    for pk, count in sorted(((pk, sum(chunk.count for chunk in chunks)) for pk, chunks in wanted.items()), key=lambda p: p[1]):
        left -= count
        if left < 0:
            beyond.add(pk)
    return beyond


def _loaded(chunks: Sequence[tuple[int, Packed]]) -> Iterator[Row]:
    """Series, place in ``chunks`` from 1, and bytes of each chunk, in order.

    Some at a time: twelve megabytes at once, for two million points, take twice as long, for all their memory is new.
    The next ones are fetched while these are decoded.
    """
    keys = [(at, pk, one.file, one.generation, one.part, one.start) for at, (pk, one) in enumerate(chunks, 1)]
    cuts = [keys[begin : begin + AT_ONCE] for begin in range(0, len(keys), AT_ONCE)]
    if not cuts:
        return
    connection.ensure_connection()
    fetch = connection.wrap_database_errors(partial(_fetched, connection.connection))
    rows = fetch(cuts[0])
    with ThreadPoolExecutor(1, "chunks") as ahead:
        for cut in cuts[1:]:
            coming = ahead.submit(fetch, cut)
            yield from rows
            rows = coming.result()
    yield from rows


def _fetched(database: Connection, keys: Sequence[tuple[int, ...]]) -> list[Row]:
    """By a cursor of the driver's own: Django's get bytes as hexadecimal text, three times the memory."""
    with Cursor(database) as cursor:
        cursor.execute(_DATA, [list(column) for column in zip(*keys, strict=True)], binary=True)
        return cursor.fetchall()


def _pieces(parts: Parts, chosen: Sequence[Packed], coarse: bool) -> list[Piece]:
    """One piece a part, also where the window shows nothing of it: later parts are judged by it."""
    inside = {id(chunk) for chunk in chosen}
    made = []
    for (file, part), chunks in parts.items():
        mine = [chunk for chunk in chunks if id(chunk) in inside]
        columns = _ends(mine) if coarse else _decoded(mine)
        first, top = chunks[0].first_step, max(max(chunk.first_step, chunk.last_step) for chunk in chunks)
        made.append(Piece(file, part, *columns, first, top))
    return made


def _decoded(chunks: Sequence[Packed]) -> tuple[Array, Array, Array]:
    """All points of these chunks; the bytes are given back as soon as they are read."""
    # one that was joined with its tail between the two queries has none: the next look shows it
    whole = sum(points_in(chunk.data) for chunk in chunks if chunk.data is not None)
    steps, walls, values = np.empty(whole, np.int64), np.empty(whole), np.empty(whole)
    end = 0
    for chunk in chunks:
        if chunk.data is not None:
            begin, end = end, end + points_in(chunk.data)
            unpack_into(chunk.data, steps[begin:end], walls[begin:end], values[begin:end])
            chunk.data = None
    return steps, walls, values


def _ends(chunks: Sequence[Packed]) -> tuple[Array, Array, Array]:
    """Two points a chunk, its minimum and maximum."""
    steps = np.array([(chunk.first_step, chunk.last_step) for chunk in chunks], np.int64)
    values = np.array([(chunk.minimum, chunk.maximum) for chunk in chunks], np.float64)
    walls = np.array([chunk.last_wall for chunk in chunks], np.float64)
    before = np.concatenate((walls[:1], walls[:-1]))
    return steps.ravel(), np.column_stack((before, walls)).ravel(), values.ravel()
