"""An entry of the audit trail for people."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from django import template
from django.urls import reverse

from runs.models import AuditEntry
from runs.units import size

register = template.Library()
#: Kinds that have a page by their id.
PAGES = {"run": "run", "job": "job", "source": "source"}
BYTES = {"bytes", "freed", "size"}
#: Details that need no more than this stand open.
SHORT = 160


class Facts(NamedTuple):
    """Names and values; ``long`` ones are folded."""

    pairs: list[tuple[str, str]]
    long: bool


@register.filter
def facts(details: Any) -> Facts:
    """What else was written down."""
    pairs = [(str(name).replace("_", " "), worded(name, value)) for name, value in details.items()] if details else []
    return Facts(pairs, sum(len(name) + len(value) for name, value in pairs) > SHORT)


def worded(name: str, value: Any) -> str:
    """A value in words: bytes as a size, and exact."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in BYTES and isinstance(value, int):
        return f"{size(value)} ({value:,} B)" if value >= 1024 else f"{value:,} B"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@register.filter
def page_of(entry: AuditEntry) -> str:
    """The page of the thing, where its kind has one."""
    name = PAGES.get(entry.kind)
    return reverse(name, args=[entry.object_id]) if name and entry.object_id is not None and entry.object_id >= 0 else ""
