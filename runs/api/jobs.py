"""Jobs: the list, all that is known of one, how it went in short, asking it to stop."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as Invalid
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from runs import cancelling, jobcards, jobs_of
from runs.api.base import ApiView
from runs.api.paging import link
from runs.api.schema import PROBLEM, Problem
from runs.api.shapes import Number, Strict, allowed
from runs.models import Job
from runs.models.run import Status
from runs.query.jobs import LONGEST_PAGE, PAGE, JobQuery
from runs.views.jobs import samples_of

if TYPE_CHECKING:
    from rest_framework.request import Request

#: How a job is named in an address.
NAME = OpenApiParameter("job", str, "path", description="Its number here, or the id that its trainer gave it.")
#: Several jobs may have an id.
SEVERAL: dict[Any, Any] = {(409, PROBLEM): Problem}
#: What a job leads to, each at /api/jobs/<id>/<name>/, by its route's name.
PARTS = {
    "summary": "job-summary", "logs": "job-log", "log_view": "job-log-view", "artifacts": "job-artifacts",
    "checkpoints": "job-checkpoints", "bundle": "job-bundle", "cancel": "job-cancel",
}
FILTERS = [
    OpenApiParameter("trainer", str, many=True, description="Slug of a trainer. May be given several times."),
    OpenApiParameter("status", str, many=True, enum=[*Status.values, "stalled"],
                     description="Status; a job's own words (completed, cancelled) are taken, too. May be given several times."),
    OpenApiParameter("run", int, many=True, description="Id of a run. May be given several times."),
    OpenApiParameter("q", str, description="Words that its id, run, stage, message or error hold."),
    OpenApiParameter("error_type", str, description="Type of its error, as `RuntimeError`."),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE},
                     description="Jobs of a page."),
    OpenApiParameter("after", str, description="From `next`."),
    OpenApiParameter("before", str, description="From `previous`."),
]


class Several(APIException):
    """Several jobs have this id."""

    status_code = 409
    default_code = "several_jobs"


class Unstoppable(APIException):
    """A job that nobody can ask to stop."""

    status_code = 409


def find(request: Request, name: str, *, certain: bool = False) -> Job:
    """The job of this number or id that the caller may see; 404, or 409 naming those that are called so."""
    try:
        return jobs_of.find(request.user, name, certain=certain)
    except jobs_of.Several as several:
        named = "; ".join(f"{job.pk} (run {job.run_id}, {job.run.name[:80]})" for job in several.jobs)
        way = "It is also another's id: use its page" if certain and name.isdigit() else "Ask for one by its number"
        raise Several(f"Several jobs are called so. {way}: {named}.") from None


class JobRow(serializers.Serializer):
    """A job in the list."""

    id = serializers.IntegerField(help_text="Our number.")
    job_id = serializers.CharField(source="external_id", help_text="The id that its trainer gave it.")
    run = serializers.IntegerField(source="run_id")
    trainer = serializers.CharField(source="source.trainer.slug")
    status = serializers.ChoiceField(Status.choices, help_text="As of runs.")
    word = serializers.CharField(source="said", help_text="The same in the words of jobs: completed, cancelled ...")
    stalled = serializers.BooleanField(help_text="Running, but without a step for longer than usual.")
    stage = serializers.CharField()
    message = serializers.CharField()
    step = serializers.IntegerField(allow_null=True)
    total_steps = serializers.IntegerField(allow_null=True)
    progress = Number(allow_null=True, help_text="0 to 1; null where the total is not known.")
    epoch = Number(allow_null=True)
    loss = Number(allow_null=True)
    lr = Number(allow_null=True)
    speed = Number(allow_null=True, help_text="Steps a second.")
    eta_seconds = Number(source="time_left", allow_null=True)
    elapsed_seconds = Number(source="duration", allow_null=True)
    error = serializers.CharField()
    error_type = serializers.CharField()
    started = serializers.DateTimeField(allow_null=True)
    ended = serializers.DateTimeField(allow_null=True)
    last_event = serializers.DateTimeField(allow_null=True)
    cancel_requested = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField(help_text="Rises with every change of the job.")
    url = serializers.SerializerMethodField(help_text="Where all that is known of it is told.")

    def get_url(self, job: Job) -> str:
        """Its address."""
        return reverse("api:job", args=[job.pk])


#: What each field of a row is made of: DRF finds it out anew for each row, which takes ten times as long.
TOLD = {name: attrgetter(field.source or name) for name, field in JobRow().fields.items() if name != "url"}


def _row(job: Job) -> dict[str, Any]:
    """A job as JobRow describes it."""
    return {**{name: told(job) for name, told in TOLD.items()}, "url": f"/api/jobs/{job.pk}/"}


class JobDetail(JobRow):
    """All that is known of a job; what may be long or many has addresses of its own under ``links``."""

    status_reason = serializers.CharField(help_text="Why it stands so.")
    error_stack = serializers.CharField()
    correlation_id = serializers.CharField()
    stages = serializers.ListField(child=serializers.JSONField(), help_text="[stage, Unix seconds] of each that it entered.")
    gpus = serializers.ListField(child=serializers.JSONField(), help_text="Every GPU as last said.")
    bars = serializers.JSONField(help_text="Progress bars by their id.")
    config = serializers.JSONField(help_text="What it was started with; secrets are masked.")
    lines = serializers.IntegerField(source="line_count", help_text="Lines of its log that are kept.")
    last_line = serializers.DateTimeField(allow_null=True)
    lines_dropped = serializers.DateTimeField(
        allow_null=True, help_text="When its lines were dropped, being older than they are kept; its log files are as they were.")
    can_cancel = serializers.SerializerMethodField(help_text="Whether its trainer can be asked to stop.")
    page = serializers.CharField(source="get_absolute_url", help_text="Its page for people.")
    links = serializers.SerializerMethodField()

    def get_can_cancel(self, job: Job) -> bool:
        """Whether a request would have an effect."""
        return cancelling.why_not(job) is None

    @extend_schema_field(serializers.DictField(child=serializers.CharField()))
    def get_links(self, job: Job) -> dict[str, str]:
        """Where its parts are."""
        return {part: reverse(f"api:{route}", args=[job.pk]) for part, route in PARTS.items()}


class JobList(serializers.Serializer):
    """A page of jobs."""

    results = JobRow(many=True)
    next = serializers.CharField(allow_null=True, help_text="The page behind this one; null at the end.")
    previous = serializers.CharField(allow_null=True, help_text="The page before this one.")


class Jobs(ApiView):
    """Jobs that the caller may see, in every state."""

    @extend_schema(operation_id="jobs", parameters=FILTERS, responses=JobList)
    def get(self, request: Request) -> Response:
        """A page of jobs, what said something last first."""
        page = allowed(JobQuery(request.query_params, request.user)).page()
        return Response({
            "results": [_row(job) for job in page.rows],
            "next": link(request, "after", page.after) if page.after else None,
            "previous": link(request, "before", page.before) if page.before else None,
        })


class OneJob(ApiView):
    """One job."""

    @extend_schema(operation_id="job", parameters=[NAME], responses={200: JobDetail, **SEVERAL})
    def get(self, request: Request, job: str) -> Response:
        """All that is known of a job, by its number or its trainer's id."""
        found = find(request, job)
        jobcards.dress([found])
        return Response(JobDetail(found).data)


class FirstError(serializers.Serializer):
    """The first error in a job's log."""

    timestamp = serializers.DateTimeField(source="at", allow_null=True)
    message = serializers.CharField()
    event = serializers.CharField(source="kind")


class Artifacts(serializers.Serializer):
    """What a job left behind."""

    samples = serializers.IntegerField()
    checkpoints = serializers.IntegerField()
    has_log = serializers.BooleanField()
    has_model = serializers.BooleanField()


class JobSummary(serializers.Serializer):
    """How a job went."""

    id = serializers.IntegerField()
    job_id = serializers.CharField(source="external_id")
    status = serializers.ChoiceField(Status.choices)
    word = serializers.CharField(source="said", help_text="In the words of jobs: completed, cancelled ...")
    progress = Number(allow_null=True, help_text="0 to 1; null where the total is not known.")
    current_step = serializers.IntegerField(source="step", allow_null=True)
    total_steps = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField(source="run.created", help_text="When trainmon first saw its run.")
    started_at = serializers.DateTimeField(source="started", allow_null=True)
    completed_at = serializers.DateTimeField(source="ended", allow_null=True)
    artifacts = Artifacts()
    first_error = FirstError(allow_null=True)
    error_message = serializers.CharField(source="error")
    error_type = serializers.CharField()


class Summary(ApiView):
    """A job in short."""

    @extend_schema(operation_id="job_summary", parameters=[NAME], responses={200: JobSummary, **SEVERAL})
    def get(self, request: Request, job: str) -> Response:
        """How it went: status, progress, times, what it left behind, its first error."""
        found = find(request, job)
        found.first_error = next(iter(jobcards.first_errors([found.pk])), None)
        kinds = list(found.checkpoints.order_by().values_list("kind", flat=True))
        found.artifacts = {  # type: ignore[attr-defined]
            "samples": samples_of(found).count(), "checkpoints": kinds.count("checkpoint"),
            "has_log": found.line_count > 0, "has_model": "model" in kinds,
        }
        return Response(JobSummary(found).data)


class CancelOf(Strict):
    """Nothing is said beside the job."""


class Cancelled(serializers.Serializer):
    """A request to stop."""

    job_id = serializers.CharField(source="external_id")
    cancel_requested = serializers.DateTimeField()
    new = serializers.BooleanField(help_text="False where it had been asked before.")


class Cancel(ApiView):
    """Asking a job to stop."""

    needs = {"POST": "runs.change_run"}

    @extend_schema(operation_id="job_cancel", parameters=[NAME], request=CancelOf, responses={202: Cancelled, **SEVERAL})
    def post(self, request: Request, job: str) -> Response:
        """Ask the trainer to stop a job: told with its next delivery of events.  409 where it never asks, or has ended."""
        CancelOf.body(request)
        found = find(request, job, certain=True)
        try:
            new = cancelling.ask(request._request, found)
        except Invalid as refusal:
            raise Unstoppable(refusal.messages[0], code=getattr(refusal, "code", None)) from None
        found.new = new  # type: ignore[attr-defined]
        return Response(Cancelled(found).data, status=202)
