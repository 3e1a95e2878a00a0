"""Series: their names, their rows, and the summaries that lists sort by."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.db import connection

from runs import masks
from runs.arrays import literals
from runs.chunks import Summary

#: A longer name of a series is cut and ends in its SHA-256: an index row holds 2.7 KB.
NAME_BYTES = 2000
#: About what a row of points takes beside its data.
ROW = 120

#: run id, tag name
Key = tuple[int, str]


def tag_name(prefix: str, tag: str) -> str:
    """What a series is stored as: without secrets; a name that no index could hold is cut, with its digest."""
    name = masks.name(prefix + tag)
    if len(name) * 4 <= NAME_BYTES or len(raw := name.encode(errors="backslashreplace")) <= NAME_BYTES:
        return name
    return f"{raw[: NAME_BYTES - 65].decode(errors='ignore')}~{hashlib.sha256(raw).hexdigest()}"


def ensure_tags(names: Iterable[str]) -> None:
    """Make rows for the tags that are new.  Call it outside a transaction, so that two runs
    that bring the same new tag do not wait for each other."""
    wanted = sorted(names)
    if not wanted:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM runs_tag WHERE name = ANY(%s)", [wanted])
        known = {name for (name,) in cursor.fetchall()}
        new = [name for name in wanted if name not in known]
        if new:
            cursor.execute("INSERT INTO runs_tag (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [new])


def find_or_make(summaries: dict[Key, Summary | None]) -> dict[Key, int]:
    """The ids of these series; new ones get a row, all of them their new points' summary.

    None: the points are not shown yet.  The caller holds the locks of the runs.
    """
    ids = _known(summaries)
    _grow({ids[key]: summary for key, summary in summaries.items() if summary is not None and key in ids})
    ids.update(_insert({key: summary for key, summary in summaries.items() if key not in ids}))
    return ids


def merged(summaries: Iterable[Summary]) -> Summary | None:
    """One summary of several, in file order; the last value is that with the latest wall time."""
    whole: Summary | None = None
    for one in summaries:
        if whole is None:
            whole = one
            continue
        newest = one if _age(one.last_wall) >= _age(whole.last_wall) else whole
        whole = replace(
            newest,
            count=whole.count + one.count,
            first_step=min(whole.first_step, one.first_step),
            minimum=_extreme(whole.minimum, one.minimum, min),
            maximum=_extreme(whole.maximum, one.maximum, max),
            nonfinite=whole.nonfinite + one.nonfinite,
        )
    return whole


def recount(run_id: int) -> int:
    """Make the summaries of a run's series anew from the shown generations; returns its points."""
    with connection.cursor() as cursor:
        cursor.execute(_RECOUNT, {"run": run_id})
        cursor.execute("SELECT coalesce(sum(count), 0)::bigint FROM runs_series WHERE run_id = %s", [run_id])
        (points,) = cursor.fetchone()
    return int(points)


_RECOUNT = """
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
"""


def forget_file(log_file_id: int, run_id: int) -> None:
    """Delete all points of a file."""
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(
                f"DELETE FROM {table} WHERE series_id IN (SELECT id FROM runs_series WHERE run_id = %s) "
                "AND log_file_id = %s", [run_id, log_file_id])


def forget_points(run_id: int) -> int:
    """Delete all points of a run; its series stay as they were summed up.  The bytes of the rows, as they were stored."""
    size = 0
    with connection.cursor() as cursor:
        for table in ("runs_serieschunk", "runs_seriestail"):
            cursor.execute(
                f"WITH gone AS (DELETE FROM {table} WHERE series_id IN (SELECT id FROM runs_series WHERE run_id = %s) "
                "RETURNING pg_column_size(data)) SELECT coalesce(sum(pg_column_size), 0) + %s * count(*) FROM gone",
                [run_id, ROW])
            size += int(cursor.fetchone()[0])
    return size


def _known(keys: Iterable[Key]) -> dict[Key, int]:
    runs, tags = (list(column) for column in zip(*keys, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.run_id, t.name, s.id FROM unnest(%s::bigint[], %s::text[]) AS k(run, tag) "
            "JOIN runs_tag t ON t.name = k.tag JOIN runs_series s ON s.run_id = k.run AND s.tag_id = t.id",
            [runs, tags])
        return {(run, tag): pk for run, tag, pk in cursor.fetchall()}


_KINDS = ["int8", "int8", "int8", "float8", "float8", "float8", "float8", "int8"]


def _values(s: Summary | None) -> tuple[Any, ...]:
    if s is None:
        return (0, None, None, None, None, None, None, 0)
    wall = None if math.isnan(s.last_wall) else s.last_wall
    return (s.count, s.first_step, s.last_step, s.last, wall, s.minimum, s.maximum, s.nonfinite)


def _insert(summaries: dict[Key, Summary | None]) -> dict[Key, int]:
    if not summaries:
        return {}
    rows = [(*key, *_values(summary)) for key, summary in sorted(summaries.items())]
    arrays = ", ".join(f"%s::{kind}[]" for kind in ["int8", "text", *_KINDS])
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH made AS (INSERT INTO runs_series (run_id, tag_id, count, first_step, last_step, last, last_wall, "
            "minimum, maximum, nonfinite) SELECT v.run, t.id, v.n, v.fs, v.ls, v.l, v.lw, v.lo, v.hi, v.nf "
            f"FROM unnest({arrays}) AS v(run, tag, n, fs, ls, l, lw, lo, hi, nf) JOIN runs_tag t ON t.name = v.tag "
            "RETURNING id, run_id, tag_id) SELECT made.run_id, t.name, made.id FROM made JOIN runs_tag t "
            "ON t.id = made.tag_id", [list(column) for column in zip(*rows, strict=True)])
        return {(run, tag): pk for run, tag, pk in cursor.fetchall()}


def _grow(summaries: dict[int, Summary]) -> None:
    if not summaries:
        return
    rows = [(pk, *_values(summary)) for pk, summary in summaries.items()]
    arrays = ", ".join(f"%s::{kind}[]" for kind in ["int8", *_KINDS])
    newer = "(s.last_wall IS NULL OR v.lw >= s.last_wall)"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_series s SET count = s.count + v.n, first_step = LEAST(s.first_step, v.fs), "
            f"last_step = CASE WHEN {newer} THEN v.ls ELSE s.last_step END, "
            f"last = CASE WHEN {newer} THEN v.l ELSE s.last END, last_wall = GREATEST(s.last_wall, v.lw), "
            "minimum = LEAST(s.minimum, v.lo), maximum = GREATEST(s.maximum, v.hi), "
            "nonfinite = s.nonfinite + v.nf "
            f"FROM unnest({arrays}) AS v(id, n, fs, ls, l, lw, lo, hi, nf) WHERE s.id = v.id", literals(rows))


def _age(wall: float) -> tuple[bool, float]:
    """To compare wall times: NaN is older than all."""
    return (False, 0.0) if math.isnan(wall) else (True, wall)


def _extreme(a: float | None, b: float | None, choose: Any) -> float | None:
    return b if a is None else a if b is None else choose(a, b)
