"""The words of jobs: statuses, the twelve stages, and the TrainingProgressEvent.

The event is Isengard's, in its latest form (packages/shared/src/events.py): fields that
are None are not written.  Readers do not validate against it (a log line is read for what
it holds); it is what we publish, accept and send.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct


class Stage(str, Enum):
    """What a training job is doing, in the usual order."""

    QUEUED = "queued"
    INITIALIZING = "initializing"
    LOADING_MODEL = "loading_model"
    PREPARING_DATASET = "preparing_dataset"
    CAPTIONING = "captioning"
    TRAINING = "training"
    SAMPLING = "sampling"
    SAVING_CHECKPOINT = "saving_checkpoint"
    EXPORTING = "exporting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A source's own word -> our status.
STATUSES = {
    "pending": "queued", "queued": "queued", "created": "queued",
    "running": "running", "started": "running",
    "completed": "finished", "finished": "finished", "exited": "finished",
    "failed": "failed", "error": "failed",
    "cancelled": "killed", "canceled": "killed", "stopped": "killed", "killed": "killed",
    "stop_timeout": "killed",
}  # fmt: skip
ENDED = frozenset({"finished", "failed", "killed"})
_NEXT = {
    "queued": frozenset({"running", "failed", "killed"}),
    "running": ENDED | {"lost", "unknown"},
}


def legal(old: str | None, new: str, *, resumed: bool = False) -> bool:
    """Whether a job may go from ``old`` to ``new`` (our statuses; None: not seen yet).

    queued -> running -> finished, failed or killed; a queued job may also fail or be killed.
    An ended job runs again only where it was ``resumed``: its log holds a new start record.
    What silence concluded (lost, unknown) any word of the job overrides.
    """
    if old is None or old == new or old in ("lost", "unknown"):
        return True
    if old in ENDED:
        return resumed and new == "running"
    return new in _NEXT.get(old, frozenset())


class Gpu(Struct, omit_defaults=True):
    """One GPU: utilization in %, memory in GB, temperature in C, power in W."""

    utilization: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    temperature: float | None = None
    power_watts: float | None = None


class ProgressBar(Struct, omit_defaults=True):
    """A bar that log views update in place; ``value`` is 0 to 100."""

    id: str
    type: Literal["stage", "training", "download", "upload", "sample", "checkpoint"] | None = None
    label: str | None = None
    value: Annotated[float, Meta(ge=0, le=100)] | None = None
    total: int | None = None
    current: int | None = None


JobId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]+$", max_length=200)]
Steps = Annotated[int, Meta(ge=0)]


class TrainingProgressEvent(Struct, omit_defaults=True, kw_only=True):
    """How a training job stands.  ``eta_seconds`` in s, ``iteration_speed`` in it/s."""

    job_id: JobId
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    stage: Stage
    step: Steps
    steps_total: Steps
    progress_pct: Annotated[float, Meta(ge=0, le=100)]
    message: str
    timestamp: Annotated[str, Meta(description="ISO 8601 with a zone")]
    correlation_id: str | None = None
    loss: float | None = None
    lr: float | None = None
    eta_seconds: float | None = None
    iteration_speed: float | None = None
    gpu: Gpu | list[Gpu] | None = None
    progress_bar: ProgressBar | None = None
    sample_path: str | None = None
    checkpoint_path: str | None = None
    error: str | None = None
    error_type: str | None = None
    error_stack: str | None = None


def schema() -> dict[str, Any]:
    """The JSON Schema of TrainingProgressEvent."""
    return msgspec.json.schema(TrainingProgressEvent)
