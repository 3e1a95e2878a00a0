"""The log of a job: the newest lines, or those that fit; a script makes a window of it that reaches all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.views.decorators.http import require_safe

from runs import loglines
from runs.forms import LogQuestion
from runs.views import jobs, page

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models import Job

#: Lines of a page without scripts, and before they arrive.
LINES = 300
#: What stands above the line that an address leads to.
ABOVE = 20
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: Jobs of a run whose logs can be chosen.
CHOSEN = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """Lines of a page: ``first`` is the place of the first among those that fit."""

    entries: list[dict[str, Any]]
    first: int
    total: int
    complete: bool

    @property
    def older(self) -> int | None:
        """Where the page before it begins."""
        return max(0, self.first - LINES) if self.first else None

    @property
    def newer(self) -> int | None:
        """Where the page behind it begins."""
        after = self.first + len(self.entries)
        return after if after < self.total else None


@require_safe
def job_log(request: HttpRequest, pk: int) -> HttpResponse:
    """Lines of a job's log."""
    job = jobs.find(request, pk)
    context, status = logged(request, job)
    return jobs.show(request, job, "logs", context, status=status)


@require_safe
def run_log(request: HttpRequest, pk: int) -> HttpResponse:
    """The log of a run's job, of several the one that is chosen, else the newest."""
    run = page.find(request, pk)
    known = list(run.jobs.order_by("-last_event", "-id").defer("config", "error_stack")[:CHOSEN])
    chosen = request.GET.get("job", "")
    job = next((one for one in known if str(one.pk) == chosen), known[0] if known else None)
    if job is None:
        return page.show(request, run, "logs", {"job": None})
    context, status = logged(request, job)
    return page.show(request, run, "logs", {"job": job, "jobs": known, **context}, status=status)


def logged(request: HttpRequest, job: Job) -> tuple[dict[str, Any], int]:
    """What the viewer shows, and the status of the answer."""
    form = LogQuestion(request.GET)
    streams = loglines.streams(job)
    valid = form.is_valid()
    stream = form.cleaned_data.get("stream")
    if stream is not None and stream not in {one.id for one in streams}:
        form.add_error("stream", "The log has no such file.")
        valid = False
    asked = form.cleaned_data if valid else {}
    context = {
        "form": form, "asked": {name: value for name, value in asked.items() if value not in (None, "")},
        "streams": streams, "shown": _shown(job, asked), "levels": LEVELS,
        "lines": sum(one.lines for one in streams if stream in (None, one.id)), "many": len(streams) > 1,
    }
    return context, 200 if valid else 400


def _shown(job: Job, asked: dict[str, Any]) -> Shown:
    """The lines from a place on, or around a line, or the last ones."""
    filters: dict[str, Any] = {name: asked.get(name) or "" for name in ("level", "event", "search")}
    filters["stream"] = asked.get("stream")
    line, offset = asked.get("line"), asked.get("offset")
    if line is not None and not any(filters[name] for name in ("level", "event", "search")):
        offset = max(0, line - 1 - ABOVE)
    if offset is None:
        found = loglines.view(job, **filters, limit=LINES, tail=True)
        return Shown(found.entries, max(0, found.total - len(found.entries)), found.total, found.complete)
    found = loglines.view(job, **filters, offset=offset, limit=LINES)
    return Shown(found.entries, min(offset, found.total), found.total, found.complete)
