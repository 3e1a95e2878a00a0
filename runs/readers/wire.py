"""Event messages by hand: protobuf's wire format, only the fields trainmon keeps.

Field numbers are those of tensorboard/compat/proto (event, summary, tensor,
tensor_shape).  A known field with another wire type is skipped as unknown, groups too;
a repeated singular field counts as its last occurrence, as protobuf does.

Strings leave here fit for PostgreSQL: bytes that are no UTF-8 as ``\\xNN`` (there are no
lone surrogates) and NUL as the four characters ``\\x00``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, overload

#: More than any writer puts there, and few enough for memory: what goes beyond is no Event.
MOST_VALUES, MOST_TAG_BYTES = 100_000, 64 * 1024
#: Plugin content that is read; only hparams has any worth reading.
CONTENT_BYTES = 1024 * 1024
#: A longer tag is cut and ends in its SHA-256: an index row of PostgreSQL holds 2.7 KB.
TAG_BYTES = 1024
VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)
_DOUBLE = struct.Struct("<d")

#: Event.what by field number; file_version, log_message and source_metadata yield nothing.
WHAT = {3: "version", 4: "graph", 5: "summary", 6: "log", 7: "session", 8: "run metadata",
        9: "meta graph", 10: "source"}
#: Summary.Value.value by (field number, wire type).
FORMS = {(2, FIXED32): "simple", (3, LENGTH): "histogram", (4, LENGTH): "image",
         (5, LENGTH): "histogram", (6, LENGTH): "audio", (8, LENGTH): "tensor"}


class Payload(Protocol):
    """Bytes in memory, or a Stretch that stays on disk."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, place: int, /) -> int: ...
    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...


class NotAnEvent(ValueError):
    """The payload is no message of this shape."""


@dataclass(slots=True)
class Value:
    """One Summary.Value; ``start`` and ``stop`` delimit what ``form`` says it holds."""

    tag: str = ""
    form: str = ""
    start: int = 0
    stop: int = 0
    plugin: str | None = None
    content: bytes = b""


@dataclass(slots=True)
class Event:
    """One Event.  ``wall_at`` and ``step_at`` tell where its bytes stand, -1 where absent.

    ``simple`` is false where a field came twice, so that no template is learned from it.
    """

    wall: float = 0.0
    step: int = 0
    what: str = ""
    start: int = 0
    stop: int = 0
    values: list[Value] = field(default_factory=list)
    wall_at: int = -1
    step_at: int = -1
    step_size: int = 0
    simple: bool = True


def text(raw: bytes) -> str:
    """A string fit for PostgreSQL."""
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def tag_text(raw: bytes) -> str:
    """A tag, cut to TAG_BYTES with its digest behind where it is longer."""
    tag = text(raw)
    encoded = tag.encode()
    if len(encoded) <= TAG_BYTES:
        return tag
    kept = encoded[: TAG_BYTES - 65].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(raw).hexdigest()}"


def varint(data: Payload, at: int, end: int) -> tuple[int, int]:
    """(value modulo 2**64, position behind it)."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            break
    raise NotAnEvent("varint without an end")


def signed(value: int) -> int:
    """An int64 or int32 field: negative numbers take ten bytes."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: Payload, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, start, stop, value) of each field; value only of a varint."""
    depth = 0
    while at < end:
        key, at = varint(data, at, end)
        number, kind, start, value = key >> 3, key & 7, at, 0
        if not 0 < number < 1 << 29:
            raise NotAnEvent("field number out of range")
        if kind == VARINT:
            value, at = varint(data, at, end)
        elif kind == LENGTH:
            size, start = varint(data, at, end)
            at = start + size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        elif kind in (GROUP, GROUP_END):
            depth += 1 if kind == GROUP else -1
            if depth < 0:
                raise NotAnEvent("group without a start")
            continue
        else:
            raise NotAnEvent(f"wire type {kind}")
        if at > end:
            raise NotAnEvent("field behind the end")
        if not depth:
            yield number, kind, start, at, value
    if depth:
        raise NotAnEvent("group without an end")


def event(data: Payload) -> Event:
    """Parse a payload; NotAnEvent where it is none."""
    found = Event()
    for number, kind, start, stop, value in fields(data, 0, len(data)):
        if number == 1 and kind == FIXED64:
            found.simple &= found.wall_at < 0
            found.wall, found.wall_at = _DOUBLE.unpack(data[start:stop])[0], start
        elif number == 2 and kind == VARINT:
            found.simple &= found.step_at < 0
            found.step, found.step_at, found.step_size = signed(value), start, stop - start
        elif number in WHAT and kind == LENGTH:
            found.simple &= not found.what
            if WHAT[number] != "summary":
                found.values = []
            found.what, found.start, found.stop = WHAT[number], start, stop
            if found.what == "summary":
                found.values += summary(data, start, stop)
    return found


def summary(data: Payload, start: int, stop: int) -> list[Value]:
    found: list[Value] = []
    for number, kind, at, end, _ in fields(data, start, stop):
        if number == 1 and kind == LENGTH:
            if len(found) >= MOST_VALUES:
                raise NotAnEvent(f"more than {MOST_VALUES:,} values")
            found.append(summary_value(data, at, end))
    return found


def _tag(data: Payload, start: int, stop: int) -> str:
    if stop - start > MOST_TAG_BYTES:
        raise NotAnEvent(f"a tag of {stop - start:,} bytes")
    return tag_text(data[start:stop])


def summary_value(data: Payload, start: int, stop: int) -> Value:
    found = Value()
    for number, kind, at, end, _ in fields(data, start, stop):
        if number == 1 and kind == LENGTH:
            found.tag = _tag(data, at, end)
        elif number == 9 and kind == LENGTH:
            found.plugin, found.content = metadata(data, at, end)
        elif (number, kind) in FORMS:
            found.form, found.start, found.stop = FORMS[number, kind], at, end
    return found


def metadata(data: Payload, start: int, stop: int) -> tuple[str, bytes]:
    """(plugin name, plugin content) of a SummaryMetadata."""
    plugin, content = "", b""
    for number, kind, at, end, _ in fields(data, start, stop):
        if number == 1 and kind == LENGTH:
            for inner, wire, a, b, _ in fields(data, at, end):
                if inner == 1 and wire == LENGTH:
                    plugin = text(data[a : min(b, a + TAG_BYTES)])
                elif inner == 2 and wire == LENGTH:
                    content = data[a : min(b, a + CONTENT_BYTES)]
    return plugin, content


def session_status(data: Payload, start: int, stop: int) -> int:
    """SessionLog.status: 1 is START."""
    status = 0
    for number, kind, _, _, value in fields(data, start, stop):
        if number == 1 and kind == VARINT:
            status = value
    return status


def first_string(data: Payload, start: int, stop: int) -> str:
    """The string in field 1 (a TaggedRunMetadata's tag)."""
    for number, kind, at, end, _ in fields(data, start, stop):
        if number == 1 and kind == LENGTH:
            return _tag(data, at, end)
    return ""
