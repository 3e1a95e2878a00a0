"""The History tab: how the run went, attempt by attempt, and what its status rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from runs.models import Event
from runs.readers.joblog import ERRORS
from runs.views.page import find, section, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def run_history(request: HttpRequest, pk: int) -> HttpResponse:
    """Errors, attempts, jobs and changes of status, newest first."""
    run = find(request, pk)
    current = {"generation": F("log_file__generation")}
    context = {
        "errors": section(Event.objects.filter(run=run, level__in=ERRORS, **current).order_by("-id")),
        "segments": section(run.segments.filter(**current).select_related("log_file").order_by("first_wall", "id")),
        "jobs": section(run.jobs.order_by("-last_event", "-id")),
        "transitions": section(run.transitions.select_related("job").order_by("-id")),
    }
    return show(request, run, "history", context)
