"""What a TensorProto holds: one number, or strings.

A number may stand in ``tensor_content`` (raw little-endian bytes) or in the list of its
type, packed or not.  It leaves here as raw bytes, since a Python float would lose the
payload of a NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runs.readers import wire

#: DataType -> numpy dtype; what is missing here (complex, quantized, float8) is no scalar.
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|u1",
          14: "<f4", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8"}
STRING, BFLOAT16 = 7, 14
#: Fields of a tensor that are looked at; more than one number is no scalar anyway.
MOST_ELEMENTS = 65536
#: Bytes an element takes in tensor_content.
WIDTHS = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 9: 8, 10: 1, 14: 2, 17: 2, 19: 2, 22: 4, 23: 8}
#: Which list holds a DataType's values: (field number, wire type of one element).
LISTS = {1: (5, wire.FIXED32), 2: (6, wire.FIXED64), 3: (7, 0), 4: (7, 0), 5: (7, 0),
         6: (7, 0), 9: (10, 0), 10: (11, 0), 14: (13, 0), 17: (7, 0), 19: (13, 0),
         22: (16, 0), 23: (17, 0)}


@dataclass(slots=True)
class Tensor:
    """A TensorProto's outline: spans into the payload, nothing copied."""

    dtype: int = 0
    shape: list[int] | None = field(default_factory=list)
    content: tuple[int, int] | None = None
    lists: list[tuple[int, int, int, int, int]] = field(default_factory=list)


def outline(data: wire.Payload, start: int, stop: int) -> Tensor:
    found = Tensor()
    for number, kind, at, end, value in wire.fields(data, start, stop):
        if number == 1 and kind == wire.VARINT:
            found.dtype = value
        elif number == 2 and kind == wire.LENGTH:
            found.shape = _shape(data, at, end)
        elif number == 4 and kind == wire.LENGTH:
            found.content = (at, end) if end > at else None
        elif number >= 5 and len(found.lists) < MOST_ELEMENTS:
            found.lists.append((number, kind, at, end, value))
    return found


def _shape(data: wire.Payload, start: int, stop: int) -> list[int] | None:
    """Sizes of the dimensions; None where the rank is unknown."""
    sizes, unknown = [], False
    for number, kind, at, end, value in wire.fields(data, start, stop):
        if number == 2 and kind == wire.LENGTH:
            size = 0
            for inner, wired, _, _, number_of in wire.fields(data, at, end):
                if inner == 1 and wired == wire.VARINT:
                    size = wire.signed(number_of)
            sizes.append(size)
        elif number == 3 and kind == wire.VARINT:
            unknown = bool(value)
    return None if unknown else sizes


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar's bits.  ``at`` is where they stand as they are in the payload, else -1."""

    dtype: str
    raw: bytes
    at: int = -1


def number(data: wire.Payload, start: int, stop: int, *, one_element: bool) -> Number | None:
    """The number in a rank-0 tensor; None where it holds something else.

    ``one_element`` also accepts [1] and the like, as TensorBoard does for the scalars
    plugin.  A tensor without any value is zero, as in TensorFlow.
    """
    found = outline(data, start, stop)
    if found.dtype not in DTYPES or found.shape is None:
        return None
    if found.shape and not (one_element and all(size == 1 for size in found.shape)):
        return None
    width = WIDTHS[found.dtype]
    if found.content:
        at, end = found.content
        return _number(found.dtype, data[at:end], at) if end - at == width else None
    elements = _elements(data, found)
    if len(elements) > 1:
        return None
    raw, at = elements[0] if elements else (bytes(width), -1)
    return _number(found.dtype, raw, at)


def _number(dtype: int, raw: bytes, at: int) -> Number:
    if dtype == BFLOAT16:
        return Number(DTYPES[dtype], b"\0\0" + raw)
    return Number(DTYPES[dtype], raw, at)


def _elements(data: wire.Payload, found: Tensor) -> list[tuple[bytes, int]]:
    """At most two elements of the list of the tensor's type: (raw bytes, where or -1)."""
    number_of, wired = LISTS[found.dtype]
    width = 8 if wired == wire.FIXED64 else 4
    elements: list[tuple[bytes, int]] = []
    for number, kind, at, end, value in found.lists:
        if number != number_of or len(elements) > 1:
            continue
        if wired == wire.VARINT:
            if kind == wire.VARINT:
                elements.append((_truncate(value, found.dtype), -1))
            elif kind == wire.LENGTH:
                while at < end and len(elements) < 2:
                    value, at = wire.varint(data, at, end)
                    elements.append((_truncate(value, found.dtype), -1))
        elif kind == wired:
            elements.append((data[at:end], at))
        elif kind == wire.LENGTH:
            if (end - at) % width:
                raise wire.NotAnEvent("packed list of odd length")
            elements += [(data[a : a + width], a) for a in range(at, min(end, at + 16), width)]
    return elements


def _truncate(value: int, dtype: int) -> bytes:
    if dtype == 10:
        return b"\1" if value else b"\0"
    width = WIDTHS[dtype]
    return (value & (1 << 8 * width) - 1).to_bytes(width, "little")


def strings(data: wire.Payload, start: int, stop: int, most: int) -> tuple[str, bool] | None:
    """(text, whether it was cut to ``most`` bytes); None where it holds no strings.

    The strings of a vector are paragraphs; a table's rows are lines of "a | b".
    """
    found = outline(data, start, stop)
    if found.dtype != STRING or found.shape is None:
        return None
    spans = [(at, end) for number, kind, at, end, _ in found.lists if (number, kind) == (8, 2)]
    columns = found.shape[1] if len(found.shape) == 2 else 0
    pieces: list[bytes] = []
    size = 0
    for place, (at, end) in enumerate(spans):
        if size > most:
            break
        if place:
            pieces.append(b"\n\n" if not columns else b" | " if place % columns else b"\n")
        pieces.append(data[at : min(end, at + most + 1)])
        size += len(pieces[-1]) + (len(pieces[-2]) if place else 0)
    raw = b"".join(pieces)
    if len(raw) <= most:
        return wire.text(raw), len(found.lists) >= MOST_ELEMENTS
    for _ in range(3):  # never within a character
        most -= raw[most] & 0xC0 == 0x80
    return wire.text(raw[:most]), True
