"""The registry's models, one file a noun (docs/architecture.md has the picture)."""

from runs.models.audit import AuditEntry
from runs.models.heartbeat import Heartbeat
from runs.models.job import Checkpoint, Event, EventId, Job, LogChunk
from runs.models.logfile import LogFile
from runs.models.note import Bookmark, Note, SavedView
from runs.models.run import Run, Segment, Transition
from runs.models.search import RunText
from runs.models.series import Sample, Series, SeriesChunk, SeriesTail, Tag, TextSummary
from runs.models.token import ApiToken
from runs.models.trainer import Dataset, Source, Trainer

__all__ = [
    "ApiToken",
    "AuditEntry",
    "Bookmark",
    "Checkpoint",
    "Dataset",
    "Event",
    "EventId",
    "Heartbeat",
    "Job",
    "LogChunk",
    "LogFile",
    "Note",
    "Run",
    "RunText",
    "Sample",
    "SavedView",
    "Segment",
    "Series",
    "SeriesChunk",
    "SeriesTail",
    "Source",
    "Tag",
    "TextSummary",
    "Trainer",
    "Transition",
]
