"""Somebody's word that a run must stay: no cleanup takes it, and nothing purges it from the trash."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction

from retention.models import Hold
from runs import audit, redact, signals
from runs.models import Run

if TYPE_CHECKING:
    from django.http import HttpRequest


def hold(request: HttpRequest, run: Run, reason: str, until: datetime | None) -> None:
    """Hold a run, or give an older hold another reason or end."""
    reason, user = redact.text(reason)[:500], request.user
    assert user.is_authenticated
    with transaction.atomic():
        # whoever is about to move it waits for this row, or has it already (work._held_and_moved)
        held = _locked(run)
        Hold.objects.update_or_create(run=held, defaults={"by": user, "reason": reason, "until": until})
        audit.record(request, "hold", held, why=reason, until=until.isoformat() if until else None)
        _tell(held)


def lift(request: HttpRequest, run: Run) -> None:
    """Let go of it; what is not held is left alone."""
    with transaction.atomic():
        held = _locked(run)
        old = Hold.objects.filter(run=held).first()
        if old is None:
            return
        audit.record(request, "lift hold", held, why=old.reason)
        old.delete()
        _tell(held)


def _locked(run: Run) -> Run:
    return Run.objects.select_for_update().only("name", "version").get(pk=run.pk)


def _tell(held: Run) -> None:
    held.version += 1
    held.save(update_fields=["version"])
    signals.tell(runs={held.pk: held.version})
