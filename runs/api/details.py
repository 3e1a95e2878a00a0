"""A run: all that is known of it, how it stands, what people may change of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from runs import annotate
from runs.api.base import ApiView
from runs.api.shapes import Number, Strict, named
from runs.models import Bookmark, Run
from runs.models.run import Status
from runs.templatetags.shown import age

if TYPE_CHECKING:
    from rest_framework.request import Request

#: What a run leads to, each at /api/runs/<id>/<name>/.
PARTS = (
    "status", "parameters", "metrics", "events", "transitions", "segments", "files", "texts", "notes", "tags", "bookmark"
)
#: Columns that no answer shows, and that may be long.
UNSHOWN = (
    "param_sources", "sidecars", "said",
    "source__verdicts", "source__fingerprint", "source__problems", "source__last_error", "source__trainer__description",
)


def visible_run(request: Request, pk: int, *only: str) -> Run:
    """A run that the caller may see, else 404: with these columns alone, where some are named."""
    runs = Run.objects.visible_to(request.user)
    return get_object_or_404(runs.only(*only or ("pk",)), pk=pk)


class Standing(serializers.Serializer):
    """How a run stands, in short: for scripts that wait for it."""

    id = serializers.IntegerField()
    status = serializers.ChoiceField(Status.choices)
    stalled = serializers.BooleanField(help_text="Running, but without a step for longer than usual.")
    status_reason = serializers.CharField(help_text="Why, with the evidence in words.")
    status_since = serializers.DateTimeField(allow_null=True)
    step = serializers.IntegerField(allow_null=True)
    total_steps = serializers.IntegerField(allow_null=True)
    epoch = Number(allow_null=True)
    progress = Number(allow_null=True, help_text="0 to 1; null where the total is not known.")
    eta_seconds = Number(allow_null=True)
    last_event = serializers.DateTimeField(allow_null=True, help_text="By the clock of its records.")
    data_as_of = serializers.DateTimeField(
        source="source.as_of", allow_null=True, help_text="Up to when what its source holds is known."
    )
    version = serializers.IntegerField(help_text="Rises with every change of the run.")


class DatasetOfRun(serializers.Serializer):
    """A dataset."""

    id = serializers.IntegerField()
    name = serializers.CharField()


class TrainerOfRun(serializers.Serializer):
    """A trainer."""

    slug = serializers.CharField()
    name = serializers.CharField()


class BookmarkOfRun(serializers.Serializer):
    """The caller's bookmark."""

    bookmarked = serializers.BooleanField()
    shared = serializers.BooleanField(help_text="Whether all who see the run see the bookmark.")


class Detail(Standing):
    """All that is known of a run; what may be long or many has addresses of its own under ``links``."""

    name = serializers.CharField()
    trainer = TrainerOfRun(source="source.trainer")
    source = serializers.IntegerField(source="source_id")  # type: ignore[assignment]
    dataset = DatasetOfRun(allow_null=True)
    path = serializers.CharField(source="path_text", help_text="Below the source's root; what is not UTF-8 is escaped.")
    tags = serializers.ListField(child=serializers.CharField())
    pinned = serializers.BooleanField()
    bookmark = serializers.SerializerMethodField()
    lifecycle_stage = serializers.ChoiceField(Run.Stage.choices)
    demo = serializers.BooleanField()
    files_missing = serializers.BooleanField()
    status_evidence = serializers.DictField(child=serializers.JSONField())
    created = serializers.DateTimeField(help_text="When trainmon first saw it.")
    started = serializers.DateTimeField(allow_null=True)
    ended = serializers.DateTimeField(allow_null=True)
    last_arrival = serializers.DateTimeField(allow_null=True, help_text="When bytes last arrived on disk.")
    modified = serializers.DateTimeField(allow_null=True, help_text="The newest modification time of its files.")
    age = serializers.SerializerMethodField()
    duration_seconds = Number(source="duration", allow_null=True)
    steps_per_second = Number(allow_null=True)
    stage = serializers.CharField()
    early_stopped = serializers.BooleanField()
    error = serializers.CharField()
    error_type = serializers.CharField()
    error_stack = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    file_count = serializers.IntegerField()
    event_file_count = serializers.IntegerField()
    point_count = serializers.IntegerField()
    points_dropped = serializers.DateTimeField(
        allow_null=True, help_text="When its points were dropped at its cleanup; its archive holds them.")
    bad_records = serializers.IntegerField()
    lost_bytes = serializers.IntegerField()
    warnings = serializers.ListField(child=serializers.JSONField(), help_text="What the last scan found odd.")
    gpu_type = serializers.CharField()
    gpu_count = serializers.IntegerField(allow_null=True)
    host = serializers.CharField()
    pid = serializers.IntegerField(allow_null=True)
    page = serializers.CharField(source="get_absolute_url", help_text="Its page for people.")
    links = serializers.SerializerMethodField()

    @extend_schema_field(BookmarkOfRun)
    def get_bookmark(self, run: Run) -> dict[str, bool]:
        """Whether the caller has bookmarked it."""
        return bookmark_of(self.context["request"], run)

    @extend_schema_field({"type": "string", "enum": ["fresh", "recent", "old", "unknown"]})
    def get_age(self, run: Run) -> str:
        """By the thresholds of the run list."""
        return age(run.modified)

    @extend_schema_field(serializers.DictField(child=serializers.CharField()))
    def get_links(self, run: Run) -> dict[str, str]:
        """Where its parts are."""
        return {part: reverse(f"api:run-{part}", args=[run.pk]) for part in PARTS}


def bookmark_of(request: Request, run: Run) -> dict[str, bool]:
    """The caller's bookmark of a run."""
    shared = Bookmark.objects.filter(run=run, owner=request.user.pk).values_list("shared", flat=True).first()
    return {"bookmarked": shared is not None, "shared": bool(shared)}


class Change(Strict):
    """What may be changed of a run; what is not named stays."""

    name = serializers.CharField(max_length=annotate.NAME_LENGTH, required=False)
    tags = serializers.ListField(
        child=serializers.CharField(max_length=annotate.TAG_LENGTH), max_length=annotate.MOST_TAGS, required=False
    )
    pinned = serializers.BooleanField(required=False)


CHANGES: dict[str, Any] = {"name": annotate.rename, "tags": annotate.set_tags, "pinned": annotate.pin}


class OneRun(ApiView):
    """One run."""

    needs = {"PATCH": "runs.change_run"}

    @extend_schema(operation_id="run", responses=Detail)
    def get(self, request: Request, pk: int) -> Response:
        """All that is known of a run."""
        return self._told(request, pk)

    @extend_schema(operation_id="run_change", request=Change, responses=Detail)
    def patch(self, request: Request, pk: int) -> Response:
        """Rename, tag or pin a run: all that is named, or nothing."""
        said, run = Change.body(request), visible_run(request, pk)
        with transaction.atomic():
            for name, change in CHANGES.items():
                if name in said:
                    with named(name):
                        change(request._request, run, said[name])
        return self._told(request, pk)

    def _told(self, request: Request, pk: int) -> Response:
        runs = Run.objects.visible_to(request.user).select_related("source__trainer", "dataset").defer("params", *UNSHOWN)
        run = get_object_or_404(runs, pk=pk)
        return Response(Detail(run, context={"request": request}).data)


class RunStatus(ApiView):
    """How a run stands."""

    @extend_schema(operation_id="run_status", responses=Standing)
    def get(self, request: Request, pk: int) -> Response:
        """Its status, progress and how old that knowledge is."""
        shown = ("status", "stalled", "status_reason", "status_since", "step", "total_steps", "epoch", "pulse",
                 "early_stopped", "last_event", "version", "source__last_synced", "source__followed", "source__status")
        runs = Run.objects.visible_to(request.user).select_related("source").only(*shown)
        return Response(Standing(get_object_or_404(runs, pk=pk)).data)


class ParametersOfRun(serializers.Serializer):
    """The parameters of a run."""

    parameters = serializers.DictField(child=serializers.JSONField(), help_text="Merged; nested as written.")
    sources = serializers.DictField(child=serializers.JSONField(), help_text="By where they were found.")


class RunParameters(ApiView):
    """What a run was configured with."""

    @extend_schema(operation_id="run_parameters", responses=ParametersOfRun)
    def get(self, request: Request, pk: int) -> Response:
        """The parameters, merged and by where each was found."""
        run = visible_run(request, pk, "params", "param_sources")
        return Response({"parameters": run.params, "sources": run.param_sources})
