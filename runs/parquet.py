"""Series as a Parquet file, written row group by row group.

One schema a file: run int64, tag, file and type as text, part and generation int32, step
int64, wall float64, value.  Where all values have one type, ``value`` has it: a float32
stays a float.  Where types differ, ``value`` is float64 (exact but for whole numbers beyond
2^53 and the payload of a NaN), and ``bits`` holds each value's own bytes, little-endian.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from runs.chunks import DTYPES
from runs.exports import type_of

if TYPE_CHECKING:
    from runs.models import Run
    from runs.unsampled import Block

#: Points of a row group.
GROUP = 262_144


class Written(io.RawIOBase):
    """A file that is taken away piece by piece while it is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.length = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy until it is taken."""
        piece = bytes(data)
        self.pieces.append(piece)
        self.length += len(piece)
        return len(piece)

    def tell(self) -> int:
        """How much was written so far, taken or not."""
        return self.length

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self.pieces)
        self.pieces.clear()
        return taken


def series_as_parquet(run: Run, blocks: Iterable[Block], types: Collection[int]) -> Iterator[bytes]:
    """The file in pieces; ``types`` are the codes of the values' types (unsampled.types_of)."""
    import pyarrow.parquet as pq  # 40 MB of memory: only where somebody asks for it

    schema = _schema([DTYPES[code] for code in types])
    out = Written()
    with pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=["tag", "file", "type"]) as writer:
        for group in _groups(blocks):
            writer.write_table(_table(run, group, schema), row_group_size=GROUP)
            yield out.take()
    yield out.take()


def _schema(types: list[np.dtype]) -> Any:
    import pyarrow as pa

    one = len(types) == 1
    fields = [
        ("run", pa.int64()), ("tag", pa.string()), ("file", pa.string()), ("part", pa.int32()), ("generation", pa.int32()),
        ("type", pa.string()), ("step", pa.int64()), ("wall", pa.float64()),
        ("value", pa.from_numpy_dtype(types[0]) if one else pa.float64()),
    ]
    return pa.schema([pa.field(*field, nullable=False) for field in fields + ([] if one else [("bits", pa.binary())])])


def _groups(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks enough for a row group; at least one, so that an empty file has its columns, too."""
    group: list[Block] = []
    points = 0
    for block in blocks:
        if group and points + len(block.steps) > GROUP:
            yield group
            group, points = [], 0
        group.append(block)
        points += len(block.steps)
    if group:
        yield group


def _table(run: Run, group: list[Block], schema: Any) -> Any:
    import pyarrow as pa

    sizes = np.array([len(block.steps) for block in group])
    total = int(sizes.sum())

    def text(values: list[str]) -> Any:
        # a lone surrogate is no UTF-8
        plain = [value.encode(errors="backslashreplace").decode() for value in values]
        return pa.array(plain, pa.string()).take(pa.array(np.repeat(np.arange(len(group)), sizes)))

    def number(values: list[int], kind: Any) -> Any:
        return np.repeat(np.array(values, kind), sizes)

    columns = {
        "run": np.full(total, run.pk, np.int64),
        "tag": text([block.tag for block in group]),
        "file": text([block.file for block in group]),
        "part": number([block.part for block in group], np.int32),
        "generation": number([block.generation for block in group], np.int32),
        "type": text([type_of(block) for block in group]),
        "step": np.concatenate([block.steps for block in group]),
        "wall": np.concatenate([block.walls for block in group]),
        "value": _values(group, schema.field("value").type.to_pandas_dtype()),
    }
    if "bits" in schema.names:
        columns["bits"] = pa.array([one for block in group for one in _bits(block.values)], pa.binary())
    return pa.table({name: pa.array(column) for name, column in columns.items()}, schema=schema)


def _values(group: list[Block], kind: Any) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.concatenate([block.values.astype(kind, copy=False) for block in group])


def _bits(values: np.ndarray) -> list[bytes]:
    raw, size = values.tobytes(), values.dtype.itemsize
    return [raw[at : at + size] for at in range(0, len(raw), size)]
