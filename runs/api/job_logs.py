"""A job's log: whole as a download, and by pages of filtered lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from runs import loglines
from runs.api.base import ApiView
from runs.api.jobs import NAME, SEVERAL, find
from runs.api.shapes import Strict
from runs.filenames import file_name
from runs.streamed import Download

if TYPE_CHECKING:
    from rest_framework.request import Request

    from runs.models import Job

NDJSON = "application/x-ndjson"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MOST_LINES = 1000


class StreamQuery(Strict):
    """Which file of a job's log."""

    stream = serializers.IntegerField(
        min_value=1, max_value=2**62, required=False, help_text="Id of one of its files (`streams`); all where none is named."
    )


class LineQuery(StreamQuery):
    """Which lines: all filters count before the page is cut."""

    level = serializers.CharField(max_length=10, default="", allow_blank=True, help_text="WARN is WARNING.")
    event = serializers.CharField(max_length=100, default="", allow_blank=True, help_text="Name of an event, `training.step`.")
    search = serializers.CharField(
        max_length=200, default="", allow_blank=True, trim_whitespace=False, help_text="A text that the line holds, in any case."
    )
    error_type = serializers.CharField(
        max_length=200, default="", allow_blank=True, help_text="Lines that tell an error of just this type, in any case."
    )
    offset = serializers.IntegerField(min_value=0, max_value=10**12, default=0, help_text="Fitting lines to pass over.")
    limit = serializers.IntegerField(min_value=1, max_value=MOST_LINES, default=100, help_text="Lines of a page.")
    tail = serializers.BooleanField(default=False, help_text="From the end on, the newest first.")


class LineRow(serializers.Serializer):
    """A line of a log."""

    line = serializers.IntegerField(help_text="Its number in the log, from 1 on.")
    timestamp = serializers.DateTimeField(allow_null=True)
    level = serializers.CharField()
    message = serializers.CharField()
    event = serializers.CharField()
    fields = serializers.DictField(child=serializers.JSONField())  # type: ignore[assignment]


class StreamRow(serializers.Serializer):
    """A file of a job's log."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.CharField()
    lines = serializers.IntegerField()


class LogView(serializers.Serializer):
    """A page of a log."""

    job_id = serializers.CharField()
    entries = LineRow(many=True)
    total_lines = serializers.IntegerField(help_text="That fit the filters.")
    has_more = serializers.BooleanField()
    complete = serializers.BooleanField(help_text="False where a search took too long and was stopped: ask for more with offset.")
    streams = StreamRow(many=True)
    lines_dropped = serializers.DateTimeField(allow_null=True, help_text="When lines were dropped, being old; else null.")


class JobLog(ApiView):
    """A job's log."""

    conditional = False

    @extend_schema(operation_id="job_logs", parameters=[NAME, StreamQuery],
                   responses={(200, NDJSON): OpenApiTypes.STR, **SEVERAL})  # fmt: skip
    def get(self, request: Request, job: str) -> HttpResponseBase:
        """All lines that are kept, as they were written but for secrets: JSON lines, as a file."""
        asked, found = StreamQuery.query(request), find(request, job)
        lines = loglines.download(found, stream=_stream(found, asked))
        return Download(lines, f"{file_name(found.external_id)}.jsonl", NDJSON)


class JobLogView(ApiView):
    """A job's log by pages."""

    @extend_schema(operation_id="job_logs_view", parameters=[NAME, LineQuery], responses={200: LogView, **SEVERAL})
    def get(self, request: Request, job: str) -> Response:
        """Lines by level, event and text; no log is no error: there are no lines then."""
        asked, found = LineQuery.query(request), find(request, job)
        stream = _stream(found, asked)
        page = loglines.view(found, **{**{name: asked[name] for name in FILTERS}, "stream": stream})
        return Response({
            "job_id": found.external_id,
            "entries": page.entries[::-1] if asked["tail"] else page.entries,
            "total_lines": page.total,
            "has_more": page.has_more,
            "complete": page.complete,
            "streams": [one._asdict() for one in loglines.streams(found)],
            "lines_dropped": found.lines_dropped,
        })


FILTERS = ("level", "event", "search", "error_type", "offset", "limit", "tail")


def _stream(job: Job, asked: dict[str, Any]) -> int | None:
    """The file asked for, which must be one of the job's."""
    stream: int | None = asked.get("stream")
    if stream is not None and stream not in {one.id for one in loglines.streams(job)}:
        raise ValidationError({"stream": ["The job's log has no such file: `streams` of its view names them."]})
    return stream
