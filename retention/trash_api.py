"""The trash for scripts, and the way back out of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from retention import orders, standing
from retention.forms import REASON
from retention.models import Tombstone
from retention.rights import CLEAN
from runs import audit
from runs.api.base import ApiView
from runs.api.paging import PageQuery, page, page_of
from runs.api.shapes import Strict
from runs.readers.plain import plain

if TYPE_CHECKING:
    from rest_framework.request import Request


class TrashRow(serializers.Serializer):
    """A run that lies in the trash."""

    id = serializers.IntegerField(help_text="To restore it: that of its burial, not of the run.")
    run = serializers.IntegerField()
    name = serializers.CharField()
    trainer = serializers.CharField()
    path = serializers.CharField(help_text="Where it lay.")
    size = serializers.IntegerField()
    frees = serializers.IntegerField()
    buried_at = serializers.DateTimeField()
    purge_after = serializers.DateTimeField()
    archived = serializers.BooleanField()
    grew = serializers.ListField(child=serializers.CharField(), help_text="Files that somebody still writes there.")
    error = serializers.CharField(help_text="Why it did not come back when somebody asked for it.")


class RestoreWish(Strict):
    """A reason for the audit trail."""

    why = serializers.CharField(max_length=REASON, default="", allow_blank=True)


class Restoring(serializers.Serializer):
    """It was asked for."""

    queued = serializers.BooleanField()
    run = serializers.CharField(help_text="Its address: `lifecycle_stage` there tells when it is back.")


class Trash(ApiView):
    """What lies in the trash."""

    @extend_schema(operation_id="trash", parameters=[PageQuery], responses=page_of(TrashRow))
    def get(self, request: Request) -> Response:
        """A page of runs that can be restored, the first that were buried first."""
        found = page(request, PageQuery.query(request), standing.tombs(request.user).values("id"))
        rows = standing.tombs(request.user).filter(pk__in=[row["id"] for row in found["results"]]).order_by("pk")
        return Response(found | {"results": [_tomb(row) for row in rows.select_related("run", "planned", "source__trainer")]})


class RestoreFromTrash(ApiView):
    """Bringing a run back."""

    needs = {"POST": CLEAN}

    @extend_schema(operation_id="trash_restore", request=RestoreWish, responses={202: Restoring})
    def post(self, request: Request, pk: int) -> Response:
        """Have a run brought back to where it lay; never over something."""
        said = RestoreWish.body(request)
        tomb = get_object_or_404(standing.tombs(request.user).select_related("run"), pk=pk)
        assert request.user.is_authenticated
        with suppress(orders.Away):  # it is written down, and the janitor finds it
            orders.bring_back([tomb], request.user, plain(said["why"]), audit.address_of(request))
        return Response({"queued": True, "run": reverse("api:run", args=[tomb.run_id])}, status=202)


def _tomb(tomb: Tombstone) -> dict[str, Any]:
    return {
        "run": tomb.run_id, "name": tomb.run.name, "trainer": tomb.source.trainer.slug, "path": tomb.path_text,
        "archived": tomb.archive_id is not None, "error": tomb.planned.error,
        **{name: getattr(tomb, name) for name in ("id", "size", "frees", "buried_at", "purge_after", "grew")}}
