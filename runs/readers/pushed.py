"""What may be pushed: batches of log records, each with an id of its own, and their JSON Schema.

The records are those of a job's log (joblog.py) in three shapes: job log (``ts``, ``msg``),
service log (``timestamp``, ``message``) and progress (a TrainingProgressEvent).  They are checked
here, before a trainer hears that they were taken; a file that was never pushed is read with
patience instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from runs.readers import plain
from runs.readers.progress import JobId, TrainingProgressEvent

#: Records of a batch, bytes of a record as JSON, and how deep one may be nested.
MAX_RECORDS, MAX_RECORD_BYTES, MAX_DEPTH = 1_000, 256 * 1024, 20

EventId: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="Unlike that of any other event of the trainer, and the same "
              "whenever this event is sent again: it is counted once.")
]  # fmt: skip
Time: TypeAlias = Annotated[str, Meta(max_length=40, description="ISO 8601 with a zone: 2026-11-25T18:22:26.512Z")]
Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL"]
Name: TypeAlias = Annotated[str, Meta(max_length=100)]
CorrelationId: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
Run: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=500, description="The run, as name or dataset/name. Without it each job is a run.")
]


class JobRecord(Struct, kw_only=True):
    """A line of a job's log."""

    event_id: EventId
    ts: Time
    level: Level
    job_id: JobId
    msg: str
    service: Name = ""
    correlation_id: CorrelationId | None = None
    event: Annotated[str, Meta(max_length=100, examples=["training.start", "training.step", "training.complete"])] | None = None
    fields: dict[str, Any] | None = None


class ServiceRecord(Struct, kw_only=True):
    """A line of a service's log."""

    event_id: EventId
    timestamp: Time
    level: Level
    service: Name
    job_id: JobId
    message: str
    logger: Name = ""
    correlation_id: CorrelationId | None = None
    event: Name | None = None
    context: dict[str, Any] | None = None
    exception: Any = None


class ProgressRecord(TrainingProgressEvent, kw_only=True):
    """How a training job stands: a TrainingProgressEvent."""

    event_id: EventId


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a record is not taken: the field, what is wrong with it, and the way out."""

    field: str
    error: str
    hint: str


_WAYS_OUT = {
    "event_id": "Give each event an id of its own (1 to 128 of A-Z a-z 0-9 _ . : -) and keep it when you send it again.",
    "ts": "Write the time as ISO 8601 with its zone, e.g. 2026-11-25T18:22:26.512Z.",
    "level": "Use DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    "job_id": "Name the job by letters, digits, _ and -, at most 200.",
    "msg": "Give a text; it may be empty.",
    "fields": "Give an object with what the event says besides, or leave it out.",
    "status": "Use queued, running, completed, failed or cancelled.",
    "correlation_id": "Use 1 to 128 of A-Z a-z 0-9 _ . : -, or leave it out.",
}
_WAYS_OUT |= {"timestamp": _WAYS_OUT["ts"], "message": _WAYS_OUT["msg"], "context": _WAYS_OUT["fields"]}
_SCHEMA = "The schema at /api/ingest/schema/ tells what a record holds."


def wrong_with(record: object) -> Wrong | None:
    """Why a decoded record is not taken; None where it is."""
    if not isinstance(record, dict):
        return Wrong("", "This is no object.", _SCHEMA)
    if _too_deep(record, MAX_DEPTH):
        return Wrong("", f"It is nested deeper than {MAX_DEPTH} levels.", "Flatten it, or leave the deep part out.")
    if len(json.dumps(record, ensure_ascii=False)) > MAX_RECORD_BYTES:
        said = f"It is larger than {MAX_RECORD_BYTES // 1024} KiB."
        return Wrong("", said, "Shorten its texts, or ship the log as a file by /api/ingest/files/.")
    kind = kind_of(record)
    try:
        msgspec.convert(record, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        said, _, where = str(error).partition(" - at `$")
        field = where.strip("`.").partition(".")[0] or said.rpartition("missing required field `")[2].strip("`")
        field = field if field.isidentifier() else ""
        return Wrong(field, f"{said}.", _WAYS_OUT.get(field, _SCHEMA))
    for name in ("event_id", "job_id", "correlation_id"):
        if str(record.get(name)).endswith("\n"):  # a pattern's $ lets one pass
            return Wrong(name, "It ends with a line break.", _WAYS_OUT[name])
    at = "ts" if kind is JobRecord else "timestamp"
    return None if plain.seconds(record[at]) is not None else Wrong(at, "This is no time.", _WAYS_OUT[at])


def kind_of(record: dict[str, Any]) -> type[Struct]:
    """Which of the three shapes a record is meant to have."""
    if "ts" in record:
        return JobRecord
    if "status" in record:
        return ProgressRecord
    return ServiceRecord if "timestamp" in record else JobRecord


def _too_deep(value: Any, left: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return left == 0 or any(_too_deep(one, left - 1) for one in inner)
    return False


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a batch."""
    template = "#/$defs/{name}"
    kinds = [JobRecord, ServiceRecord, ProgressRecord]
    records, parts = msgspec.json.schema_components(kinds, ref_template=template)
    (run, job), more = msgspec.json.schema_components([Run, JobId], ref_template=template)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A batch of events for POST /api/ingest/events/",
        "type": "object",
        "properties": {
            "run": run,
            "events": {"type": "array", "maxItems": MAX_RECORDS, "items": {"$ref": template.format(name="Record")}},
            "jobs": {"type": "array", "maxItems": 100, "items": job, "description": "Jobs to ask about besides: shall they end?"},
        },
        "additionalProperties": False,
        "$defs": {"Record": {"anyOf": list(records)}, **parts, **more},
    }
