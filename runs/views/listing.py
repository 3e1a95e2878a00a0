"""The run list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import render

from runs.figures import dress_rows
from runs.models import Dataset, Trainer
from runs.models.run import Status
from runs.query import RunQuery
from runs.query.rows import OF_SOURCE, UNSHOWN

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

__all__ = ["OF_SOURCE", "UNSHOWN", "run_list"]


def run_list(request: HttpRequest) -> HttpResponse:
    """Runs that the user may see, filtered and sorted by the query string."""
    query = RunQuery(request.GET, request.user)
    page = query.page()
    context = {
        "form": query,
        "page": page,
        "runs": dress_rows(page.rows),
        "totals": query.totals(),
        "sorted_by": query.sorted_by,
        "filtered": bool(query.chips),
        "trainers": Trainer.objects.visible_to(request.user),
        "datasets": Dataset.objects.filter(trainer__in=Trainer.objects.visible_to(request.user)).select_related("trainer"),
        "statuses": [*Status.values, "stalled"],
    }
    return render(request, "runs.html", context, status=200 if query.is_valid() else 400)
