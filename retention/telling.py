"""A plan in values and words: what console, pages and API tell of a run and of what would become of it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from retention import place
from retention.candidates import Candidate
from retention.plan import Draft
from runs import masks
from runs.status import duration

GB, CENT = Decimal(10**9), Decimal("0.01")


def shown_path(row: Candidate) -> str:
    """Where it lies, for people: without secrets."""
    return masks.path(row.root) + "/" + masks.shown(row.folder)


def price(count: int) -> str:
    """What so many bytes cost a month; a little is not nothing."""
    dear = settings.TRAINMON_STORAGE_PRICE * count / GB
    return "under $0.01" if 0 < dear < CENT else f"${dear:,.2f}"


def dollars(count: int) -> str:
    """The same, as a sentence says it."""
    return f"{price(count)} a month"


def reason_of_age(row: Candidate, at: datetime) -> str:
    """Why a run counts as old; empty where its age is not known."""
    age = row.age(at)
    return f"old: nothing came for {duration(age.total_seconds())}" if age is not None else ""


def as_json(row: Candidate, at: datetime) -> dict[str, Any]:
    """A run of the list."""
    age = row.age(at)
    return {
        "id": row.id, "trainer": row.trainer, "dataset": row.dataset, "name": row.name, "path": shown_path(row),
        "size": row.size, "event_files": row.event_files, "points": row.points,
        "modified": row.modified.isoformat() if row.modified else None,
        "age_seconds": age.total_seconds() if age is not None else None, "status": row.status,
    }


def outline(draft: Draft, at: datetime) -> dict[str, Any]:
    """The plan: what goes, what stays, and the token of exactly this list."""
    return {
        "token": draft.token,
        "going": [as_json(one.candidate, at) | {"reason": one.reason, "files": one.seen.files, "bytes": one.seen.size,
                                                "frees": one.seen.frees} for one in draft.going],
        "staying": [as_json(one.candidate, at) | {"reason": one.refusal} for one in draft.staying],
        "total": {"runs": len(draft.going), **{name: draft.total(name) for name in ("files", "size", "frees")}},
        "archive": draft.options.archive, "archive_trouble": place.trouble_of(draft),
        "grace_seconds": draft.options.grace.total_seconds(),
        "saved_a_month": dollars(draft.total("frees")),
    }
