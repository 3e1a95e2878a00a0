"""A look at the first records of an event file, for the directory scan."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from runs.readers import crc, wire
from runs.readers.source import Source

_SIZE = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Peek:
    """What the first records of a file say, for the directory scan.

    ``tags`` are the first few, in order; ``plugins`` is tag -> plugin, to hand to ``read``
    for the other files of the run.  ``is_event_file``: it begins with a valid record header.
    """

    is_event_file: bool = False
    first_wall: float | None = None
    tags: list[str] = field(default_factory=list)
    plugins: dict[str, str] = field(default_factory=dict)


def peek(fd: int, max_bytes: int = 65536, max_tags: int = 16) -> Peek:
    """Look at the records that lie whole in the first ``max_bytes``; never raises for them."""
    found = Peek()
    source = Source(fd)
    data = source.bytes(0, min(max_bytes, source.size))
    at, first_wall, event_file = 0, None, False
    while at + 12 <= len(data) and len(found.tags) < max_tags:
        (length,) = _SIZE.unpack_from(data, at)
        if data[at : at + 12] != crc.header(length):
            break
        event_file = True
        if at + 16 + length > len(data):
            break
        try:
            event = wire.event(data[at + 12 : at + 12 + length])
        except wire.NotAnEvent:
            event = wire.Event(wall=float("nan"))
        if first_wall is None and event.wall == event.wall:
            first_wall = event.wall
        for value in event.values:
            if value.tag not in found.tags:
                found.tags.append(value.tag)
            if value.plugin is not None:
                found.plugins.setdefault(value.tag, value.plugin)
        at += 16 + length
    return Peek(event_file, first_wall, found.tags[:max_tags], found.plugins)
