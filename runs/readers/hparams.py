"""The hparams plugin's data, which sit in a summary's metadata.

Messages: tensorboard/plugins/hparams/plugin_data.proto and google/protobuf/struct.proto.
"""

from __future__ import annotations

import struct
from typing import Any

from runs.readers import wire
from runs.readers.records import HParams

STATUSES = {1: "success", 2: "failure", 3: "running"}
#: A list in a list in ... : what lies deeper is dropped.
DEEPEST = 8
_DOUBLE = struct.Struct("<d")


def parse(content: bytes) -> list[HParams]:
    """What an HParamsPluginData says: at most one of its three kinds, in practice."""
    found = []
    for number, kind, at, end, _ in wire.fields(content, 0, len(content)):
        if kind == wire.LENGTH and number == 2:
            found.append(HParams("experiment", _double(content, at, end, 3)))
        elif kind == wire.LENGTH and number == 3:
            found.append(_session_start(content, at, end))
        elif kind == wire.LENGTH and number == 4:
            found.append(_session_end(content, at, end))
    return found


def _double(data: bytes, start: int, stop: int, wanted: int) -> float:
    for number, kind, at, _, _ in wire.fields(data, start, stop):
        if number == wanted and kind == wire.FIXED64:
            return float(_DOUBLE.unpack_from(data, at)[0])
    return 0.0


def _session_start(data: bytes, start: int, stop: int) -> HParams:
    values: dict[str, Any] = {}
    group = ""
    for number, kind, at, end, _ in wire.fields(data, start, stop):
        if number == 1 and kind == wire.LENGTH:
            key, value = _entry(data, at, end, 0)
            values[key] = value
        elif number == 4 and kind == wire.LENGTH:
            group = wire.text(data[at:end])
    return HParams("session start", _double(data, start, stop, 5), values, group=group)


def _session_end(data: bytes, start: int, stop: int) -> HParams:
    status = 0
    for number, kind, _, _, value in wire.fields(data, start, stop):
        if number == 1 and kind == wire.VARINT:
            status = value
    wall = _double(data, start, stop, 2)
    return HParams("session end", wall, status=STATUSES.get(status, "unknown"))


def _entry(data: bytes, start: int, stop: int, depth: int) -> tuple[str, Any]:
    """A map's entry: (key, value)."""
    key, value = "", None
    for number, kind, at, end, _ in wire.fields(data, start, stop):
        if number == 1 and kind == wire.LENGTH:
            key = wire.text(data[at:end])
        elif number == 2 and kind == wire.LENGTH:
            value = _value(data, at, end, depth)
    return key, value


def _value(data: bytes, start: int, stop: int, depth: int) -> Any:
    """A google.protobuf.Value as Python: None, float, str, bool, dict or list."""
    found: Any = None
    for number, kind, at, end, value in wire.fields(data, start, stop):
        if number == 2 and kind == wire.FIXED64:
            found = _DOUBLE.unpack_from(data, at)[0]
        elif number == 3 and kind == wire.LENGTH:
            found = wire.text(data[at:end])
        elif number == 4 and kind == wire.VARINT:
            found = bool(value)
        elif number in (5, 6) and kind == wire.LENGTH and depth < DEEPEST:
            inner = [
                (at_, end_)
                for n, k, at_, end_, _ in wire.fields(data, at, end)
                if n == 1 and k == wire.LENGTH
            ]
            if number == 5:
                found = dict(_entry(data, a, b, depth + 1) for a, b in inner)
            else:
                found = [_value(data, a, b, depth + 1) for a, b in inner]
    return found
