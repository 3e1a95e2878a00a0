"""Writing points: the scalars of one or many files into packed chunks and tails.

Points belong to (series, log file, generation, part, position).  New points join the tail;
a tail over 100 points becomes a chunk, joined with the last chunk while that is short.
Everything is written inside the caller's transaction, so points and the files' offsets are
committed together; many small files share each statement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection

from runs import chunks, series
from runs.arrays import literals
from runs.readers.records import Points
from runs.series import merged, tag_name

COLUMNS = (
    "series_id, log_file_id, generation, part, start, count, first_step, last_step, last, last_wall, "
    "minimum, maximum, nonfinite, data"
)
TYPES = ["int8", "int8", "int4", "int4", "int8", "int4", "int8", "int8", "float8", "float8",
         "float8", "float8", "int4", "bytea"]

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
Row = tuple[Any, ...]


@dataclass(slots=True)
class Held:
    """Where a series stands in a file: the points of its tail, and its last chunk if short."""

    part: int = 0
    start: int = 0
    tail: Columns | None = None
    stored: bool = False  # whether the tail has a row
    short: tuple[int, int] | None = None  # (start, count) of a last chunk that may still grow
    highest: int = 0  # part


@dataclass(frozen=True, slots=True)
class Portion:
    """Points of one file for one transaction, in file order.

    ``shown`` says that this generation is the one on the pages: then the summaries of the
    series grow too (else ``series.recount`` makes them when the generation is switched to).
    """

    writer: SeriesWriter
    points: list[Points]
    shown: bool


class SeriesWriter:
    """One generation of one file: remembers where each of its series stands.

    ``fresh``: nothing of this generation is stored yet.  Throw the writer away when a
    transaction failed: its memory is then ahead of the database.
    """

    def __init__(self, run_id: int, log_file_id: int, generation: int, *, prefix: str = "", fresh: bool) -> None:
        self.run_id, self.log_file_id, self.generation = run_id, log_file_id, generation
        self.prefix, self.fresh = prefix, fresh
        self.held: dict[int, Held] = {}
        self.ends: dict[tuple[int, int], int] = {}

    def write(self, points: Iterable[Points], *, shown: bool) -> int:
        """Store the points of this file alone; returns how many."""
        write_all([Portion(self, list(points), shown)])
        return sum(len(one.steps) for one in points)

    def append(self, pk: int, part: int, columns: Columns, rewritten: list[Row]) -> list[Row]:
        """Add one piece to a series; the chunk rows that come of it."""
        held = self.held[pk]
        rows: list[Row] = []
        other_type = held.tail is not None and held.tail[2].dtype != columns[2].dtype
        if held.tail is not None and (part != held.part or other_type):
            rows.append(self.row(pk, held.part, held.start, held.tail))
            held.start += len(held.tail[0])
            held.tail = held.short = None
        if part != held.part:
            self._turn_to(pk, held, part)
        joined = columns if held.tail is None else _joined(held.tail, columns)
        if len(joined[0]) <= chunks.TAIL_POINTS:
            held.tail = joined
            return rows
        held.tail = None
        if held.short is not None and held.short[1] + len(joined[0]) <= chunks.CHUNK_POINTS:
            earlier = self._read_chunk(pk, held)
            if earlier is not None and earlier[2].dtype == joined[2].dtype:
                joined, held.start = _joined(earlier, joined), held.short[0]
                rewritten.append((pk, self.log_file_id, self.generation, held.part, held.start))
        for piece in _cut(joined):
            rows.append(self.row(pk, held.part, held.start, piece))
            count = len(piece[0])
            held.short = (held.start, count) if count < chunks.SETTLED_POINTS else None
            held.start += count
        return rows

    def row(self, pk: int, part: int, start: int, columns: Columns, *, raw: bool = False) -> Row:
        """A row of a chunk or (``raw``) a tail, as COLUMNS has it."""
        s = chunks.summarize(*columns)
        return (pk, self.log_file_id, self.generation, part, start, s.count, s.first_step, s.last_step, s.last,
                s.last_wall, s.minimum, s.maximum, s.nonfinite, chunks.pack(*columns, raw=raw))

    def _turn_to(self, pk: int, held: Held, part: int) -> None:
        """Go on in another part: nearly always a new one, but two jobs may write one tag in turn."""
        self.ends[(pk, held.part)] = held.start
        held.short = None
        if (pk, part) in self.ends:
            held.start = self.ends[(pk, part)]
        elif part > held.highest or self.fresh:
            held.start = 0
        else:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT coalesce(max(start + count), 0) FROM runs_serieschunk WHERE series_id = %s "
                    "AND log_file_id = %s AND generation = %s AND part = %s",
                    [pk, self.log_file_id, self.generation, part])
                (held.start,) = cursor.fetchone()
        held.part, held.highest = part, max(part, held.highest)

    def _read_chunk(self, pk: int, held: Held) -> Columns | None:
        """The last chunk of a series, None where it is only about to be stored."""
        assert held.short is not None
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT data FROM runs_serieschunk WHERE series_id = %s AND log_file_id = %s AND generation = %s "
                "AND part = %s AND start = %s",
                [pk, self.log_file_id, self.generation, held.part, held.short[0]])
            row = cursor.fetchone()
        return None if row is None else chunks.unpack(row[0])


def write_all(portions: Iterable[Portion]) -> None:
    """Store the points of several files; each file at most once."""
    grouped = [(portion, _by_tag(portion)) for portion in portions if portion.points]
    if not grouped:
        return
    summaries: dict[tuple[int, str], list[chunks.Summary]] = {}
    for portion, by_tag in grouped:
        for tag, groups in by_tag.items():
            known = summaries.setdefault((portion.writer.run_id, tag), [])
            if portion.shown:
                known.extend(chunks.summarize(*columns) for _, columns in groups)
    ids = series.find_or_make({key: merged(all_of_it) for key, all_of_it in summaries.items()})
    _recall([(portion.writer, [ids[portion.writer.run_id, tag] for tag in by_tag]) for portion, by_tag in grouped])
    rows: list[Row] = []
    rewritten: list[Row] = []
    for portion, by_tag in grouped:
        for tag, groups in by_tag.items():
            pk = ids[portion.writer.run_id, tag]
            for part, columns in groups:
                rows.extend(portion.writer.append(pk, part, columns, rewritten))
    _store_chunks(rows, rewritten)
    _store_tails([(portion.writer, ids[portion.writer.run_id, tag]) for portion, by_tag in grouped for tag in by_tag])


def _by_tag(portion: Portion) -> dict[str, list[tuple[int, Columns]]]:
    pieces: dict[str, list[Points]] = {}
    for one in portion.points:
        pieces.setdefault(tag_name(portion.writer.prefix, one.tag), []).append(one)
    return {tag: [_columns(group) for group in _groups(found)] for tag, found in pieces.items()}


def _recall(wanted: list[tuple[SeriesWriter, list[int]]]) -> None:
    """Load where series stand that their writers have not touched yet."""
    writers: dict[tuple[int, int, int], SeriesWriter] = {}
    for writer, pks in wanted:
        for pk in pks:
            if pk not in writer.held:
                writer.held[pk] = Held()
                if not writer.fresh:
                    writers[pk, writer.log_file_id, writer.generation] = writer
    if not writers:
        return
    keys = [list(column) for column in zip(*writers, strict=True)]
    mine = ("JOIN unnest(%s::bigint[], %s::bigint[], %s::int[]) AS k(s, f, g) "
            "ON series_id = k.s AND log_file_id = k.f AND generation = k.g")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (series_id, log_file_id, generation) series_id, log_file_id, generation, part, start, "
            f"count FROM runs_serieschunk {mine} "
            "ORDER BY series_id, log_file_id, generation, part DESC, start DESC", keys)
        for pk, file, generation, part, start, count in cursor.fetchall():
            short = (start, count) if count < chunks.SETTLED_POINTS else None
            writers[pk, file, generation].held[pk] = Held(part, start + count, short=short, highest=part)
        cursor.execute(
            f"SELECT series_id, log_file_id, generation, part, start, data FROM runs_seriestail {mine}", keys)
        for pk, file, generation, part, start, data in cursor.fetchall():
            held = writers[pk, file, generation].held
            short = held[pk].short if held[pk].part == part else None
            held[pk] = Held(part, start, chunks.unpack(data), stored=True, short=short,
                            highest=max(part, held[pk].highest))


def _store_chunks(rows: list[Row], rewritten: list[Row]) -> None:
    if rewritten:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM runs_serieschunk c USING unnest(%s::bigint[], %s::bigint[], %s::int[], %s::int[], "
                "%s::bigint[]) AS old(series, file, generation, part, start) WHERE c.series_id = old.series "
                "AND c.log_file_id = old.file AND c.generation = old.generation AND c.part = old.part "
                "AND c.start = old.start", [list(column) for column in zip(*rewritten, strict=True)])
    _copy("runs_serieschunk", rows)


def _store_tails(touched: list[tuple[SeriesWriter, int]]) -> None:
    """Bring the tail rows of these series to what is held: one statement each way."""
    new: list[Row] = []
    grown: list[Row] = []
    gone: list[Row] = []
    for writer, pk in touched:
        held = writer.held[pk]
        if held.tail is not None:
            (grown if held.stored else new).append(writer.row(pk, held.part, held.start, held.tail, raw=True))
        elif held.stored:
            gone.append((pk, writer.log_file_id, writer.generation))
        held.stored = held.tail is not None
    _copy("runs_seriestail", new)
    with connection.cursor() as cursor:
        if gone:
            cursor.execute(
                "DELETE FROM runs_seriestail t USING unnest(%s::bigint[], %s::bigint[], %s::int[]) AS k(s, f, g) "
                "WHERE t.series_id = k.s AND t.log_file_id = k.f AND t.generation = k.g",
                [list(column) for column in zip(*gone, strict=True)])
        if grown:
            names = [name.strip() for name in COLUMNS.split(",")]
            arrays = ", ".join(f"%s::{kind}[]" for kind in TYPES)
            cursor.execute(
                "UPDATE runs_seriestail t SET " + ", ".join(f"{name} = v.{name}" for name in names[3:])
                + f" FROM unnest({arrays}) AS v({COLUMNS}) WHERE t.series_id = v.series_id "
                "AND t.log_file_id = v.log_file_id AND t.generation = v.generation", literals(grown))


def _copy(table: str, rows: list[Row]) -> None:
    if not rows:
        return
    statement = f"COPY {table} ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
    # Django translates the errors of statements, not those of a COPY: a full disk is no bug of ours
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.set_types(TYPES)
        for row in rows:
            copy.write_row(row)


def _groups(pieces: list[Points]) -> list[list[Points]]:
    """Runs of neighbours of the same part and type."""
    groups: list[list[Points]] = []
    for one in pieces:
        last = groups[-1][-1] if groups else None
        if last is not None and last.part == one.part and last.values.dtype == one.values.dtype:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _columns(group: list[Points]) -> tuple[int, Columns]:
    if len(group) == 1:
        return group[0].part, (group[0].steps, group[0].walls, group[0].values)
    return group[0].part, (
        np.concatenate([one.steps for one in group]),
        np.concatenate([one.walls for one in group]),
        np.concatenate([one.values for one in group]),
    )


def _joined(first: Columns, second: Columns) -> Columns:
    steps, walls, values = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    return steps, walls, values


def _cut(columns: Columns) -> list[Columns]:
    """Equal pieces of at most a chunk each."""
    count = len(columns[0])
    cuts = math.ceil(count / chunks.CHUNK_POINTS)
    edges = [count * k // cuts for k in range(cuts + 1)]
    return [(columns[0][a:b], columns[1][a:b], columns[2][a:b]) for a, b in zip(edges, edges[1:], strict=False)]
