"""Asking a job to stop: a request that its trainer takes up, never force (docs/decisions.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from runs import audit, signals
from runs.models import Job
from runs.models.job import ENDED

if TYPE_CHECKING:
    from django.http import HttpRequest


def why_not(job: Job) -> tuple[str, str] | None:
    """A word and a sentence for why nobody can ask this job to stop; None where one can."""
    if job.status in ENDED:
        return "ended", f"It has ended already: {job.said}."
    if job.asked is None:
        return "unsupported", "Its trainer never asks whether it shall stop: cancelling works for trainers that push events."
    return None


def ask(request: HttpRequest, job: Job) -> bool:
    """Note the request; whether it is a new one.  ValidationError where it can have no effect."""
    with transaction.atomic():
        held = Job.objects.select_for_update().get(pk=job.pk)
        if refusal := why_not(held):
            raise ValidationError(refusal[1], code=refusal[0])
        if held.cancel_requested is not None:
            job.cancel_requested = held.cancel_requested
            return False
        held.cancel_requested, held.version = now(), held.version + 1
        held.cancel_requested_by_id = request.user.pk
        held.save(update_fields=["cancel_requested", "cancel_requested_by", "version"])
        audit.record(request, "cancel job", held)
        signals.tell(jobs={held.pk: held.version})
    job.cancel_requested, job.version = held.cancel_requested, held.version
    return True
