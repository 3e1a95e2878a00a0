"""Somebody's word that a run must stay: no cleanup takes it, and nothing purges it from the trash.

Pages, API and admin come through here.  Whoever calls has found the run by ``visible_to``; here it is asked
what this user may do.  PermissionDenied and ValidationError say why not; what changes nothing leaves no trace.
"""

from __future__ import annotations

import unicodedata
from datetime import date, datetime, time
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils.timezone import get_current_timezone, now

from retention.models import Hold
from runs import audit, redact, signals
from runs.models import Run
from runs.readers.plain import plain

if TYPE_CHECKING:
    from django.http import HttpRequest

#: Signs of a reason, at most.
REASON = 500


def hold(request: HttpRequest, run: Run, reason: str, until: datetime | None) -> Hold:
    """Hold a run, or give an older hold another reason or end."""
    require(request, "add_hold")
    user = request.user
    assert user.is_authenticated
    said = {"by_id": user.pk, "reason": redact.text(checked_reason(reason))[:REASON], "until": until}
    with transaction.atomic():
        # whoever is about to move it waits for this row, or has it already (work._held_and_moved)
        held = _locked(run)
        old = Hold.objects.filter(run=held).first()
        if old is not None and all(getattr(old, name) == value for name, value in said.items()):
            return old
        kept, _ = Hold.objects.update_or_create(run=held, defaults={**said, "created": now()})
        audit.record(request, "hold", held, why=kept.reason, until=until.isoformat() if until else None)
        _tell(held)
    return kept


def lift(request: HttpRequest, run: Run) -> None:
    """Let go of it; what is not held is left alone."""
    require(request, "delete_hold")
    with transaction.atomic():
        held = _locked(run)
        old = Hold.objects.filter(run=held).first()
        if old is None:
            return
        audit.record(request, "lift hold", held, why=old.reason)
        old.delete()
        _tell(held)


def require(request: HttpRequest, permission: str) -> None:
    """PermissionDenied where the user may not hold, or not let go."""
    if not request.user.has_perm(f"retention.{permission}"):
        raise PermissionDenied("Holding a run, and lifting a hold, needs the role operator.")


def checked_reason(said: str) -> str:
    """A reason: one line of text."""
    reason = plain(said).strip()
    if not reason or len(reason) > REASON:
        raise ValidationError(f"A reason has 1 to {REASON} characters.")
    if any(unicodedata.category(sign) in {"Cc", "Zl", "Zp"} for sign in reason):
        raise ValidationError("A reason is one line of text.")
    return reason


def end_of(day: date) -> datetime:
    """When a hold until a day ends."""
    return datetime.combine(day, time.max, get_current_timezone())


def checked_end(until: datetime) -> datetime:
    """An end that is to come."""
    if until <= now():
        raise ValidationError("That time is over: choose one to come, or none.")
    return until


def _locked(run: Run) -> Run:
    return Run.objects.select_for_update().only("name", "version").get(pk=run.pk)


def _tell(held: Run) -> None:
    held.version += 1
    held.save(update_fields=["version"])
    signals.tell(runs={held.pk: held.version})
