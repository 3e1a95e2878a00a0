"""Lines of several runs beside one another: over a metric, or as groups with mean and band."""

from __future__ import annotations

import math
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from runs.api.base import ApiView
from runs.api.problems import TooMuch
from runs.lines import GroupLine, RunLine, TooManyPoints, group_lines, plain_numbers, run_lines
from runs.models import Run
from runs.workspace import SHOWN, SPREADS, UNSHOWN, group_names, metric_of

Numbers = serializers.ListField(child=serializers.FloatField(allow_null=True))


class Asked(serializers.Serializer):
    """The query string."""

    run = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), min_length=1, max_length=SHOWN,
        help_text=f"Ids of up to {SHOWN} runs; those that you may not see are left out.",
    )
    tag = serializers.CharField(max_length=1000, trim_whitespace=False, help_text="The metric that is drawn.")
    x = serializers.CharField(
        max_length=1002, required=False, default="step", trim_whitespace=False,
        help_text="step, relative, wall, or the name of another metric (in quotes where it is called like one of these).",
    )
    group = serializers.CharField(
        max_length=1006, required=False, default="", allow_blank=True, trim_whitespace=False,
        help_text="dataset, trainer, status or param:NAME.",
    )
    spread = serializers.ChoiceField(choices=list(SPREADS), required=False, default="range")
    points = serializers.IntegerField(min_value=10, max_value=2000, required=False, default=500)

    def get_fields(self) -> dict[str, Any]:
        """The range too, which cannot be named so in Python."""
        end: dict[str, Any] = {"required": False, "validators": [_is_finite]}
        return super().get_fields() | {
            "from": serializers.FloatField(**end, help_text="Where the range of x begins."),
            "to": serializers.FloatField(**end, help_text="Where it ends."),
        }

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A range begins before it ends."""
        if asked.get("from", -math.inf) > asked.get("to", math.inf):
            raise ValidationError({"to": "Lies before from."})
        return asked


def _is_finite(value: float) -> None:
    if not math.isfinite(value):
        raise ValidationError("Not a finite number.")


class OfRun(serializers.Serializer):
    """A run's points in order of x; ``path``: x only rises (or only falls) with the steps."""

    run = serializers.IntegerField()
    at = Numbers
    values = Numbers
    path = serializers.BooleanField()


class OfGroup(serializers.Serializer):
    """A group's mean and band, and how many of its runs reach each place."""

    name = serializers.CharField()
    runs = serializers.ListField(child=serializers.IntegerField())
    at = Numbers
    mean = Numbers
    low = Numbers
    high = Numbers
    count = serializers.ListField(child=serializers.IntegerField())


class Compared(serializers.Serializer):
    """Either runs or groups."""

    runs = OfRun(many=True)
    groups = OfGroup(many=True)


class CompareLines(ApiView):
    """One metric of several runs."""

    @extend_schema(
        operation_id="compare_lines",
        parameters=[OpenApiParameter("run", {"type": "array", "items": {"type": "integer"}}, required=True, explode=True), Asked],
        responses=Compared,
    )
    def get(self, request: Request) -> Response:
        """A metric of several runs over another metric, or of groups of runs with mean and band."""
        asked = self.asked(request)
        visible = Run.objects.visible_to(request.user).active().filter(pk__in=asked["run"])
        runs = {run.pk: run for run in visible.select_related("source__trainer", "dataset").defer(*UNSHOWN)}
        shown = [runs[pk] for pk in asked["run"] if pk in runs]
        if not shown:
            raise NotFound("There is no such run, or none that you may see.")
        x, points = metric_of(asked["x"]), asked["points"]
        ends = asked.get("from", -math.inf), asked.get("to", math.inf)
        if x is None and not asked["group"]:
            raise ValidationError({"x": "Name a metric here, or a group: lines over steps and time are at /api/series/."})
        try:
            if asked["group"]:
                names = group_names(shown, asked["group"])
                axis = asked["x"] if x is None else "step"
                groups = group_lines(names, asked["tag"], points, asked["spread"], x or "", axis, *ends)
                return Response({"runs": [], "groups": [_group(one) for one in groups]})
            lines = run_lines([run.pk for run in shown], asked["tag"], x or "", points, *ends)
            return Response({"runs": [_run(one) for one in lines], "groups": []})
        except TooManyPoints as error:
            raise TooMuch(str(error)) from error

    def asked(self, request: Request) -> dict[str, Any]:
        """The query string, checked."""
        data: dict[str, Any] = {name: request.query_params[name] for name in request.query_params if name != "run"}
        form = Asked(data={**data, "run": request.query_params.getlist("run")})
        form.is_valid(raise_exception=True)
        found: dict[str, Any] = form.validated_data
        return {**found, "run": list(dict.fromkeys(found["run"]))}


def _run(line: RunLine) -> dict[str, Any]:
    return {"run": line.run, "at": plain_numbers(line.at), "values": plain_numbers(line.values), "path": line.path}


def _group(line: GroupLine) -> dict[str, Any]:
    band = line.band
    numbers = {name: plain_numbers(getattr(band, name)) for name in ("at", "mean", "low", "high")}
    return {"name": line.name, "runs": line.runs, **numbers, "count": band.count.tolist()}
