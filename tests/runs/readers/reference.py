"""The reader once more, slow and apart: TensorBoard's protobuf, a loop, plain lists.

It reads a whole file at once and shares nothing with runs.readers but the Damage and Part
values that it returns.  Numbers come from the protobuf messages.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from runs.readers.records import Damage, Part
from tests.runs.readers.event_bytes import Found, head, masked

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}


def _header(data: bytes, at: int) -> int | None:
    """The payload's length where a valid header starts."""
    (length,) = struct.unpack_from("<Q", data, at)
    return length if data[at : at + 12] == head(length) else None


def _torn(data: bytes, end: int) -> bool:
    return not any(data[end - 1 :])


def _payload_good(data: bytes, at: int, length: int) -> bool:
    payload = data[at + 12 : at + 12 + length]
    return data[at + 12 + length : at + 16 + length] == masked(payload)


def _search(data: bytes, at: int) -> tuple[int, bool]:
    """(where the next record begins, or the wait; whether one was found)."""
    while at + 12 <= len(data) and any(data[at:]):
        length = _header(data, at)
        if length is not None and length < 2**31:
            if at + 16 + length > len(data):
                return at, False
            if _payload_good(data, at, length):
                return at, True
            if _torn(data, at + 16 + length):
                return at, False
        at += 1
    return at, False


def _frames(data: bytes, damages: list[Damage]) -> tuple[list[tuple[int, bytes]], int]:
    """([(offset, payload)], where the reader waits)."""
    good, at = [], 0
    while at + 12 <= len(data):
        length = _header(data, at)
        if length is None or length >= 2**31:
            if length is None and _torn(data, at + 12):
                break
            start, (at, found) = at, _search(data, at + 1)
            if not found:
                break
            kind = "length crc" if length is None else "too large"
            damages.append(Damage(start, at - start, kind))
            continue
        end = at + 16 + length
        if end > len(data):
            break
        if _payload_good(data, at, length):
            good.append((at, data[at + 12 : end - 4]))
        elif _torn(data, end):
            break
        else:
            damages.append(Damage(at, end - at, "payload crc"))
        at = end
    return good, at


def _points(event: event_pb2.Event, plugins: dict[str, str]) -> list[tuple[str, str, bytes]]:
    """(tag, dtype, bits) of the scalars of an event."""
    found = []
    for value in event.summary.value:
        plugin = value.metadata.plugin_data.plugin_name
        if plugin:
            plugins.setdefault(value.tag, plugin)
        if value.WhichOneof("value") == "simple_value":
            raw = value.SerializeToString()
            at = raw.index(b"\x15", 2 + len(value.tag.encode()))
            found.append((value.tag, "<f4", raw[at + 1 : at + 5]))
        elif value.WhichOneof("value") == "tensor" and plugins.get(value.tag, "") in (
                "", "scalars") and not value.tensor.tensor_shape.dim:
            dtype = DTYPES[value.tensor.dtype]
            found.append((value.tag, dtype, _bits(value.tensor, dtype)))
    return found


def _bits(tensor: Any, dtype: str) -> bytes:
    if tensor.tensor_content:
        return bytes(tensor.tensor_content)
    if dtype == "<f2":
        return np.array(list(tensor.half_val), "<u2").tobytes()
    lists = {"<f4": tensor.float_val, "<f8": tensor.double_val, "<i4": tensor.int_val,
             "<i8": tensor.int64_val}
    return np.array(list(lists[dtype]), dtype).tobytes()


class _Parts:
    """Cuts a file at sessions and where a step falls below its tag's last 64."""

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.windows: dict[str, list[int]] = {}
        self.said = False

    def session(self, offset: int) -> None:
        if self.said and len(self.found) < 1000:
            self._begin(Part(len(self.found), "session", offset))

    def _begin(self, part: Part) -> None:
        self.found.append(part)
        self.windows, self.said = {}, False

    def record(self, offset: int, step: int, tags: list[str], order: dict[str, int]) -> int:
        """The part a record is in."""
        if not self.found:
            self.found.append(Part(0, "start", offset))
        for tag in sorted(tags, key=order.__getitem__):
            window = self.windows.get(tag, [])
            if window and step < min(window) and len(self.found) < 1000:
                self._begin(Part(len(self.found), "steps went back", offset, tag, step,
                                 min(window)))
                break
        for tag in tags:
            self.windows[tag] = [*self.windows.get(tag, []), step][-64:]
        self.said |= bool(tags)
        return len(self.found) - 1


def reference(data: bytes) -> Found:
    """Points, parts, damages, records and offset as ``whole`` gives them."""
    damages: list[Damage] = []
    parts, plugins, points, order = _Parts(), {}, {}, {}
    frames, at = _frames(data, damages)
    records = 0
    for offset, payload in frames:
        try:
            event = event_pb2.Event.FromString(payload)
        except DecodeError:
            damages.append(Damage(offset, len(payload) + 16, "not a record"))
            continue
        records += 1
        found = _points(event, plugins)
        for tag, _, _ in found:
            order.setdefault(tag, len(order))
        part = parts.record(offset, event.step, [tag for tag, _, _ in found], order)
        if event.session_log.status == event.session_log.START:
            parts.session(offset)
        wall = struct.pack("<d", event.wall_time)
        for tag, dtype, bits in found:
            points.setdefault((tag, part), []).append((event.step, wall, bits, dtype))
    damages.sort(key=lambda damage: damage.offset)
    return {"points": points, "parts": parts.found, "damages": damages, "records": records,
            "offset": at}
