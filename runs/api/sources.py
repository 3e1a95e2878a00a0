"""Sources, and asking for a sync."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import OperationalError
from django.db.models import Count, F, Q
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from runs import audit, masks
from runs.api.base import ApiView
from runs.api.paging import PageQuery, page, page_of
from runs.api.problems import Unavailable
from runs.api.schema import Problem
from runs.models import Run, Source
from runs.models.trainer import is_syncing
from runs.tasks import sync_source

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet
    from rest_framework.request import Request

FIELDS = ("id", "root", "layout", "enabled", "status", "last_synced", "followed", "last_error", "problems")


class SourceRow(serializers.Serializer):
    """A folder of logs of one trainer."""

    id = serializers.IntegerField()
    trainer = serializers.CharField(help_text="The trainer's slug.")
    root = serializers.CharField(help_text="The folder on trainmon's machine.")  # type: ignore[assignment]
    layout = serializers.ChoiceField(Source.Layout.choices)
    enabled = serializers.BooleanField()
    status = serializers.ChoiceField(Source.Status.choices)
    last_synced = serializers.DateTimeField(allow_null=True, help_text="When all of it was last looked at.")
    followed = serializers.DateTimeField(allow_null=True, help_text="Up to when a follower knows what grows in it.")
    last_error = serializers.CharField()
    problems = serializers.ListField(child=serializers.JSONField(), help_text="What the last scan found odd.")
    syncing = serializers.BooleanField(help_text="Whether a sync works on it now.")
    runs = serializers.IntegerField(help_text="Its runs, without those in the trash.")


class Queued(serializers.Serializer):
    """A sync that was asked for."""

    queued = serializers.BooleanField()
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="Where `last_synced` tells that it is done."
    )


class Disabled(APIException):
    """A source that is not read."""

    status_code = 409
    default_code = "disabled"
    default_detail = "This source is disabled: enable it in the admin first."


def sources(user: User | AnonymousUser) -> QuerySet[Source, Any]:
    """The visible ones, with how many runs each has."""
    return Source.objects.visible_to(user).values(*FIELDS, "leased_by", "leased_until").annotate(
        trainer=F("trainer__slug"), runs=Count("runs", filter=Q(runs__lifecycle_stage=Run.Stage.ACTIVE))
    )


def told(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it is told."""
    return row | {"root": masks.path(row["root"]), "syncing": is_syncing(row.pop("leased_by"), row.pop("leased_until"))}


class Sources(ApiView):
    """The folders that the caller may see."""

    @extend_schema(operation_id="sources", parameters=[PageQuery], responses=page_of(SourceRow))
    def get(self, request: Request) -> Response:
        """A page of sources."""
        found = page(request, PageQuery.query(request), sources(request.user))
        return Response(found | {"results": [told(row) for row in found["results"]]})


class OneSource(ApiView):
    """One folder."""

    @extend_schema(operation_id="source", responses=SourceRow)
    def get(self, request: Request, pk: int) -> Response:
        """A source by its id."""
        found: dict[str, Any] = get_object_or_404(sources(request.user), pk=pk)
        return Response(told(found))


class SyncSource(ApiView):
    """Read a folder now."""

    needs = {"POST": "runs.change_source"}

    @extend_schema(operation_id="source_sync", request=None, responses={202: Queued, 409: Problem, 503: Problem})
    def post(self, request: Request, pk: int) -> Response:
        """Ask the workers to read a source now; a sync that is under way goes on alone."""
        source = get_object_or_404(Source.objects.visible_to(request.user).select_related("trainer"), pk=pk)
        if not source.enabled:
            raise Disabled
        try:
            sync_source.apply_async([source.pk], retry=False)
        except OperationalError:
            raise Unavailable("The workers' queue does not answer now: try again later.") from None
        audit.record(request, "sync source", source)
        return Response({"queued": True, "source": reverse("api:source", args=[pk])}, status=202)
