"""Finding the next record behind a bad header.

A position is taken for a record's start where the length's CRC is right, the length is
possible and, once all of the payload is there, its CRC is right too.  What is found depends
on the bytes of the file alone, not on where earlier blocks ended: a candidate whose payload
is not all there yet is waited for.
"""

from __future__ import annotations

import struct

import numpy as np

from runs.readers import crc
from runs.readers.source import Source, data_from
from runs.readers.tfstate import State

#: Protobuf's own bound on a message.
RECORD_BYTES = 2**31 - 1
#: Payload bytes checked for each byte of file.  A file full of valid headers with wrong
#: payloads would take a search for ever; beyond this a header's own CRC is enough.
CHECKS_PER_BYTE = 16
CHECKS_FREE = 64 * 1024 * 1024
_SMALLEST, _LARGEST = 4096, 1024 * 1024


def search(source: Source, state: State, stop: int) -> str:
    """Move ``state.offset`` to the next record; looks at starts before ``stop``.

    Returns "found", "more" (nothing before ``stop``) or "wait" (the file must grow).
    """
    window = _SMALLEST
    while state.offset < stop:
        count = min(window, source.size - state.offset - 11)
        if count <= 0:
            return "wait"
        data = np.frombuffer(source.bytes(state.offset, count + 11), np.uint8)
        for found in crc.find_headers(data, RECORD_BYTES).tolist():
            start = state.offset + found
            (length,) = struct.unpack("<Q", data[found : found + 8].tobytes())
            verdict = _judge(source, state, start, length)
            if verdict != "no":
                state.offset = start
                return verdict
        nonzero = np.flatnonzero(data)
        tail = int(nonzero[-1]) + 1 if len(nonzero) else 0
        if tail < count and source.zeros_from(state.offset + tail):
            state.offset += tail
            return "wait"
        state.offset += count
        if not len(nonzero):  # a hole holds no header, but one may begin in its last bytes
            state.offset = max(state.offset, (data_from(source.fd, state.offset) or source.size) - 11)
        window = min(2 * window, _LARGEST)
    return "more"


def _judge(source: Source, state: State, start: int, length: int) -> str:
    """Whether a record begins at ``start``: "found", "wait" or "no"."""
    end = start + 16 + length
    if end > source.size:
        return "wait"
    if state.searched + length > CHECKS_FREE + CHECKS_PER_BYTE * start:
        return "found"
    state.searched += length
    stored = struct.unpack("<I", source.bytes(end - 4, 4))[0]
    if crc.mask(source.crc(start + 12, length)) == stored:
        return "found"
    return "wait" if torn(source, end) else "no"


def torn(source: Source, end: int) -> bool:
    """Whether a bad record that ends at ``end`` may be half written into reserved space.

    Its last byte and all that follow are zero then.
    """
    return source.bytes(end - 1, 1) == b"\0" and source.zeros_from(end)
