"""JSON as the API speaks it: exact, UTF-8, and never broken by what a run measured.

NaN and the infinities, for which JSON has no number, are the strings "NaN", "Infinity" and
"-Infinity".  Times are ISO 8601 in UTC with a Z.  Bytes (paths) are text with escapes and without secrets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from runs import masks


def encode(data: Any) -> bytes:
    """The JSON text of ``data``; a lone surrogate becomes its escape."""
    try:
        text = _dump(data)
    except ValueError:  # not finite somewhere: rare, so only then is the whole walked
        text = _dump(spelled(data))
    return text.encode(errors="backslashreplace")


def _dump(data: Any) -> str:
    return json.dumps(data, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | memoryview):
        return masks.shown(value)
    return str(value)


def spelled(value: Any) -> Any:
    """A copy whose floats that JSON has no number for are words."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else _INFINITE[value > 0]
    if isinstance(value, Mapping):
        return {key: spelled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(inner) for inner in value]
    return value


_INFINITE = {True: "Infinity", False: "-Infinity"}


class ExactJSON(BaseRenderer):
    """Writes answers."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """The answer's bytes; none where there is nothing to say."""
        return b"" if data is None else encode(data)


class StrictJSON(BaseParser):
    """Reads bodies: JSON alone, bounded in size and depth, without NaN."""

    media_type = "application/json"
    takes_nan = False

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        """What the body says."""
        from runs.api.problems import TooLarge

        limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge
        try:
            return json.loads(body.decode(), parse_constant=None if self.takes_nan else _refuse)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None


class JSONWithNaN(StrictJSON):
    """Reads what trainers measured: NaN, Infinity and -Infinity are numbers, as Python's json writes them."""

    takes_nan = True


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")
