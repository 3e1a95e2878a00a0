"""Images and sounds in a record of an event file: found by tag, told by their first bytes.

What a writer calls an image may be anything: only what begins as a PNG, JPEG, GIF, WebP or
WAV does is called so, all else is bytes without a type.
"""

from __future__ import annotations

from collections.abc import Iterator

from runs.readers import crc, tensor, wire
from runs.readers.plain import plain
from runs.readers.source import Source, Stretch

#: Framing of a record: length, its CRC, and the payload's CRC behind it.
HEAD, FOOT = 12, 4
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", 0, b"", "image/png"),
    (b"\xff\xd8\xff", 0, b"", "image/jpeg"),
    (b"GIF87a", 0, b"", "image/gif"),
    (b"GIF89a", 0, b"", "image/gif"),
    (b"RIFF", 8, b"WEBP", "image/webp"),
    (b"RIFF", 8, b"WAVE", "audio/wav"),
)


class NotThere(ValueError):
    """The record at this place is not the one that was read."""


def payload(source: Source, offset: int, length: int) -> Stretch:
    """The payload of the record at ``offset``, both CRCs checked; it stays on disk."""
    size = length - HEAD - FOOT
    if size < 0 or offset < 0 or offset + length > source.size:
        raise NotThere("the file is shorter")
    if source.bytes(offset, HEAD) != crc.header(size):
        raise NotThere("no record begins here")
    stored = int.from_bytes(source.bytes(offset + HEAD + size, FOOT), "little")
    if crc.mask(source.crc(offset + HEAD, size)) != stored:
        raise NotThere("the record's checksum is wrong")
    return Stretch(source, offset + HEAD, size)


def spans(data: wire.Payload, tag: str, prefix: str = "") -> list[tuple[int, int]]:
    """Where the images or sounds of a tag lie in a payload, as (start, stop)."""
    try:
        event = wire.event(data)
        return [span for value in event.values if plain(prefix + value.tag) == tag for span in _of_value(data, value)]
    except wire.NotAnEvent as error:
        raise NotThere(str(error)) from error


def _of_value(data: wire.Payload, value: wire.Value) -> Iterator[tuple[int, int]]:
    if value.form in ("image", "audio"):  # Summary.Image and Summary.Audio both hold the bytes in field 4
        for number, kind, at, end, _ in wire.fields(data, value.start, value.stop):
            if (number, kind) == (4, wire.LENGTH):
                yield at, end
    elif value.form == "tensor":
        found = tensor.outline(data, value.start, value.stop)
        strings = [(at, end) for number, kind, at, end, _ in found.lists if (number, kind) == (8, wire.LENGTH)]
        if found.shape is not None and len(found.shape) == 2:  # audio: rows of sound and label
            yield from strings[:: max(1, found.shape[1])]
        else:  # images: width, height, then each image
            yield from strings[2:]


def media_type(data: bytes) -> str:
    """What these bytes are by their beginning; "" where it is nothing that a page shows."""
    for start, at, then, name in MAGIC:
        if data.startswith(start) and data[at : at + len(then)] == then:
            return name
    return ""
