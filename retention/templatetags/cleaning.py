"""Cleanup on the registry's pages, which know nothing of it."""

from __future__ import annotations

from django import template
from django.utils.timezone import now

from retention.candidates import Candidate
from retention.models import Hold
from retention.telling import shown_path
from runs.models import Run

register = template.Library()

STEPS = {"planned": "queued", "buried": "finished", "purged": "finished", "restored": "finished", "lost": "lost",
         "skipped": "stalled", "failed": "failed"}
PLANS = {"confirmed": "queued", "working": "running", "done": "finished", "cancelled": "killed"}


@register.simple_tag
def hold_of(run: Run) -> Hold | None:
    """What holds a run now, if anything does."""
    hold = Hold.objects.filter(run=run).select_related("by").first()
    return hold if hold is not None and hold.holds(now()) else None


@register.filter
def step_mark(step: str) -> str:
    """The sign of a step: colours and shapes are those of statuses."""
    return STEPS.get(step, "running")


@register.filter
def plan_mark(state: str) -> str:
    """The sign of a cleanup's state."""
    return PLANS.get(state, "unknown")


@register.filter
def folder(run: Candidate) -> str:
    """Where it lies, without secrets."""
    return shown_path(run)
