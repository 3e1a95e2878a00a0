"""Every point of a run as it was written, block by block: what exports are made of.

Tags in order of their names; of each tag the files in order of their first wall time, of
each file the generation that pages show, its parts and points in file order.  Nothing is
thinned, cut or joined.  Each block is asked for by itself, so that no query and no
transaction stays open while a reader is slow; points are named by their position, so that
a sync meanwhile neither repeats nor loses one that was there at the start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import F, Q

from runs.chunks import unpack
from runs.models import LogFile, Run, Series, SeriesChunk, SeriesTail

#: Points of short series that are asked for together, and chunks of a long one.
POINTS_TOGETHER, CHUNKS_TOGETHER = 65_536, 16
COLUMNS = ("series_id", "log_file_id", "generation", "part", "start", "data")

Row = tuple[int, int, int, int, int, bytes]


@dataclass(frozen=True, slots=True)
class Block:
    """Points of one tag in one part of one file: steps int64, wall times float64, values with the type they had."""

    tag: str
    file: str
    part: int
    generation: int
    steps: np.ndarray
    walls: np.ndarray
    values: np.ndarray


def tags_of(run: Run) -> list[str]:
    """The names of all its tags, in order."""
    return list(Series.objects.filter(run=run).order_by("tag__name").values_list("tag__name", flat=True))


def blocks(run: Run, tags: Collection[str] = ()) -> Iterator[Block]:
    """The points of these tags, of all where none is named."""
    files = list(LogFile.objects.filter(run=run).order_by("first_wall", "pk").only("path", "generation"))
    ranks = {file.pk: rank for rank, file in enumerate(files)}
    asked = Series.objects.filter(run=run, **({"tag__name__in": tags} if tags else {})).order_by("tag__name")
    for group in _together(asked.values_list("pk", "tag__name", "count")):
        names = {pk: name for pk, name, _ in group}
        rows = _all_of(names, files, ranks) if len(group) > 1 else _walk(group[0][0], files)
        for series, file, generation, part, skip, data in rows:
            steps, walls, values = unpack(bytes(data))
            path = files[ranks[file]].path_text
            yield Block(names[series], path, part, generation, steps[skip:], walls[skip:], values[skip:])


def types_of(run: Run, tags: Collection[str] = ()) -> set[int]:
    """The codes of the types (chunks.DTYPES) that the values of these tags have: the second byte of each chunk."""
    found: set[int] = set()
    for model in (SeriesChunk, SeriesTail):
        rows = model._default_manager.filter(series__run=run, generation=F("log_file__generation"))
        rows = rows.filter(series__tag__name__in=tags) if tags else rows
        code = "get_byte(substring(data from 1 for 2), 1)"
        found.update(rows.order_by().extra(select={"code": code}).values_list("code", flat=True).distinct())
    return found


def _together(series: Iterable[tuple[int, str, int]]) -> Iterator[list[tuple[int, str, int]]]:
    """Short series several at a time; a long one by itself."""
    group: list[tuple[int, str, int]] = []
    points = 0
    for one in series:
        if group and points + one[2] > POINTS_TOGETHER:
            yield group
            group, points = [], 0
        group.append(one)
        points += one[2]
    if group:
        yield group


def _all_of(names: dict[int, str], files: list[LogFile], ranks: dict[int, int]) -> list[tuple[int, int, int, int, int, bytes]]:
    """All rows of some short series, from one statement; no points are skipped."""
    shown = {file.pk: file.generation for file in files}
    rows: list[Row] = list(_rows(Q(series__in=list(names), generation=F("log_file__generation"))))
    mine = [row for row in rows if shown.get(row[1]) == row[2]]
    places = {pk: place for place, pk in enumerate(names)}
    mine.sort(key=lambda row: (places[row[0]], ranks[row[1]], row[3], row[4]))
    return [(series, file, generation, part, 0, data) for series, file, generation, part, _, data in mine]


def _walk(series: int, files: list[LogFile]) -> Iterator[tuple[int, int, int, int, int, bytes]]:
    """The rows of one series, file by file, a few at a time, each with the points of it that were told already."""
    for file in files:
        mine = Q(series=series, log_file=file.pk, generation=file.generation)
        part, position = -1, 0
        while rows := list(_rows(mine & (Q(part__gt=part) | Q(part=part, end__gt=position)))[:CHUNKS_TOGETHER]):
            for _, _, generation, at, start, data in rows:
                skip = max(0, position - start) if at == part else 0
                part, position = at, start + _count(data)
                yield series, file.pk, generation, part, skip, data


def _rows(which: Q) -> Any:
    """Chunks and tails in one statement, in file order: what moves from one to the other is seen once."""
    chunks, tails = (
        model._default_manager.annotate(end=F("start") + F("count")).filter(which).order_by().values_list(*COLUMNS)
        for model in (SeriesChunk, SeriesTail)
    )
    return chunks.union(tails, all=True).order_by("part", "start")


def _count(data: bytes) -> int:
    """How many points a row holds, by its own head."""
    return int.from_bytes(bytes(data[2:6]), "little")
