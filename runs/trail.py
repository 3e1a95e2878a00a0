"""The audit trail as it is asked for: one question behind the page, the CSV file and the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from runs.exports import line
from runs.models import AuditEntry
from runs.query.fields import Asked, whole
from runs.query.grammar import Unclear, shown, span

PAGE = 100
#: Entries that are read together for a file, and the newest ones, whose words a form offers.
BATCH, LOOKED_AT = 2_000, 2_000
#: Beyond it nobody counts.
COUNTED = 10_000
COLUMNS = ("id", "at", "who", "user_id", "action", "kind", "object_id", "subject", "why", "address", "details")
ID = whole(0, 2**62)


def moment(text: str, *, ends: bool = False) -> datetime:
    """``2026-11-26``, ``2026-11-26T08:00`` (UTC unless it says otherwise), or a span back from now: ``7d``.

    A day as an end is its last moment.
    """
    try:
        return now() - span(text)
    except Unclear:
        pass
    try:
        if len(text) == len("2026-11-26"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=ends), time(), UTC)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unclear(f"{shown(text)} is no time. Write 2026-11-26, 2026-11-26T08:00 or, back from now, 12h or 7d.") from None


class Trail(forms.Form):
    """Who did what on what, when."""

    who = Asked(str, longest=150)
    action = Asked(str, most=20, longest=60)
    kind = Asked(str, longest=60)
    object = Asked(ID)
    q = Asked(str, longest=200)
    since = Asked(moment, longest=60)
    until = Asked(lambda text: moment(text, ends=True), longest=60)

    def clean(self) -> dict[str, Any]:
        """A time that ends before it begins is a mistake."""
        asked = self.cleaned_data
        if asked.get("since") and asked.get("until") and asked["since"] >= asked["until"]:
            raise ValidationError("The time ends before it begins. Change since or until.")
        return asked

    def entries(self) -> QuerySet[AuditEntry]:
        """What was asked for, newest first."""
        asked, found = self.cleaned_data, AuditEntry.objects.order_by("-pk")
        for name, lookup in (("who", "who"), ("action", "action__in"), ("kind", "kind"), ("object", "object_id"),
                             ("since", "at__gte"), ("until", "at__lt")):
            if asked[name] not in (None, []):
                found = found.filter(**{lookup: asked[name]})
        if asked["q"]:
            found = found.filter(Q(subject__icontains=asked["q"]) | Q(why__icontains=asked["q"]))
        return found

    @property
    def narrowed(self) -> bool:
        """Whether anything was asked for."""
        return any(self.cleaned_data[name] not in (None, []) for name in Trail.base_fields)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Entries of a page, newest first, and the ids that the pages beside it begin at."""

    rows: list[AuditEntry]
    older: int | None
    newer: int | None


class TrailPage(Trail):
    """A page of it: what is older than an entry, or newer."""

    older = Asked(ID)
    newer = Asked(ID)

    def clean(self) -> dict[str, Any]:
        """One direction at a time."""
        asked = super().clean()
        if asked.get("older") is not None and asked.get("newer") is not None:
            raise ValidationError("A page is older than an entry or newer. Leave out older or newer.")
        return asked

    def sheet(self) -> Sheet:
        """The page that was asked for."""
        older, newer = self.cleaned_data["older"], self.cleaned_data["newer"]
        found = self.entries()
        if newer is not None:
            rows = list(found.filter(pk__gt=newer).order_by("pk")[: PAGE + 1])
            more, rows = len(rows) > PAGE, rows[:PAGE][::-1]
            return Sheet(rows, rows[-1].pk if rows else None, rows[0].pk if more else None)
        rows = list((found if older is None else found.filter(pk__lt=older))[: PAGE + 1])
        more, rows = len(rows) > PAGE, rows[:PAGE]
        return Sheet(rows, rows[-1].pk if more else None, rows[0].pk if rows and older is not None else None)

    def count(self) -> int:
        """How many there are, as far as anybody counts."""
        return self.entries()[: COUNTED + 1].count()


def offered() -> dict[str, list[str]]:
    """What the newest entries name, for a form."""
    names = ("who", "action", "kind")
    newest = list(AuditEntry.objects.order_by("-pk").values_list(*names)[:LOOKED_AT])
    return {name: sorted({row[at] for row in newest} - {""}) for at, name in enumerate(names)}


def as_csv(entries: QuerySet[AuditEntry]) -> Iterator[bytes]:
    """A line an entry, newest first; no cursor of the database is held while somebody reads slowly."""
    yield line(COLUMNS)
    last: int | None = None
    while rows := list((entries if last is None else entries.filter(pk__lt=last)).values_list(*COLUMNS)[:BATCH]):
        for row in rows:
            yield line(row)
        last = rows[-1][0]
