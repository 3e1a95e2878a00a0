"""What jobs left behind, by the names that it has in addresses: ``7-step_00100.png``, or plainly ``step_00100.png``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import Http404

from runs.models import Checkpoint, Sample

if TYPE_CHECKING:
    from django.db.models import QuerySet

T = TypeVar("T", Sample, Checkpoint)
NUMBERED = re.compile(r"(\d{1,18})(?:-.*)?", re.DOTALL)


def base(said: str) -> str:
    """The last part of a path as a log has it, of Windows too."""
    return re.split(r"[/\\]", said)[-1]


def file_name(said: str) -> str:
    """A name without what an address, a header or a shell could stumble over."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", said)[:150]


def name_of(row: Sample | Checkpoint) -> str:
    """What it is called in addresses: its number keeps apart those of one name."""
    name = file_name(base(row.said))
    return f"{row.pk}-{name}" if name else str(row.pk)


def named(rows: QuerySet[T], name: str) -> T:
    """The row of this name, of several the newest; Http404, or BadRequest for what is no name but a path."""
    if not name or name in (".", "..") or re.search(r"[/\\\0]", name) or not _is_text(name):
        raise BadRequest("A file is named as the list of artifacts has it: without /, .. or control characters.")
    if found := rows.filter(Q(said=name) | Q(said__endswith=f"/{name}")).order_by("-pk").first():
        return found
    number = NUMBERED.fullmatch(name)
    if number and (found := rows.filter(pk=int(number[1])).first()) and name in (name_of(found), number[1]):
        return found
    raise Http404("The job has no such file.")


def _is_text(name: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" or ord(sign) < 32 for sign in name)
