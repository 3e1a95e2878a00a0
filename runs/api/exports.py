"""Downloads: all runs of a question, all points of a run; streamed, whatever their size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.http import HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404
from django.utils.timezone import now
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError

from runs.api.base import ApiView
from runs.api.listing import FILTERS, PAGING
from runs.api.shapes import allowed
from runs.exports import runs_as_csv, runs_as_json, runs_as_ndjson, series_as_csv, series_as_json, series_as_ndjson
from runs.models import Run
from runs.parquet import series_as_parquet
from runs.query import RunQuery
from runs.streamed import Download
from runs.unsampled import blocks, tags_of, types_of

if TYPE_CHECKING:
    from rest_framework.request import Request

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
RUNS = {"csv": runs_as_csv, "json": runs_as_json, "ndjson": runs_as_ndjson}
SERIES = {"csv": series_as_csv, "json": series_as_json, "ndjson": series_as_ndjson}
#: Tags that one request may name.
MOST_TAGS = 200


def _answers(*kinds: str) -> dict[tuple[int, str], Any]:
    return {(200, MEDIA[kind].split(";")[0]): OpenApiTypes.ANY if kind == "json" else OpenApiTypes.BINARY for kind in kinds}


def _format(request: Request, *kinds: str) -> str:
    """The format asked for by ``as``."""
    kind = request.query_params.get("as", "csv")
    if kind not in kinds:
        raise ValidationError({"as": [f"There is no such format. Choose {', '.join(kinds)}."]})
    return kind


class RunExport(ApiView):
    """Runs as a file."""

    conditional = False

    @extend_schema(
        operation_id="runs_export",
        parameters=[OpenApiParameter("as", str, enum=list(RUNS), default="csv"), *FILTERS,
                    *(one for one in PAGING if one.name in ("sort", "column"))],
        responses=_answers(*RUNS),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """All runs of a question, in its order, with its columns; docs/api.md, "Exports"."""
        kind = _format(request, *RUNS)
        asked = _question(request)
        made = RUNS[kind](asked.iterate(), asked.columns)
        return Download(made, f"runs-{now():%Y%m%d-%H%M%S}.{kind}", MEDIA[kind])


def _question(request: Request) -> RunQuery:
    """The run query beside ``as``; where a page begins and ends means nothing here."""
    query: QueryDict = request.query_params.copy()
    for name in ("as", "limit", "after", "before", "page"):
        query.pop(name, None)
    return allowed(RunQuery(query, request.user))


class TagsAsked(forms.Form):
    """The tags of a query string: each is one of the run's."""

    def __init__(self, run: Run, data: QueryDict) -> None:
        super().__init__(data)
        names = tags_of(run) if "tag" in data else []
        wrong = {"invalid_choice": "The run has no tag “%(value)s”. Leave tag out for all of them."}
        self.fields["tag"] = forms.MultipleChoiceField(
            choices=[(name, name) for name in names], required=False, error_messages=wrong
        )

    def clean_tag(self) -> list[str]:
        """Each once, and not too many."""
        tags = list(dict.fromkeys(self.cleaned_data["tag"]))
        if len(tags) > MOST_TAGS:
            raise forms.ValidationError(f"At most {MOST_TAGS} tags in one request; without any, all are exported.")
        return tags


class SeriesExport(ApiView):
    """The points of a run as a file."""

    conditional = False

    @extend_schema(
        operation_id="run_export",
        parameters=[OpenApiParameter("as", str, enum=[*SERIES, "parquet"], default="csv"),
                    OpenApiParameter("tag", str, many=True, description="A metric; all of them where none is named.")],
        responses=_answers(*SERIES, "parquet"),
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Every point, as it was written; docs/api.md, "Exports"."""
        run = get_object_or_404(Run.objects.visible_to(request.user).only("pk", "name"), pk=pk)
        kind = _format(request, *SERIES, "parquet")
        form = TagsAsked(run, request.query_params)
        if not form.is_valid():
            raise ValidationError({name: [str(one) for one in told] for name, told in form.errors.items()})
        tags = form.cleaned_data["tag"]
        points = blocks(run, tags)
        made = SERIES[kind](run, points) if kind in SERIES else series_as_parquet(run, points, types_of(run, tags))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name)[:80].strip("-.")
        return Download(made, f"run-{run.pk}-{name or 'series'}.{kind}", MEDIA[kind])
