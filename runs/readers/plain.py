"""Plain values out of what strangers wrote: bounded, and as PostgreSQL and JSON take them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

#: Deeper levels of a tree, and values and characters beyond so many, are left out.
MAX_DEPTH = 20
MAX_VALUES = 2_000
MAX_CHARACTERS = 256 * 1024
MAX_TEXT = 64 * 1024

_INT64 = 2**63
#: Above this a number of seconds lies beyond the year 5138: it counts milliseconds.
_MILLISECONDS = 1e11
_YEAR_10000 = 253_402_300_800.0


def plain(text: str) -> str:
    r"""Text without NUL and lone surrogates: both become visible escapes (``\x00``, ``\ud800``)."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="backslashreplace").decode()
    return text


def plain_json(value: Any) -> Any:
    """A JSON value whose strings are plain and whose NaN and infinities are words."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {plain(str(key)): plain_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(one) for one in value]
    return value


def text(value: object, limit: int = MAX_TEXT) -> str:
    """``value`` where it is a string, else "": at most ``limit`` characters."""
    if not isinstance(value, str):
        return ""
    if len(value) > limit:
        value = value[:limit]
    if value.isascii() and "\0" not in value:
        return value
    return plain(value)[:limit]


def whole(value: object) -> int | None:
    """A step: an int64, or a float without fraction; a bool is none."""
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else None
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return None


def number(value: object) -> float | None:
    """A finite float."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        return float(value) if abs(value) < _INT64 else None
    return None


def real(value: int | float) -> float:
    """The float64 of a value that was written; beyond its range an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds(value: object) -> float | None:
    """Unix seconds of an ISO 8601 time (without a zone: UTC) or of epoch seconds or ms.

    None before 1970 and beyond the year 9999: a clock that was never set.
    """
    if type(value) is str:
        try:
            at = datetime.fromisoformat(value)
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            found: float | None = at.timestamp()
        except (ValueError, OverflowError):
            return None
    else:
        found = number(value)
        if found is not None and found >= _MILLISECONDS:
            found /= 1000
    return found if found is not None and 0 < found < _YEAR_10000 else None


def tree(value: object) -> Any:
    """A bounded copy that any JSON column takes.

    Floats that are not finite and ints beyond 64 bits become strings.
    """
    return _Copy().of(value, 0)


class _Copy:
    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.characters = MAX_CHARACTERS

    def of(self, value: object, depth: int) -> Any:
        self.values -= 1
        if isinstance(value, dict) and depth < MAX_DEPTH:
            return {
                self.text(key, 255): self.of(item, depth + 1)
                for key, item in value.items()
                if self.values > 0
            }
        if isinstance(value, list) and depth < MAX_DEPTH:
            return [self.of(item, depth + 1) for item in value if self.values > 0]
        if isinstance(value, (dict, list)):
            return "..."
        if isinstance(value, str):
            return self.text(value, MAX_TEXT)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, int) and not -_INT64 <= value < _INT64:
            return "int beyond 64 bits"
        return value

    def text(self, value: str, limit: int) -> str:
        copy = text(value, min(limit, self.characters))
        self.characters -= len(copy)
        return copy
