"""CRC-32C as TFRecord uses it: masked, over a record's length and over its payload.

The mask (rotate right by 15, add a constant) is in tensorflow/core/lib/hash/crc32c.h.
"""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np

MASK_DELTA = 0xA282EAD8
ALL = 0xFFFFFFFF


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & ALL


def masked(data: bytes) -> int:
    """The checksum a writer puts behind ``data``."""
    return mask(google_crc32c.value(data))


def header(length: int) -> bytes:
    """The 12 bytes in front of a payload of ``length`` bytes."""
    size = struct.pack("<Q", length)
    return size + struct.pack("<I", masked(size))


def _window_tables() -> np.ndarray:
    """What each value of each of 8 bytes adds to a CRC (it is linear): (8, 256) uint32."""
    zero = google_crc32c.value(bytes(8))
    tables = np.zeros((8, 256), np.uint32)
    for place in range(8):
        for byte in range(256):
            data = bytes(place) + bytes([byte]) + bytes(7 - place)
            tables[place, byte] = google_crc32c.value(data) ^ zero
    return tables


_TABLES = _window_tables()
_ZERO = google_crc32c.value(bytes(8))


def find_headers(data: np.ndarray, most: int) -> np.ndarray:
    """Positions in uint8 ``data`` where a valid header starts, of a length up to ``most``.

    Looks at every position whose 12 bytes lie in ``data``.  ``most`` is below 2**32.
    """
    count = len(data) - 11
    if count <= 0:
        return np.zeros(0, np.int64)
    low = np.ndarray((count,), "<u4", data, 0, (1,))
    high = np.ndarray((count,), "<u4", data, 4, (1,))
    at = np.flatnonzero((high == 0) & (low <= most))
    crc = np.full(len(at), _ZERO, np.uint32)
    for place in range(8):
        crc ^= _TABLES[place][data[at + place]]
    crc = (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(MASK_DELTA)
    stored = np.ndarray((count,), "<u4", data, 8, (1,))
    good: np.ndarray = at[stored[at] == crc]
    return good


#: CRC of anything followed by its own CRC.
RESIDUE = google_crc32c.value(bytes(4))


def _reverse(wanted: int) -> int:
    """The u32 that takes a CRC register of 0 to ``wanted``."""
    table = [google_crc32c.extend(ALL, bytes([byte])) ^ ALL for byte in range(256)]
    by_top = {entry >> 24: byte for byte, entry in enumerate(table)}
    for _ in range(4):
        byte = by_top[wanted >> 24]
        wanted = (wanted ^ table[byte]) << 8 & ALL | byte
    return wanted


_TO_START = _reverse(ALL)


def joint(between: bytes) -> int:
    """The u32 that, behind ``between``, takes a CRC at RESIDUE back to that of nothing."""
    return _TO_START ^ int(google_crc32c.extend(RESIDUE, between)) ^ ALL


_JOINT = joint(bytes(8))


def all_good(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> bool:
    """Whether every payload CRC of neighbouring records is right, in one CRC over them all.

    ``data`` (uint8) begins at ``starts[0]`` and ends at ``ends[-1]``; positions count from
    there.  In a copy each header is replaced by bytes that take the CRC from what it is
    behind a good record to what it is at the start, and each masked CRC by the CRC itself.
    So a good record leaves the running CRC as it was.  One wrong record always shows;
    several would have to cancel out, with a chance of 2**-32 as in any CRC.  Ten times
    cheaper than a call for each record.
    """
    copy = data.copy()
    words = np.ndarray((len(copy) - 3,), "<u4", copy, 0, (1,))
    at = ends - 4
    words[at] = _unmasked(words[at])
    np.ndarray((len(copy) - 7,), "<u8", copy, 0, (1,))[starts] = 0
    words[starts + 8] = _JOINT
    return bool(google_crc32c.extend(RESIDUE, copy) == RESIDUE)


def all_good_rows(rows: np.ndarray, ends: list[int], joints: list[int]) -> bool:
    """``all_good`` for (count, size) uint8 rows that hold records at the same places.

    ``joints`` are those of the records' lengths.
    """
    copy = rows.copy()
    count, size = copy.shape
    crcs = np.empty((len(ends), count), np.uint32)
    columns = [np.ndarray((count,), "<u4", copy, end - 4, (size,)) for end in ends]
    for place, column in enumerate(columns):
        crcs[place] = column
    for column, good in zip(columns, _unmasked(crcs), strict=True):
        column[:] = good
    for start, one in zip([0, *ends], joints, strict=False):
        np.ndarray((count,), "<u4", copy, start + 8, (size,))[:] = one
    return bool(google_crc32c.extend(RESIDUE, copy) == RESIDUE)


def _unmasked(crcs: np.ndarray) -> np.ndarray:
    crcs = crcs - np.uint32(MASK_DELTA)
    turned = crcs >> np.uint32(17)
    crcs <<= np.uint32(15)
    turned |= crcs
    return turned
