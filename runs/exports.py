"""Runs and series as CSV and JSON: bytes, piece by piece, so that memory does not grow with them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runs.api.rendering import encode
from runs.decimals import joined, texts

if TYPE_CHECKING:
    from runs.models import Run
    from runs.query import Column
    from runs.unsampled import Block

#: What spreadsheets take for the beginning of a formula.
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SERIES_COLUMNS = ("run", "tag", "file", "part", "generation", "type", "step", "wall", "value")


def cell(value: Any) -> str:
    """A value as a cell of a CSV file: nothing in it is ever a formula.

    A text that begins as one gets an apostrophe in front, which spreadsheets do not show;
    numbers, also negative ones and those written as text, stay as they are.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value).replace("nan", "NaN")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else encode(value).decode()
    text = text.encode(errors="backslashreplace").decode()
    return "'" + text if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def line(values: Iterable[Any]) -> bytes:
    """A line of a CSV file."""
    out = io.StringIO()
    # it quotes the line ends that it writes itself: with \n alone a bare \r in a cell would begin a row
    csv.writer(out).writerow([cell(value) for value in values])
    return out.getvalue().removesuffix("\r\n").encode() + b"\n"


# runs


def runs_as_csv(runs: Iterable[Run], columns: Sequence[Column]) -> Iterator[bytes]:
    """A line a run: its id, then the columns by their keys."""
    yield line(["id", *(column.key for column in columns)])
    for run in runs:
        yield line([run.pk, *(column.cell(run) for column in columns)])


def runs_as_ndjson(runs: Iterable[Run], columns: Sequence[Column]) -> Iterator[bytes]:
    """A JSON object a line and run."""
    for run in runs:
        yield encode({"id": run.pk, **{column.key: column.cell(run) for column in columns}}) + b"\n"


def runs_as_json(runs: Iterable[Run], columns: Sequence[Column]) -> Iterator[bytes]:
    """One array of them."""
    return _array(runs_as_ndjson(runs, columns))


# series


def series_as_csv(run: Run, blocks: Iterable[Block]) -> Iterator[bytes]:
    """A line a point; ``type`` says what to read the value as, so that its bits come back."""
    yield line(SERIES_COLUMNS)
    for block in blocks:
        same = line([run.pk, block.tag, block.file, block.part, block.generation, type_of(block)])[:-1] + b","
        rows = zip(texts(block.steps), texts(block.walls), texts(block.values), strict=True)
        yield same + (b"\n" + same).join(map(b",".join, rows)) + b"\n"


def series_as_ndjson(run: Run, blocks: Iterable[Block]) -> Iterator[bytes]:
    """A JSON object a line and block of at most 4,096 points, with the columns step, wall and value as arrays."""
    for block in blocks:
        head = encode({"run": run.pk, "tag": block.tag, "file": block.file, "part": block.part,
                       "generation": block.generation, "type": type_of(block)})
        yield b'%s,"step":[%s],"wall":[%s],"value":[%s]}\n' % (
            head[:-1], joined(block.steps), joined(block.walls), joined(block.values)
        )


def series_as_json(run: Run, blocks: Iterable[Block]) -> Iterator[bytes]:
    """One array of them."""
    return _array(series_as_ndjson(run, blocks))


def type_of(block: Block) -> str:
    """The type that the values were written in: float32, int64 ..."""
    return str(block.values.dtype.name)


def _array(lines: Iterable[bytes]) -> Iterator[bytes]:
    opening = b"[\n"
    for one in lines:
        yield opening + one[:-1]
        opening = b",\n"
    yield b"\n]\n" if opening != b"[\n" else b"[]\n"
