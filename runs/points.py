"""Writing points: one file's scalars into packed chunks, tails and summaries.

Points belong to (series, log file, generation, part, position).  New points join the tail;
a tail over 100 points becomes a chunk, joined with the last chunk while that is short.
Everything is written inside the caller's transaction, so points and the file's offset are
committed together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db import connection

from runs import chunks
from runs.chunks import Summary
from runs.readers.records import Points

COLUMNS = (
    "series_id, log_file_id, generation, part, start, count, first_step, last_step, last, last_wall, "
    "minimum, maximum, nonfinite, data"
)
TYPES = ["int8", "int8", "int4", "int4", "int8", "int4", "int8", "int8", "float8", "float8",
         "float8", "float8", "int4", "bytea"]

#: A longer name of a series is cut and ends in its SHA-256: an index row holds 2.7 KB.
NAME_BYTES = 2000

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(slots=True)
class Held:
    """Where a series stands in this file: the points of its tail, and its last chunk if short."""

    part: int = 0
    start: int = 0
    tail: Columns | None = None
    stored: bool = False  # whether the tail has a row
    short: tuple[int, int] | None = None  # (start, count) of a last chunk that may still grow
    highest: int = 0  # part


class SeriesWriter:
    """Writes the points of one generation of one file; remembers where each series stands.

    Throw it away when a transaction failed: its memory is then ahead of the database.
    """

    def __init__(self, run_id: int, log_file_id: int, generation: int, *, prefix: str = "", fresh: bool) -> None:
        self.run_id, self.log_file_id, self.generation = run_id, log_file_id, generation
        self.prefix, self.fresh = prefix, fresh
        self.series: dict[str, int] = {}
        self.held: dict[int, Held] = {}
        self.ends: dict[tuple[int, int], int] = {}

    def write(self, points: Iterable[Points], *, shown: bool) -> int:
        """Store these points, in file order; returns how many.

        ``shown`` says that this generation is the one on the pages: then the summaries of
        the series grow too (else ``recount`` makes them when the generation is switched to).
        """
        pieces: dict[str, list[Points]] = {}
        for one in points:
            pieces.setdefault(tag_name(self.prefix, one.tag), []).append(one)
        if not pieces:
            return 0
        by_tag = {tag: [_columns(group) for group in _groups(found)] for tag, found in pieces.items()}
        summaries = {tag: _merged(chunks.summarize(*c) for _, c in groups) for tag, groups in by_tag.items()}
        self._find_series(summaries, shown)
        self._recall([self.series[tag] for tag in by_tag])
        grown: list[tuple[Any, ...]] = []
        rewritten: list[tuple[int, int, int]] = []
        for tag, groups in by_tag.items():
            series = self.series[tag]
            held = self.held[series]
            for part, columns in groups:
                grown.extend(self._append(series, held, part, columns, rewritten))
        self._store_chunks(grown, rewritten)
        self._store_tails([self.series[tag] for tag in by_tag])
        return sum(summary.count for summary in summaries.values())

    def _find_series(self, summaries: dict[str, Summary], shown: bool) -> None:
        """Know the id of every series; new ones get their row, known ones their new summary."""
        missing = [tag for tag in summaries if tag not in self.series]
        if missing:
            self.series.update(_series_of(self.run_id, missing))
        new = sorted(tag for tag in missing if tag not in self.series)
        if new:
            self.series.update(_insert_series(self.run_id, {t: summaries[t] if shown else None for t in new}))
        if shown:
            made = set(new)
            _grow_series({self.series[tag]: s for tag, s in summaries.items() if tag not in made})

    def _recall(self, series: list[int]) -> None:
        """Load where series stand that this writer has not touched yet."""
        unknown = [pk for pk in series if pk not in self.held]
        for pk in unknown:
            self.held[pk] = Held()
        if self.fresh or not unknown:
            return
        where = "series_id = ANY(%s) AND log_file_id = %s AND generation = %s"
        values = [unknown, self.log_file_id, self.generation]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT ON (series_id) series_id, part, start, count FROM runs_serieschunk "
                f"WHERE {where} ORDER BY series_id, part DESC, start DESC", values)
            for pk, part, start, count in cursor.fetchall():
                short = (start, count) if count < chunks.SETTLED_POINTS else None
                self.held[pk] = Held(part, start + count, short=short, highest=part)
            cursor.execute(f"SELECT series_id, part, start, data FROM runs_seriestail WHERE {where}", values)
            for pk, part, start, data in cursor.fetchall():
                short = self.held[pk].short if self.held[pk].part == part else None
                highest = max(part, self.held[pk].highest)
                self.held[pk] = Held(part, start, chunks.unpack(data), stored=True, short=short, highest=highest)

    def _append(
        self, series: int, held: Held, part: int, columns: Columns, rewritten: list[tuple[int, int, int]]
    ) -> list[tuple[Any, ...]]:
        """Add one piece to a series; the chunk rows that come of it."""
        rows: list[tuple[Any, ...]] = []
        other_type = held.tail is not None and held.tail[2].dtype != columns[2].dtype
        if held.tail is not None and (part != held.part or other_type):
            rows.append(self._chunk_row(series, held.part, held.start, held.tail))
            held.start += len(held.tail[0])
            held.tail = held.short = None
        if part != held.part:
            self._turn_to(series, held, part)
        joined = columns if held.tail is None else _joined(held.tail, columns)
        if len(joined[0]) <= chunks.TAIL_POINTS:
            held.tail = joined
            return rows
        held.tail = None
        if held.short is not None and held.short[1] + len(joined[0]) <= chunks.CHUNK_POINTS:
            earlier = self._read_chunk(series, held, rows)
            if earlier is not None and earlier[2].dtype == joined[2].dtype:
                joined, held.start = _joined(earlier, joined), held.short[0]
                rows = [row for row in rows if row[3:5] != (held.part, held.start)]
                rewritten.append((series, held.part, held.start))
        for piece in _cut(joined):
            rows.append(self._chunk_row(series, held.part, held.start, piece))
            count = len(piece[0])
            held.short = (held.start, count) if count < chunks.SETTLED_POINTS else None
            held.start += count
        return rows

    def _turn_to(self, series: int, held: Held, part: int) -> None:
        """Go on in another part: nearly always a new one, but two jobs may write one tag in turn."""
        self.ends[(series, held.part)] = held.start
        held.short = None
        if (series, part) in self.ends:
            held.start = self.ends[(series, part)]
        elif part > held.highest or self.fresh:
            held.start = 0
        else:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT coalesce(max(start + count), 0) FROM runs_serieschunk WHERE series_id = %s "
                    "AND log_file_id = %s AND generation = %s AND part = %s",
                    [series, self.log_file_id, self.generation, part])
                (held.start,) = cursor.fetchone()
        held.part, held.highest = part, max(part, held.highest)

    def _read_chunk(self, series: int, held: Held, rows: list[tuple[Any, ...]]) -> Columns | None:
        """The last chunk of a series: among the rows still to be stored, else from the table."""
        assert held.short is not None
        for row in rows:
            if row[3:5] == (held.part, held.short[0]):
                return chunks.unpack(row[-1])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT data FROM runs_serieschunk WHERE series_id = %s AND log_file_id = %s AND generation = %s "
                "AND part = %s AND start = %s",
                [series, self.log_file_id, self.generation, held.part, held.short[0]])
            row = cursor.fetchone()
        return None if row is None else chunks.unpack(row[0])

    def _chunk_row(
        self, series: int, part: int, start: int, columns: Columns, *, raw: bool = False
    ) -> tuple[Any, ...]:
        s = chunks.summarize(*columns)
        return (series, self.log_file_id, self.generation, part, start, s.count, s.first_step, s.last_step, s.last,
                s.last_wall, s.minimum, s.maximum, s.nonfinite, chunks.pack(*columns, raw=raw))

    def _store_chunks(self, rows: list[tuple[Any, ...]], rewritten: list[tuple[int, int, int]]) -> None:
        if not rows:
            return
        with connection.cursor() as cursor:
            if rewritten:
                cursor.execute(
                    "DELETE FROM runs_serieschunk c USING unnest(%s::bigint[], %s::int[], %s::bigint[]) "
                    "AS old(series, part, start) WHERE c.series_id = old.series AND c.log_file_id = %s "
                    "AND c.generation = %s AND c.part = old.part AND c.start = old.start",
                    [*map(list, zip(*rewritten, strict=True)), self.log_file_id, self.generation])
            with cursor.copy(f"COPY runs_serieschunk ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(TYPES)
                for row in rows:
                    copy.write_row(row)

    def _store_tails(self, touched: list[int]) -> None:
        """Bring the tail rows of these series to what is held: one statement each way."""
        kept, gone = [], []
        for pk in touched:
            held = self.held[pk]
            if held.tail is not None:
                kept.append(self._chunk_row(pk, held.part, held.start, held.tail, raw=True))
                held.stored = True
            elif held.stored:
                gone.append(pk)
                held.stored = False
        with connection.cursor() as cursor:
            if gone:
                cursor.execute("DELETE FROM runs_seriestail WHERE series_id = ANY(%s) AND log_file_id = %s "
                               "AND generation = %s", [gone, self.log_file_id, self.generation])
            if kept:
                arrays = ", ".join(f"%s::{kind}[]" for kind in TYPES)
                names = [name.strip() for name in COLUMNS.split(",")]
                cursor.execute(
                    f"INSERT INTO runs_seriestail ({COLUMNS}) SELECT * FROM unnest({arrays}) "
                    "ON CONFLICT (series_id, log_file_id, generation) DO UPDATE SET "
                    + ", ".join(f"{name} = EXCLUDED.{name}" for name in names[3:]),
                    [list(column) for column in zip(*kept, strict=True)])


def tag_name(prefix: str, tag: str) -> str:
    """What a series is stored as; a name that no index could hold is cut, with its digest."""
    name = prefix + tag
    if len(name) * 4 <= NAME_BYTES or len(raw := name.encode(errors="backslashreplace")) <= NAME_BYTES:
        return name
    return f"{raw[: NAME_BYTES - 65].decode(errors='ignore')}~{hashlib.sha256(raw).hexdigest()}"


def ensure_tags(names: Iterable[str]) -> None:
    """Make rows for the tags that are new.  Call it outside a transaction, so that two runs
    that bring the same new tag do not wait for each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM runs_tag WHERE name = ANY(%s)", [list(names)])
        known = {name for (name,) in cursor.fetchall()}
        new = sorted(set(names) - known)
        if new:
            cursor.execute("INSERT INTO runs_tag (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [new])


def recount(run_id: int) -> int:
    """Make the summaries of a run's series anew from the shown generations; returns its points."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH packed AS (
                SELECT c.* FROM (
                    SELECT series_id, log_file_id, generation, count, first_step, last_step, last, last_wall,
                           minimum, maximum, nonfinite, part, start FROM runs_serieschunk
                    UNION ALL
                    SELECT series_id, log_file_id, generation, count, first_step, last_step, last, last_wall,
                           minimum, maximum, nonfinite, part, start FROM runs_seriestail) c
                JOIN runs_series s ON s.id = c.series_id AND s.run_id = %(run)s
                JOIN runs_logfile f ON f.id = c.log_file_id AND f.generation = c.generation),
            newest AS (
                SELECT DISTINCT ON (series_id) series_id, last, last_step, NULLIF(last_wall, 'NaN') AS last_wall
                FROM packed ORDER BY series_id, NULLIF(last_wall, 'NaN') DESC NULLS LAST, log_file_id DESC,
                                     part DESC, start DESC),
            total AS (
                SELECT series_id, sum(count) AS count, min(first_step) AS first_step, min(minimum) AS minimum,
                       max(maximum) AS maximum, sum(nonfinite) AS nonfinite FROM packed GROUP BY series_id)
            UPDATE runs_series s SET count = coalesce(t.count, 0), first_step = t.first_step,
                last_step = n.last_step, last = n.last, last_wall = n.last_wall,
                minimum = t.minimum, maximum = t.maximum, nonfinite = coalesce(t.nonfinite, 0)
            FROM runs_series mine LEFT JOIN total t ON t.series_id = mine.id
                LEFT JOIN newest n ON n.series_id = mine.id
            WHERE s.id = mine.id AND mine.run_id = %(run)s
            """, {"run": run_id})
        cursor.execute("SELECT coalesce(sum(count), 0)::bigint FROM runs_series WHERE run_id = %s", [run_id])
        (points,) = cursor.fetchone()
    return int(points)


def forget_file(log_file_id: int, run_id: int) -> None:
    """Delete all points of a file."""
    forget_generations(log_file_id, run_id, 2**31 - 1)


def forget_generations(log_file_id: int, run_id: int, older_than: int) -> None:
    """Delete the points of generations of a file that were replaced long ago."""
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(
                f"DELETE FROM {table} WHERE series_id IN (SELECT id FROM runs_series WHERE run_id = %s) "
                "AND log_file_id = %s AND generation < %s", [run_id, log_file_id, older_than])


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


def _merged(summaries: Iterable[Summary]) -> Summary:
    """One summary of several, in file order; the last value is that with the latest wall time."""
    first, *rest = summaries
    for one in rest:
        newest = one if _age(one.last_wall) >= _age(first.last_wall) else first
        first = replace(
            newest,
            count=first.count + one.count,
            first_step=min(first.first_step, one.first_step),
            minimum=_least(first.minimum, one.minimum, min),
            maximum=_least(first.maximum, one.maximum, max),
            nonfinite=first.nonfinite + one.nonfinite,
        )
    return first


def _age(wall: float) -> tuple[bool, float]:
    """To compare wall times: NaN is older than all."""
    return (False, 0.0) if math.isnan(wall) else (True, wall)


def _least(a: float | None, b: float | None, choose: Any) -> float | None:
    return b if a is None else a if b is None else choose(a, b)


def _wall(wall: float) -> float | None:
    return None if math.isnan(wall) else wall


def _series_of(run_id: int, tags: list[str]) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.name, s.id FROM runs_series s JOIN runs_tag t ON t.id = s.tag_id "
            "WHERE s.run_id = %s AND t.name = ANY(%s)", [run_id, tags])
        return dict(cursor.fetchall())


def _insert_series(run_id: int, summaries: dict[str, Summary | None]) -> dict[str, int]:
    """Rows for series that the run does not have yet; the caller holds the run's lock."""
    rows = [
        (tag, s.count, s.first_step, s.last_step, s.last, _wall(s.last_wall), s.minimum, s.maximum, s.nonfinite)
        if s else (tag, 0, None, None, None, None, None, None, 0)
        for tag, s in summaries.items()
    ]
    kinds = ["text", "int8", "int8", "int8", "float8", "float8", "float8", "float8", "int8"]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_series (run_id, tag_id, count, first_step, last_step, last, last_wall, minimum, "
            "maximum, nonfinite) SELECT %s, t.id, v.n, v.fs, v.ls, v.l, v.lw, v.lo, v.hi, v.nf "
            f"FROM unnest({arrays}) AS v(tag, n, fs, ls, l, lw, lo, hi, nf) JOIN runs_tag t ON t.name = v.tag "
            "RETURNING id, (SELECT name FROM runs_tag WHERE id = tag_id)",
            [run_id, *(list(column) for column in zip(*rows, strict=True))])
        return {tag: pk for pk, tag in cursor.fetchall()}


def _grow_series(summaries: dict[int, Summary]) -> None:
    if not summaries:
        return
    rows = [
        (pk, s.count, s.first_step, s.last_step, s.last, _wall(s.last_wall), s.minimum, s.maximum, s.nonfinite)
        for pk, s in summaries.items()
    ]
    kinds = ["int8", "int8", "int8", "int8", "float8", "float8", "float8", "float8", "int8"]
    arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
    newer = "(s.last_wall IS NULL OR v.lw >= s.last_wall)"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_series s SET count = s.count + v.n, first_step = LEAST(s.first_step, v.fs), "
            f"last_step = CASE WHEN {newer} THEN v.ls ELSE s.last_step END, "
            f"last = CASE WHEN {newer} THEN v.l ELSE s.last END, last_wall = GREATEST(s.last_wall, v.lw), "
            "minimum = LEAST(s.minimum, v.lo), maximum = GREATEST(s.maximum, v.hi), "
            "nonfinite = s.nonfinite + v.nf "
            f"FROM unnest({arrays}) AS v(id, n, fs, ls, l, lw, lo, hi, nf) WHERE s.id = v.id",
            [list(column) for column in zip(*rows, strict=True)])
