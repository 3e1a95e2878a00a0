"""What a job left behind: samples, checkpoints, models, its log."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from runs import disk, raw
from runs.api.base import ApiView
from runs.api.jobs import NAME, SEVERAL, find
from runs.api.problems import Unavailable
from runs.api.schema import PROBLEM, Problem
from runs.api.shapes import Strict
from runs.filenames import base, name_of, named
from runs.models import Checkpoint, Job, Sample
from runs.roles import sees_raw
from runs.sending import sent
from runs.templatetags.shown import moment
from runs.views.jobs import samples_of
from runs.views.samples import deliver, readable

if TYPE_CHECKING:
    from rest_framework.request import Request

TYPES = ("sample", "checkpoint", "model", "log")
FILE = OpenApiParameter("file", str, "path", description="Its name: as `url` has it, or as its log has it, without folders.")
RANGE = OpenApiParameter("Range", str, "header", description="bytes=first-last")


class Lost(APIException):
    """A file that is known, and gone."""

    status_code = 410
    default_code = "gone"
    default_detail = "The file is gone from disk, or is no regular file any more."


class ArtifactQuery(Strict):
    """Which artifacts."""

    type = serializers.ChoiceField(TYPES, required=False, help_text="Of this kind only.")
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=200, help_text="Rows of a page.")
    offset = serializers.IntegerField(min_value=0, max_value=10**9, default=0, help_text="Rows to pass over.")


class ArtifactRow(serializers.Serializer):
    """A file that a job left behind."""

    name = serializers.CharField()
    path = serializers.CharField(help_text="As its log has it.")
    type = serializers.ChoiceField(TYPES)
    size_bytes = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    step = serializers.IntegerField(allow_null=True)
    missing = serializers.BooleanField(help_text="Whether it is gone from disk, as far as is known.")
    url = serializers.CharField(allow_null=True, help_text="Where its bytes are; null where they are out of reach.")


class ArtifactList(serializers.Serializer):
    """A page of artifacts: the log, then models and checkpoints, then samples, each by step."""

    job_id = serializers.CharField()
    artifacts = ArtifactRow(many=True)
    total_count = serializers.IntegerField()


class CheckpointRow(ArtifactRow):
    """A checkpoint or model."""

    id = serializers.IntegerField()


class CheckpointList(serializers.Serializer):
    """A page of checkpoints and models, by step."""

    job_id = serializers.CharField()
    checkpoints = CheckpointRow(many=True)
    total_count = serializers.IntegerField()


class JobArtifacts(ApiView):
    """What a job left behind."""

    @extend_schema(operation_id="job_artifacts", parameters=[NAME, ArtifactQuery], responses={200: ArtifactList, **SEVERAL})
    def get(self, request: Request, job: str) -> Response:
        """A page of its log, models, checkpoints and samples."""
        asked, found = ArtifactQuery.query(request), find(request, job)
        kind, offset, limit = asked.get("type"), asked["offset"], asked["limit"]
        rows: list[dict[str, Any]] = []
        total = 0
        for part, tell in _parts(found, kind):
            count = part.count() if hasattr(part, "model") else len(part)
            start = max(0, offset - total)
            if start < count and len(rows) < limit:
                rows += [tell(found, one) for one in part[start : start + limit - len(rows)]]
            total += count
        return Response({"job_id": found.external_id, "artifacts": rows, "total_count": total})


def _parts(job: Job, kind: str | None) -> list[tuple[Any, Any]]:
    """What is listed, in order, each with how a row of it is told."""
    saved = job.checkpoints.order_by("kind", "step", "id")
    parts: list[tuple[Any, Any]] = []
    if kind in (None, "log"):
        parts.append(([job] if job.line_count else [], _log))
    if kind in (None, "checkpoint", "model"):
        parts.append((saved.filter(kind=kind) if kind else saved, _checkpoint))
    if kind in (None, "sample"):
        parts.append((samples_of(job), _sample))
    return parts


def _log(job: Job, _: Job) -> dict[str, Any]:
    return {"name": f"{job.external_id}.jsonl", "path": "", "type": "log", "size_bytes": None, "created_at": job.started,
            "step": None, "missing": False, "url": reverse("api:job-log", args=[job.pk])}


def _checkpoint(job: Job, one: Checkpoint) -> dict[str, Any]:
    url = reverse("api:job-checkpoint", args=[job.pk, name_of(one)]) if _is_file(one) else None
    return {"name": base(one.said), "path": one.said, "type": one.kind, "size_bytes": one.size, "created_at": one.at,
            "step": one.step, "missing": one.missing, "url": url}


def _is_file(one: Checkpoint) -> bool:
    """Whether it can be sent: within reach, there, and no folder (which has no size)."""
    return bool(one.path) and not one.missing and one.size is not None


def _sample(job: Job, one: Sample) -> dict[str, Any]:
    at: datetime | None = moment(one.wall)
    return {"name": base(one.said) or name_of(one), "path": one.said, "type": "sample", "size_bytes": one.size,
            "created_at": at, "step": one.step, "missing": one.is_file and not one.path,
            "url": reverse("api:job-sample", args=[job.pk, name_of(one)])}


class JobSample(ApiView):
    """An image that a job made."""

    @extend_schema(
        operation_id="job_sample", parameters=[NAME, FILE, RANGE],
        responses={(200, "image/*"): OpenApiTypes.BINARY, (206, "image/*"): OpenApiTypes.BINARY,
                   304: OpenApiResponse(description="It is as it was."), **SEVERAL,
                   410: OpenApiResponse(description="It is gone; the answer is a picture that says why."),
                   416: OpenApiResponse(description="The range lies behind its end.")},
    )
    def get(self, request: Request, job: str, file: str) -> HttpResponse:
        """Its bytes, as PNG, JPEG, WebP or GIF; what is none of these is not shown."""
        found = find(request, job)
        sample = named(samples_of(found), file)
        return deliver(request._request, readable().get(pk=sample.pk))


class JobCheckpoints(ApiView):
    """The checkpoints of a job."""

    @extend_schema(
        operation_id="job_checkpoints", parameters=[NAME, ArtifactQuery], responses={200: CheckpointList, **SEVERAL}
    )
    def get(self, request: Request, job: str) -> Response:
        """A page of checkpoints and models."""
        asked, found = ArtifactQuery.query(request), find(request, job)
        saved = found.checkpoints.order_by("step", "id")
        saved = saved.filter(kind=asked["type"]) if "type" in asked else saved
        rows = [{"id": one.pk, **_checkpoint(found, one)} for one in saved[asked["offset"] : asked["offset"] + asked["limit"]]]
        return Response({"job_id": found.external_id, "checkpoints": rows, "total_count": saved.count()})


class JobCheckpoint(ApiView):
    """The bytes of a checkpoint."""

    @extend_schema(
        operation_id="job_checkpoint_download", parameters=[NAME, FILE, RANGE],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, (206, "application/octet-stream"): OpenApiTypes.BINARY,
                   **SEVERAL, (410, PROBLEM): Problem,
                   416: OpenApiResponse(description="The range lies behind its end.")},
    )
    def get(self, request: Request, job: str, file: str) -> Any:
        """The source's own bytes, unmasked: needs the permission to download raw files, and is written down."""
        found = find(request, job)
        checkpoint = named(found.checkpoints.all(), file)
        if not sees_raw(request.user):
            raise PermissionDenied("Checkpoints are the source's own bytes: they need the permission to download raw files.")
        if not checkpoint.path:
            raise Lost("It lies outside of its source's folder: trainmon does not reach it.")
        root, path = found.source.root, bytes(checkpoint.path)
        try:
            there = disk.ask(lambda: raw.open_at(root, path))
        except disk.Silent:
            raise Unavailable("The disk of this file does not answer: try again in a while.") from None
        except (OSError, ValueError):
            raise Lost from None
        return sent(request._request, there, checkpoint, base(checkpoint.said), found.run_id)
