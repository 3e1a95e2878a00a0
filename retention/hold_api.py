"""Holding a run for scripts: no cleanup takes what somebody holds."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError as Invalid
from django.utils.dateparse import parse_date
from django.utils.timezone import now
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from retention import holding
from retention.models import Hold
from runs.api.annotations import GONE
from runs.api.base import ApiView
from runs.api.details import visible_run
from runs.api.shapes import Strict, named

if TYPE_CHECKING:
    from rest_framework.request import Request


class HoldOfRun(serializers.Serializer):
    """What holds a run."""

    held = serializers.BooleanField(help_text="Whether it is held now; a hold whose end is past holds nothing.")
    by = serializers.CharField(allow_null=True, help_text="Null where nobody does, or the user was deleted.")
    reason = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True, help_text="Null: until it is lifted.")
    since = serializers.DateTimeField(allow_null=True)


@extend_schema_field({"oneOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]})
class Until(serializers.DateTimeField):
    """A time to come; of a day its end, as on the page."""

    def to_internal_value(self, value: Any) -> datetime:
        """The time."""
        day = _day(value)
        try:
            return holding.checked_end(holding.end_of(day) if day is not None else super().to_internal_value(value))
        except Invalid as wrong:
            raise ValidationError(wrong.messages) from None


def _day(value: Any) -> date | None:
    try:
        return parse_date(value) if isinstance(value, str) and len(value) == len("2026-01-31") else None
    except ValueError:
        return None


class HoldWish(Strict):
    """Why a run must stay, and until when."""

    reason = serializers.CharField(max_length=holding.REASON, help_text="One line; what looks like a secret in it is masked.")
    until = Until(allow_null=True, default=None, help_text="A day (until its end) or a time; null: until it is lifted.")


class OneHold(ApiView):
    """The hold of a run."""

    needs = {"PUT": "retention.add_hold", "DELETE": "retention.delete_hold"}

    @extend_schema(operation_id="run_hold", responses=HoldOfRun)
    def get(self, request: Request, pk: int) -> Response:
        """Whether a run is held, by whom, why and until when."""
        run = visible_run(request, pk)
        return Response(_told(Hold.objects.filter(run=run).select_related("by").first()))

    @extend_schema(operation_id="run_hold_set", request=HoldWish, responses=HoldOfRun)
    def put(self, request: Request, pk: int) -> Response:
        """Keep the run out of every cleanup, or give its hold another reason or end."""
        said, run = HoldWish.body(request), visible_run(request, pk)
        with named("reason"):
            held = holding.hold(request._request, run, said["reason"], said["until"])
        return Response(_told(held))

    @extend_schema(operation_id="run_hold_lift", responses={204: GONE})
    def delete(self, request: Request, pk: int) -> Response:
        """Let it go again; what is not held is no error."""
        holding.lift(request._request, visible_run(request, pk))
        return Response(status=204)


def _told(hold: Hold | None) -> dict[str, Any]:
    if hold is None:
        return {"held": False, "by": None, "reason": "", "until": None, "since": None}
    by = hold.by.get_username() if hold.by else None
    return {"held": hold.holds(now()), "by": by, "reason": hold.reason, "until": hold.until, "since": hold.created}
