"""The registry's models, one file a noun (docs/architecture.md has the picture)."""

from runs.models.job import Event, Job
from runs.models.logfile import LogFile
from runs.models.run import Run, Segment, Transition
from runs.models.series import Sample, Series, SeriesChunk, SeriesTail, Tag, TextSummary
from runs.models.trainer import Dataset, Source, Trainer

__all__ = [
    "Dataset",
    "Event",
    "Job",
    "LogFile",
    "Run",
    "Sample",
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
