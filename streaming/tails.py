"""What grows at its end: points of charts, lines of logs; fetched once for all readers that stand at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from runs import loglines
from runs.models import Job
from runs.newer import Place, newer
from runs.packing import Body

#: The header's ``series`` and the body of a binary frame.
Packed = tuple[Raw, Sequence[bytes]]
#: A job, and the file of its log; None: all.
Tail = tuple[int, int | None]
#: Lines of one frame, and how far behind the end a reader may be to get every line.
MOST_LINES, MOST_BEHIND = 500, 2000


def points(run: int, known: Sequence[tuple[str, Place]]) -> tuple[dict[str, Place | None], Packed | None]:
    """Where a reader of these metrics then stands (None: it must look anew), and the points that lead there."""
    found = newer(run, known)
    body = Body()
    series: list[dict[str, Any]] = []
    for one in found.values():
        if one is not None:
            columns = {"step": one.steps, "wall": one.walls, "value": one.values}
            line = {name: body.column(values) for name, values in columns.items()}
            series.append({"run": run, "tag": one.tag, "count": one.place[4], "place": one.place, "line": line})
    places = {tag: one.place if one else None for tag, one in found.items()}
    return places, (Raw(msgspec.json.encode(series)), body.columns) if series else None


def lines(job: int, stream: int | None, line: int) -> tuple[dict[str, Any] | None, int]:
    """The lines after ``line``, and the number of lines that a reader has with them.

    ``again``: the log was replaced, or so much of it is missing that only its end is told.
    """
    row = Job.objects.filter(pk=job).only("line_count").first()
    if row is None:
        return None, line
    count = row.line_count if stream is None else next((one.lines for one in loglines.streams(row) if one.id == stream), 0)
    if count == line:
        return None, line
    again = count < line or count - line > MOST_BEHIND
    start = max(0, count - MOST_LINES) if again else line
    told = loglines.lines(row, start, min(count, start + MOST_LINES), stream=stream)
    if not told and not again:
        return None, line
    part: dict[str, Any] = {"job": job, "from": start, "lines": told}
    if stream is not None:
        part["stream"] = stream
    if again:
        part["again"] = True
    return part, start + len(told)
