"""Curves as bytes: JSON for people and scripts, and one binary message that a browser maps without parsing.

Both hold the same document.  In JSON a column is a list, null where a value is no finite number
(``marks`` say which).  In the binary it is ``[offset, length]``: ``length`` little-endian float64
from ``offset`` bytes into the body, NaN and the infinities as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from runs.curves import Curve, Curves
from runs.pieces import Array
from runs.thinning import KINDS

#: ``TMS1``, then the length of the JSON header; the body begins behind it, 8-byte aligned.
HEAD = struct.Struct("<4sI")
MAGIC = b"TMS1"
JSON_TYPE = "application/json"
BINARY_TYPE = "application/x-trainmon-series"

Column = Callable[[Array], Any]


def as_json(head: dict[str, Any], found: Iterable[Curves]) -> bytes:
    """The JSON text; every float reads back as the same float."""
    return msgspec.json.encode({**head, "series": [_series(one, lambda column: column.tolist()) for one in found]})


def as_binary(head: dict[str, Any], found: Iterable[Curves]) -> bytes:
    """Head, JSON header padded with blanks, columns."""
    body = Body()
    series = [_series(one, body.column) for one in found]
    return binary({**head, "series": series}, body.columns)


def binary(head: dict[str, Any], body: Iterable[bytes]) -> bytes:
    """A binary message of a header and the body that its columns lie in."""
    text = msgspec.json.encode(head)
    text += b" " * (-len(text) % 8)
    return b"".join([HEAD.pack(MAGIC, len(text)), text, *body])


class Body:
    """The body of a binary message, column by column."""

    def __init__(self) -> None:
        self.columns: list[bytes] = []
        self.size = 0

    def column(self, values: Array) -> list[int]:
        """Add a column; where it lies, as the header says it."""
        data = values.astype("<f8", copy=False).tobytes()
        self.columns.append(data)
        self.size += len(data)
        return [self.size - len(data), len(values)]


def _series(one: Curves, column: Column) -> dict[str, Any]:
    return {
        "run": one.series.run_id,
        "tag": one.series.tag.name,
        "count": one.series.count,
        "origin": one.origin,
        "coarse": one.coarse,
        "writers": one.writers,
        "place": one.place,
        "restarts": [
            {"writer": restart.writer, "step": restart.step, "wall": restart.wall, "reason": restart.why}
            for restart in one.restarts
        ],
        "lines": [_line(curve, one.origin, column) for curve in one.curves],
    }


def _line(curve: Curve, origin: float | None, column: Column) -> dict[str, Any]:
    made = {
        "writer": curve.writer,
        "old": curve.old,
        "count": curve.count,
        "thinned": curve.means is not None,
        "rounded": curve.rounded,
        "step": column(curve.steps),
        "wall": column(curve.walls),
        "value": column(curve.values),
        "breaks": curve.breaks.tolist(),
        "marks": {
            "kind": [KINDS[kind] for kind in curve.marks.kinds],
            "step": curve.mark_steps.tolist(),
            "wall": curve.mark_walls.tolist(),
            "count": curve.marks.counts.tolist(),
        },
    }
    if curve.means is not None:
        made["mean"] = column(curve.means)
    return made


def rows_of(one: Curves) -> int:
    """Rows that a series adds to an answer."""
    return sum(len(curve.steps) + len(curve.mark_steps) for curve in one.curves)


def finite(value: float) -> float | None:
    """A bound as JSON has it."""
    return value if np.isfinite(value) else None
