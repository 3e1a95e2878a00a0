"""A small document beside a run's logs, read whole: bytes in, a value or a reason out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, Any]).decode
#: A document with more commas than this is millions of objects.
_MAX_COMMAS = 2_000_000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a document says nothing to us."""

    reason: str


def json_object(data: bytes, limit: int) -> dict[str, Any] | Unreadable:
    """The JSON object that ``data`` holds.  Python's NaN and Infinity are read, too."""
    if len(data) > limit:
        return Unreadable(f"larger than {limit} bytes")
    if data.count(b",") > _MAX_COMMAS:
        return Unreadable("too many values")
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    try:
        found = json.loads(data.decode("utf-8-sig", "replace"), strict=False)
    except RecursionError:
        return Unreadable("nested too deeply")
    except ValueError:
        return Unreadable("not JSON")
    return found if isinstance(found, dict) else Unreadable("not a JSON object")
