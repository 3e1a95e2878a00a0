"""The audit trail for scripts: oldest first, so that a collector asks again with the last id it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from runs.api.base import ApiView
from runs.api.paging import PageQuery, page, page_of
from runs.api.shapes import Choices
from runs.query.limits import bounded
from runs.trail import Trail

if TYPE_CHECKING:
    from rest_framework.request import Request

FIELDS = ("id", "at", "who", "user", "action", "kind", "subject", "why", "address", "details")


class TrailQuery(PageQuery):
    """Which entries; what the values may be is runs/trail.py's to say."""

    who = serializers.CharField(max_length=150, required=False, allow_blank=True, help_text="The name of whoever did it.")
    action = Choices(child=serializers.CharField(max_length=60), required=False, help_text="What was done; several times.")
    kind = serializers.CharField(max_length=60, required=False, allow_blank=True, help_text="To what kind of thing: run ...")
    object = serializers.IntegerField(min_value=0, max_value=2**62, required=False, help_text="The id of the thing.")
    q = serializers.CharField(max_length=200, required=False, allow_blank=True, help_text="Part of its name or of the reason.")
    since = serializers.CharField(
        max_length=60, required=False, allow_blank=True, help_text="From this time on: 2026-11-26, 2026-11-26T08:00Z, 7d.")
    until = serializers.CharField(
        max_length=60, required=False, allow_blank=True, help_text="Before this time; a day is taken with its end.")


class TrailEntry(serializers.Serializer):
    """A deed."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    who = serializers.CharField(help_text="The name at the time; trainmon where nobody asked for it.")
    user = serializers.IntegerField(allow_null=True)
    action = serializers.CharField()
    kind = serializers.CharField(help_text="What kind of thing it was done to.")
    object = serializers.IntegerField(allow_null=True)
    subject = serializers.CharField(help_text="The thing's name at the time.")
    why = serializers.CharField()
    address = serializers.CharField(allow_null=True, help_text="Where the request came from.")
    details = serializers.DictField(child=serializers.JSONField())


class AuditTrail(ApiView):
    """Who did what, on what, when, why, from where."""

    needs = {"GET": "runs.view_auditentry"}

    @extend_schema(operation_id="audit", parameters=[TrailQuery], responses=page_of(TrailEntry))
    def get(self, request: Request) -> Response:
        """A page of the audit trail, oldest first (role admin)."""
        asked, form = TrailQuery.query(request), Trail(request.query_params)
        if not form.is_valid():
            raise ValidationError({name.strip("_"): [str(one) for one in told] for name, told in form.errors.items()})
        rows = form.entries().values(*FIELDS, object=F("object_id"))
        with bounded():
            return Response(page(request, asked, rows))
