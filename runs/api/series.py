"""What runs measured, as points: /api/series/."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from django import forms
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request

from runs import newer
from runs.api.base import ApiView, unless_known
from runs.api.problems import TooMuch
from runs.charts import spans_of
from runs.curves import Curves, View, curves
from runs.memory import give_back
from runs.models import Run, Series
from runs.packing import BINARY_TYPE, JSON_TYPE, as_binary, as_json, finite, rows_of
from runs.snapshot import snapshot

MAX_RUNS, MAX_TAGS = 20, 50
POINTS = range(10, 10_001)
#: Rows that one answer holds at most, by its format.
MAX_ROWS = {"json": 200_000, "binary": 1_000_000}
#: Raised with each change of what is answered to the same question.
EDITION = 2
AXES = ("step", "wall", "relative")


class Several(forms.Field):
    """A parameter that is repeated: ``run=1&run=2``."""

    widget = forms.MultipleHiddenInput

    def __init__(self, one: forms.Field, most: int) -> None:
        super().__init__()
        self.one, self.most = one, most

    def clean(self, value: list[str] | None) -> list[Any]:
        """Each value once."""
        values = list(dict.fromkeys(super().clean(value)))
        if len(values) > self.most:
            raise forms.ValidationError(f"{len(values)} are too many for one request: at most {self.most}.")
        return [self.one.clean(one) for one in values]


class SeriesQuery(forms.Form):
    """The query string: which runs, which tags, what of them, how."""

    run = Several(forms.IntegerField(min_value=1, max_value=2**63 - 1), MAX_RUNS)
    # a metric may be called nothing at all
    tag = Several(forms.CharField(max_length=2000, strip=False, required=False), MAX_TAGS)
    points = forms.CharField(max_length=10, required=False)
    axis = forms.ChoiceField(choices=[(axis, axis) for axis in AXES], required=False)
    format = forms.ChoiceField(choices=[(name, name) for name in MAX_ROWS], required=False)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.fields |= {"from": forms.FloatField(required=False), "to": forms.FloatField(required=False)}

    def clean_points(self) -> int | None:
        """A number of points, None for all."""
        said = self.cleaned_data["points"] or "1000"
        if said == "full":
            return None
        if not (said.isascii() and said.isdigit() and int(said) in POINTS):
            raise forms.ValidationError(f"A number from {POINTS[0]} to {POINTS[-1]}, or full.")
        return int(said)

    def clean(self) -> dict[str, Any]:
        """A range begins before it ends."""
        asked = self.cleaned_data
        low, high = asked.get("from"), asked.get("to")
        if low is not None and high is not None and low > high:
            self.add_error("to", "Lies before from.")
        return asked

    @property
    def view(self) -> View:
        """What of the series is looked at."""
        asked = self.cleaned_data
        low = -math.inf if asked["from"] is None else asked["from"]
        high = math.inf if asked["to"] is None else asked["to"]
        return View(asked["axis"] or "step", low, high, asked["points"])


class SeriesView(ApiView):
    """Points of several tags of several runs."""

    @extend_schema(
        operation_id="series",
        parameters=[
            OpenApiParameter("run", OpenApiTypes.INT64, many=True, required=True, description="At most 20."),
            OpenApiParameter("tag", str, many=True, required=True, description="At most 50."),
            OpenApiParameter("points", str, description="10 to 10000 (1000), or full."),
            OpenApiParameter("from", float, description="Where the range on the axis begins."),
            OpenApiParameter("to", float, description="Where it ends."),
            OpenApiParameter("axis", str, enum=AXES, description="What from, to and thinning refer to."),
            OpenApiParameter("format", str, enum=tuple(MAX_ROWS)),
        ],
        responses={(200, JSON_TYPE): OpenApiTypes.OBJECT, (200, BINARY_TYPE): OpenApiTypes.BINARY,
                   304: OpenApiResponse(description="Nothing has changed since the ETag that was sent.")},
    )
    def get(self, request: Request) -> HttpResponse:
        """Thinned so that no spike is lost, or in full; docs/api.md, "Series"."""
        form = SeriesQuery(request.GET)
        if not form.is_valid():
            raise ValidationError({name: [str(one) for one in errors] for name, errors in form.errors.items()})
        runs = _runs(request, form.cleaned_data["run"])
        kind = form.cleaned_data["format"] or "json"
        answer = HttpResponse(content_type=JSON_TYPE if kind == "json" else BINARY_TYPE)
        answer.headers["Cache-Control"] = "private, no-cache"
        answer.headers["ETag"] = _etag(runs, request)
        if (known := unless_known(request._request, answer)) is not answer:
            return known
        with snapshot():  # the place of a series is where its points, as they are told, end
            answer.content = _body(runs, form.cleaned_data["tag"], form.view, kind)
        return answer


def _runs(request: Request, ids: list[int]) -> list[Run]:
    """These runs, in this order; 404 unless all may be seen."""
    runs = Run.objects.visible_to(request.user).filter(pk__in=ids).only("pk", "version", "name").in_bulk()
    if missing := [pk for pk in ids if pk not in runs]:
        raise NotFound(f"There is no run {missing[0]}, or none that you may see.")
    return [runs[pk] for pk in ids]


def _etag(runs: Iterable[Run], request: Request) -> str:
    """Of the question and the versions of its runs: nothing is decoded to find that nothing changed."""
    said = f"{EDITION} {[(run.pk, run.version) for run in runs]} {request.META.get('QUERY_STRING', '')}"
    return f'W/"{blake2b(said.encode(), digest_size=12).hexdigest()}"'


def _body(runs: list[Run], tags: list[str], view: View, kind: str) -> bytes:
    places = {run.pk: place for place, run in enumerate(runs)}, {tag: place for place, tag in enumerate(tags)}
    series = list(Series.objects.filter(run__in=runs, tag__name__in=tags).select_related("tag").order_by())
    series.sort(key=lambda one: (places[0][one.run_id], places[1][one.tag.name]))
    head = {"axis": view.axis, "points": view.points, "from": finite(view.low), "to": finite(view.high),
            "runs": [{"id": run.pk, "name": run.name, "version": run.version} for run in runs]}
    # what is asked for in full is never coarse: it is refused beyond what an answer holds
    budget = {} if view.points else {"budget": MAX_ROWS[kind]}
    ends = newer.places(series)
    drawn = (replace(one, place=ends.get(one.series.pk)) for one in curves(series, spans_of(places[0]), view, **budget))
    made = _bounded(drawn, view, MAX_ROWS[kind])
    answer = (as_json if kind == "json" else as_binary)(head, made)
    give_back(series)
    return answer


def _bounded(found: Iterable[Curves], view: View, most: int) -> Iterator[Curves]:
    """Pass on what fits into one answer; beyond it, say what to narrow."""
    rows = 0
    for one in found:
        rows += rows_of(one)
        if rows > most or (one.coarse and view.points is None):
            raise TooMuch(
                f"The answer would hold more than {most:,} points: ask for fewer runs or tags, for a range (from, to), "
                "for fewer points, in the format binary (which takes more), or for the export of a run."
            )
        yield one
