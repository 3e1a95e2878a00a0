"""The list of runs: the same question, order and columns as the page (runs/query)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from runs.api.base import ApiView
from runs.api.paging import link
from runs.api.shapes import allowed
from runs.models.run import Status
from runs.query import RunQuery
from runs.query.columns import DEFAULT, PLAIN
from runs.query.question import DEFAULT_SORT, LONGEST_PAGE, PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rest_framework.request import Request

    from runs.query import Column
    from runs.query.rows import BareRun


def _filter(name: str, says: str, kind: Any = str, *, many: bool = False, **more: Any) -> OpenApiParameter:
    if not many:
        return OpenApiParameter(name, kind, description=says, **more)
    return OpenApiParameter(name, kind, many=True, description=f"{says} May be given several times.", **more)


#: What a list can be narrowed by; a test compares it with the fields of RunQuery.
FILTERS = [
    _filter("trainer", "Slug of a trainer.", many=True),
    _filter("dataset", "Id of a dataset.", int, many=True),
    _filter("status", "Status; `stalled` is running without a step for longer than usual.", many=True,
            enum=[*Status.values, "stalled"]),
    _filter("q", "Words, each the beginning of one in the name, tags, notes, parameters or errors."),
    _filter("name", "Part of the name."),
    _filter("tag", "A tag that people gave; with several, all of them.", many=True),
    _filter("param", "A parameter compared with a value: `lr=0.1`, `opt.lr<1e-3`, `optimizer=adam`.", many=True),
    _filter("metric", "A metric compared with a number: `loss<0.5`, `min(eval/loss)<=1e-3`.", many=True),
    _filter("age", "By the newest file: thresholds in the settings.", enum=["fresh", "recent", "old", "unknown"]),
    _filter("newer", "Modified within this time: `12h`, `7d`."),
    _filter("older", "Not modified within this time: `30d`."),
    _filter("bookmarked", "Bookmarked by the caller, or by anybody who shares it.", enum=["mine", "shared"]),
    _filter("pinned", "Only pinned runs.", enum=["1"]),
    _filter("missing", "Only runs whose files are gone from disk.", enum=["1"]),
    _filter("demo", "Only demo runs (1), or none (0).", enum=["0", "1"]),
    _filter("run", "Id of a run.", int, many=True),
]
PAGING = [
    _filter("sort", f"A column's key, `min(…)`, `max(…)` or `last(…)` of a metric, or `param:…`; with - before it downwards. "
            f"Default `{DEFAULT_SORT}`."),
    _filter("column", f"Key of a column to tell, in this order: {', '.join(PLAIN)}, `last(…)`, `min(…)`, `max(…)` of a metric, "
            f"`param:…`. Default {', '.join(DEFAULT)}.", many=True),
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE},
                     description="Runs of a page."),
    _filter("after", "From `next`."),
    _filter("before", "From `previous`."),
]


class ColumnRow(serializers.Serializer):
    """A column of the list."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    kind = serializers.CharField(help_text="text, count, number, size (bytes), time, duration (seconds) ...")


class RunRow(serializers.Serializer):
    """A run in the list."""

    id = serializers.IntegerField()
    version = serializers.IntegerField(help_text="Rises with every change of the run.")
    url = serializers.CharField(help_text="Where all that is known of it is told.")
    values = serializers.DictField(child=serializers.JSONField(), help_text="By the columns' keys; null where there is nothing.")


class RunList(serializers.Serializer):
    """A page of runs."""

    columns = ColumnRow(many=True)
    sort = serializers.CharField(help_text="The order in force.")
    results = RunRow(many=True)
    next = serializers.CharField(allow_null=True, help_text="The page behind this one; null at the end.")
    previous = serializers.CharField(allow_null=True, help_text="The page before this one.")


class Totals(serializers.Serializer):
    """What all runs of a question come to."""

    runs = serializers.IntegerField()
    points = serializers.IntegerField()
    size = serializers.IntegerField(help_text="Bytes.")
    status = serializers.DictField(child=serializers.IntegerField(), help_text="How many have each status.")


def question(request: Request) -> RunQuery:
    """The question of a query string; what is wrong with it is told by parameter."""
    return allowed(RunQuery(request.query_params, request.user))


class Runs(ApiView):
    """Runs that the caller may see."""

    @extend_schema(operation_id="runs", parameters=[*FILTERS, *PAGING], responses=RunList)
    def get(self, request: Request) -> Response:
        """A page of runs, filtered, sorted and with the columns as on the page."""
        asked = question(request)
        page = asked.bare_page()
        columns = asked.columns
        return Response({
            "columns": [{"key": column.key, "label": column.label, "kind": column.kind} for column in columns],
            "sort": asked.sorted_by,
            "results": [_row(run, columns) for run in page.rows],
            "next": link(request, "after", page.after) if page.after else None,
            "previous": link(request, "before", page.before) if page.before else None,
        })


def _row(run: BareRun, columns: Iterable[Column]) -> dict[str, Any]:
    return {
        "id": run.pk,
        "version": run.version,
        "url": f"/api/runs/{run.pk}/",  # reverse() would take as long as all the rest of the row
        "values": {column.key: column.cell(run) for column in columns},
    }


class RunTotals(ApiView):
    """What runs come to."""

    @extend_schema(operation_id="runs_totals", parameters=FILTERS, responses=Totals)
    def get(self, request: Request) -> Response:
        """Over all pages of a question: how many runs, points and bytes, and how many of each status."""
        return Response(question(request).totals())
