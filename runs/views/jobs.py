"""The pages of jobs: the list in all states, and a job's overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import F, Q
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from runs import cancelling, jobcards
from runs.models import Job, Sample
from runs.models.run import Status
from runs.query import TooLarge
from runs.query.jobs import JobQuery

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

#: (name, label, route) of each tab; the template of a tab is job_<name>.html.
TABS = [
    ("overview", "Overview", "job"),
    ("logs", "Logs", "job-logs"),
    ("samples", "Samples", "job-samples"),
    ("checkpoints", "Checkpoints", "job-checkpoints"),
]
#: The order in which the list offers statuses.
STATUSES = (Status.RUNNING, Status.QUEUED, Status.FINISHED, Status.FAILED, Status.KILLED, Status.LOST, Status.UNKNOWN)


@require_safe
def job_list(request: HttpRequest) -> HttpResponse:
    """Jobs that the user may see, in every state."""
    query = JobQuery(request.GET, request.user)
    valid = query.is_valid()
    context: dict[str, Any] = {
        "query": query,
        "here": reverse("jobs"),
        "asked": dict(request.GET.lists()),
        "trainers": query.trainers,
        "sources_seen": query.sources.values(),
    }
    if not valid:
        return render(request, "jobs.html", context, status=400)
    try:
        page, counts = query.page(), query.counts()
        context |= {"page": page, "jobs": page.rows, "all": counts["all"], "error_types": query.error_types(),
                    "statuses": [(word.value, counts.get(word, 0)) for word in STATUSES]}
    except TooLarge as error:
        return render(request, "jobs.html", {**context, "too_large": str(error)}, status=400)
    return render(request, "jobs.html", context)


@require_safe
def job_overview(request: HttpRequest, pk: int) -> HttpResponse:
    """How a job stands and what it was started with."""
    job = find(request, pk)
    return show(request, job, "overview", {"settings": jobcards.settings_of(job), "charts": jobcards.charts_of(job)})


@require_POST
def job_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a job's trainer to stop."""
    job = get_object_or_404(Job.objects.visible_to(request.user).active().select_related("run"), pk=pk)
    if not request.user.has_perm("runs.change_run"):
        raise PermissionDenied("Asking a job to stop needs the role operator.")
    try:
        cancelling.ask(request, job)
    except ValidationError as refusal:
        messages.warning(request, " ".join(refusal.messages))
    else:
        messages.success(request, "Asked its trainer to stop: it is told when it next delivers events, and says when it has.")
    return redirect(job)


def find(request: HttpRequest, pk: int) -> Job:
    """A job that the user may see, with its run and trainer; else 404."""
    jobs = Job.objects.visible_to(request.user).active()
    return get_object_or_404(jobs.select_related("run", "source__trainer", "cancel_requested_by"), pk=pk)


def show(request: HttpRequest, job: Job, tab: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """A tab of the job's page below its header."""
    jobcards.dress([job])
    frame = {
        "job": job,
        "tab": tab,
        "tabs": TABS,
        "counts": {"logs": job.line_count, "samples": samples_of(job).count(), "checkpoints": job.checkpoints.count()},
    }
    return render(request, f"job_{tab}.html", frame | context, status=status)


def samples_of(job: Job) -> QuerySet[Sample]:
    """What it sampled, in the order of steps: its own, and those of its run that no job claims."""
    mine = Sample.objects.filter(Q(job=job) | Q(job=None, run=job.run_id), generation=F("log_file__generation"))
    return mine.order_by("step", "index", "id")
