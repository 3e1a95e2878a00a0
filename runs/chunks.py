"""Packed points: the codec of SeriesChunk.data and SeriesTail.data.

A chunk is ``version u8, dtype code u8, count u32`` and then one zstd frame (level 1; 0 for
tails, which are stored raw) of three columns, each split into byte planes: steps and the
bits of the wall times as differences to their predecessor, values as they are.  Every bit
comes back: NaN payloads, denormals, the type that was written.

Measured on 4,096 points of a training loop: 5 bytes a point, 0.26 ms to pack.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass

import numpy as np
import zstandard

VERSION_ZSTD, VERSION_RAW = 1, 2
HEAD = struct.Struct("<BBI")
#: Never renumber: the codes are on disk.
DTYPES = {
    code: np.dtype(name)
    for code, name in enumerate(
        ["<f4", "<f8", "<i8", "<u8", "<f2", "<i4", "<u4", "<i2", "<u2", "|i1", "|u1", "|b1"], start=1
    )
}
CODES = {dtype: code for code, dtype in DTYPES.items()}

#: Points a chunk holds at most, and from when on it is left alone when more arrive.
CHUNK_POINTS = 4096
SETTLED_POINTS = 1024
#: Points a tail holds at most (about 2 KB raw).
TAIL_POINTS = 100

_DIFFERENCE = np.dtype("<i8")
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list needs to know of some points: extremes over finite values, the rest counted.

    ``last``, ``last_step`` and ``last_wall`` are those of the point with the latest wall time
    (of several the last one), ``first_step`` is the smallest: the same however points are cut.
    """

    count: int
    first_step: int
    last_step: int
    last: float
    last_wall: float
    minimum: float | None
    maximum: float | None
    nonfinite: int


def pack(steps: np.ndarray, walls: np.ndarray, values: np.ndarray, *, raw: bool = False) -> bytes:
    """Pack three columns of the same length; ``raw`` leaves out the compression (tails)."""
    values = np.ascontiguousarray(values)
    code = CODES[values.dtype]
    columns = b"".join(
        (_planes(_differences(steps.astype("<i8", copy=False))),
         _planes(_differences(np.ascontiguousarray(walls, "<f8").view("<i8"))),
         _planes(values))
    )
    if raw:
        return HEAD.pack(VERSION_RAW, code, len(steps)) + columns
    return HEAD.pack(VERSION_ZSTD, code, len(steps)) + _compressor().compress(columns)


def unpack(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steps (int64), wall times (float64, Unix seconds) and values (as written) of a chunk.

    Raises ValueError where the bytes are not a chunk of a known version.
    """
    count, dtype = _head(data)
    columns = np.empty(count, "<i8"), np.empty(count, "<f8"), np.empty(count, dtype)
    unpack_into(data, *columns)
    return columns


def points_in(data: bytes) -> int:
    """How many points a chunk holds, by its own word."""
    return _head(data)[0]


def unpack_into(data: bytes, steps: np.ndarray, walls: np.ndarray, values: np.ndarray) -> None:
    """Unpack a chunk into columns of its length; values become what their column is of."""
    count, dtype = _head(data)
    columns = memoryview(data)[HEAD.size :]
    expected = count * (16 + dtype.itemsize)
    if data[0] == VERSION_ZSTD:
        columns = memoryview(_decompressor().decompress(columns, max_output_size=expected))
    if len(columns) != expected:
        raise ValueError(f"a chunk of {count} points holds {len(columns)} bytes, not {expected}")
    planes = np.frombuffer(columns, np.uint8).reshape(16 + dtype.itemsize, count)
    np.add.accumulate(_unplaned(planes[:8], _DIFFERENCE), out=steps)
    np.add.accumulate(_unplaned(planes[8:16], _DIFFERENCE), out=walls.view(_DIFFERENCE))
    values[:] = _unplaned(planes[16:], dtype)


def _head(data: bytes) -> tuple[int, np.dtype]:
    """How many points, and of what type."""
    version, code, count = HEAD.unpack_from(data)
    dtype = DTYPES.get(code)
    if dtype is None or version not in (VERSION_ZSTD, VERSION_RAW):
        raise ValueError(f"not a chunk that this version reads: version {version}, type {code}")
    return count, dtype


def summarize(steps: np.ndarray, walls: np.ndarray, values: np.ndarray) -> Summary:
    """Counts and extremes of some points (at least one); integers beyond 2^53 are rounded."""
    floats = values if values.dtype.kind == "f" else values.astype("<f8")
    low, high = float(floats.min()), float(floats.max())
    nonfinite = 0
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = floats[np.isfinite(floats)]
        nonfinite = len(floats) - len(finite)
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
    some = nonfinite < len(floats)
    at = _latest(walls)
    return Summary(
        count=len(steps),
        first_step=int(steps.min()),
        last_step=int(steps[at]),
        last=float(floats[at]),
        last_wall=float(walls[at]),
        minimum=low + 0.0 if some else None,  # -0.0 is 0.0 here: which one is met first is chance
        maximum=high + 0.0 if some else None,
        nonfinite=nonfinite,
    )


def _latest(walls: np.ndarray) -> int:
    """The place of the latest wall time, the last of several; of NaN only, the last."""
    latest = walls.max()
    if latest != latest:
        latest = np.fmax.reduce(walls)
    if walls[-1] == latest or latest != latest:
        return len(walls) - 1
    return int(np.flatnonzero(walls == latest)[-1])


def _differences(column: np.ndarray) -> np.ndarray:
    """Each value less its predecessor, modulo 2^64; the first as it is."""
    out = column.copy()
    out[1:] -= column[:-1]
    return out


def _planes(column: np.ndarray) -> bytes:
    """All first bytes, then all second bytes, ...: alike bytes side by side compress well."""
    return column.view(np.uint8).reshape(len(column), column.dtype.itemsize).T.tobytes()


def _unplaned(planes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The column of these planes; of differences most planes hold nothing behind their first point."""
    out = np.zeros(planes.T.shape, np.uint8)
    out[:1] = planes[:, :1].T
    rest, behind = planes[:, 1:], out[1:]
    for place in np.bitwise_or.reduce(rest, axis=1).nonzero()[0].tolist():
        behind[:, place] = rest[place]
    return out.view(dtype).reshape(-1)


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=1)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
