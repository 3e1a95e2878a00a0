"""Values as PostgreSQL takes them: no NUL, no lone surrogate, no NaN in JSON."""

from __future__ import annotations

import math
from typing import Any


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
