"""What was read of a run: its metrics, events, changes of status, attempts, files, texts; and metric names of all runs.

Rows go from the database into the answer as they are: the serializers here describe them.
Of what a file was read to several times (generations), the one that pages show is told.
``*_wall`` are Unix seconds exactly as the trainer wrote them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Exists, F, OuterRef
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from runs import masks
from runs.api.base import ApiView
from runs.api.details import visible_run
from runs.api.paging import NamePageQuery, PageQuery, page, page_of
from runs.api.shapes import Choices, Number
from runs.models import Event, LogFile, Run, Segment, Series, Tag, TextSummary, Transition
from runs.models.run import Status

if TYPE_CHECKING:
    from rest_framework.request import Request

SHOWN = {"generation": F("log_file__generation")}
#: Texts are up to 64 KB each.
MOST_TEXTS = 100


class MetricRow(serializers.Serializer):
    """A metric of a run, summed up."""

    tag = serializers.CharField(help_text="Its name.")
    count = serializers.IntegerField(help_text="Points.")
    first_step = serializers.IntegerField(allow_null=True)
    last_step = serializers.IntegerField(allow_null=True)
    last = Number(allow_null=True, help_text="The value with the latest wall time.")
    last_wall = Number(allow_null=True)
    minimum = Number(allow_null=True, help_text="Of the finite values.")
    maximum = Number(allow_null=True, help_text="Of the finite values.")
    nonfinite = serializers.IntegerField(help_text="Values that are NaN or infinite.")


class RunMetrics(ApiView):
    """The metrics of a run."""

    @extend_schema(operation_id="run_metrics", parameters=[NamePageQuery], responses=page_of(MetricRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of metrics with their last, lowest and highest values, by name."""
        asked, run = NamePageQuery.query(request), visible_run(request, pk)
        series = Series.objects.filter(run=run, tag__name__startswith=asked.get("prefix", ""))
        rows = series.annotate(name=F("tag__name")).values(
            "name", "count", "first_step", "last_step", "last", "last_wall", "minimum", "maximum", "nonfinite"
        )
        found = page(request, asked, rows, "name")
        return Response(found | {"results": [{"tag": row.pop("name")} | row for row in found["results"]]})


class TagRow(serializers.Serializer):
    """The name of a metric."""

    name = serializers.CharField()


class TagNames(ApiView):
    """The names of metrics."""

    @extend_schema(operation_id="tags", parameters=[NamePageQuery], responses=page_of(TagRow))
    def get(self, request: Request) -> Response:
        """A page of the metrics that runs of the caller have, by name."""
        asked = NamePageQuery.query(request)
        runs = Run.objects.visible_to(request.user).active()
        tags = Tag.objects.filter(Exists(Series.objects.filter(tag=OuterRef("pk"), run__in=runs)))
        if prefix := asked.get("prefix"):
            tags = tags.filter(name__startswith=prefix)
        return Response(page(request, asked, tags.values("name"), "name"))


class EventQuery(PageQuery):
    """Which events."""

    level = Choices(child=serializers.CharField(max_length=10), required=False, help_text="error, warning ...; several times.")
    kind = Choices(child=serializers.CharField(max_length=100), required=False, help_text="Of the event; several times.")


class EventRow(serializers.Serializer):
    """A line of a log that changed something."""

    id = serializers.IntegerField()
    job = serializers.CharField(allow_null=True, help_text="The job's own id.")
    at = serializers.DateTimeField(allow_null=True)
    level = serializers.CharField()
    kind = serializers.CharField()
    message = serializers.CharField()
    fields = serializers.DictField(child=serializers.JSONField())  # type: ignore[assignment]


class RunEvents(ApiView):
    """The events of a run."""

    @extend_schema(operation_id="run_events", parameters=[EventQuery], responses=page_of(EventRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of events, in the order in which they were read."""
        asked, run = EventQuery.query(request), visible_run(request, pk)
        events = Event.objects.filter(run=run, **SHOWN)
        for name in ("level", "kind"):
            if chosen := asked.get(name):
                events = events.filter(**{f"{name}__in": chosen})
        rows = events.values("id", "at", "level", "kind", "message", "fields").annotate(job=F("job__external_id"))
        return Response(page(request, asked, rows))


class TransitionRow(serializers.Serializer):
    """A change of status, of the run or of a job of it."""

    id = serializers.IntegerField()
    job = serializers.CharField(allow_null=True, help_text="The job's own id; null for the run itself.")
    old = serializers.ChoiceField(Status.choices)
    new = serializers.ChoiceField(Status.choices)
    reason = serializers.CharField()
    evidence = serializers.DictField(child=serializers.JSONField())
    at = serializers.DateTimeField(help_text="By the data.")
    seen = serializers.DateTimeField(help_text="When trainmon learned of it.")


class RunTransitions(ApiView):
    """The changes of status."""

    @extend_schema(operation_id="run_transitions", parameters=[PageQuery], responses=page_of(TransitionRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of changes of status, in the order in which they were seen."""
        asked, run = PageQuery.query(request), visible_run(request, pk)
        rows = Transition.objects.filter(run=run).values("id", "old", "new", "reason", "evidence", "at", "seen")
        return Response(page(request, asked, rows.annotate(job=F("job__external_id"))))


class SegmentRow(serializers.Serializer):
    """One attempt in one file: an interval that was really trained."""

    id = serializers.IntegerField()
    file = serializers.IntegerField(help_text="The file's id.")
    part = serializers.IntegerField()
    reason = serializers.CharField(help_text="Why it began.")
    first_step = serializers.IntegerField(allow_null=True)
    last_step = serializers.IntegerField(allow_null=True)
    first_wall = Number(allow_null=True)
    last_wall = Number(allow_null=True)


class RunSegments(ApiView):
    """The attempts that a run is made of."""

    @extend_schema(operation_id="run_segments", parameters=[PageQuery], responses=page_of(SegmentRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of attempts."""
        asked, run = PageQuery.query(request), visible_run(request, pk)
        rows = Segment.objects.filter(run=run, **SHOWN).annotate(file=F("log_file_id"))
        return Response(page(request, asked, rows.values(
            "id", "file", "part", "reason", "first_step", "last_step", "first_wall", "last_wall"
        )))


class FileRow(serializers.Serializer):
    """A log file of a run, how far it was read, and what was damaged in it."""

    id = serializers.IntegerField()
    path = serializers.CharField(help_text="Below the source's root; what is not UTF-8 is escaped.")
    prefix = serializers.CharField(help_text="Of the tags of a part of the run, as eval/.")
    kind = serializers.ChoiceField(LogFile.Kind.choices)
    size = serializers.IntegerField()
    modified = serializers.DateTimeField(allow_null=True)
    offset = serializers.IntegerField(help_text="Bytes read.")
    records = serializers.IntegerField()
    points = serializers.IntegerField()
    bad_records = serializers.IntegerField()
    lost_bytes = serializers.IntegerField()
    damages = serializers.ListField(child=serializers.JSONField(), help_text="The first 100: offset, length, kind, detail.")
    pending = serializers.JSONField(help_text="Bytes at its end that are no record so far.")
    error = serializers.CharField(help_text="Why it cannot be read further.")
    missing = serializers.BooleanField()
    first_wall = Number(allow_null=True)
    last_wall = Number(allow_null=True)


class RunFiles(ApiView):
    """The files of a run."""

    @extend_schema(operation_id="run_files", parameters=[PageQuery], responses=page_of(FileRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of log files with their damage."""
        asked, run = PageQuery.query(request), visible_run(request, pk)
        found = page(request, asked, LogFile.objects.filter(run=run).values(
            "id", "path", "prefix", "kind", "size", "mtime_ns", "offset", "records", "points", "bad_records",
            "lost_bytes", "damages", "pending", "error", "missing", "first_wall", "last_wall",
        ))
        return Response(found | {"results": [_file(row) for row in found["results"]]})


def _file(row: dict[str, Any]) -> dict[str, Any]:
    seconds = row.pop("mtime_ns") / 1e9
    try:
        modified = datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        modified = None
    return row | {"modified": modified, "prefix": masks.path(row["prefix"])}


class TextQuery(PageQuery):
    """Which texts."""

    limit = serializers.IntegerField(
        min_value=1, max_value=MOST_TEXTS, default=20, help_text=f"Rows of a page, at most {MOST_TEXTS}."
    )
    tag = Choices(child=serializers.CharField(trim_whitespace=False), required=False, help_text="Its name; several times.")


class TextRow(serializers.Serializer):
    """A text that the trainer logged."""

    id = serializers.IntegerField()
    tag = serializers.CharField()
    step = serializers.IntegerField()
    wall = Number()
    text = serializers.CharField()
    truncated = serializers.BooleanField(help_text="Whether it was longer than 64 KB.")


class RunTexts(ApiView):
    """The texts of a run."""

    @extend_schema(operation_id="run_texts", parameters=[TextQuery], responses=page_of(TextRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of logged texts."""
        asked, run = TextQuery.query(request), visible_run(request, pk)
        texts = TextSummary.objects.filter(run=run, **SHOWN)
        if chosen := asked.get("tag"):
            texts = texts.filter(tag__in=chosen)
        return Response(page(request, asked, texts.values("id", "tag", "step", "wall", "text", "truncated")))
