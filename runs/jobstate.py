"""A job as the TrainingProgressEvent that the socket, the stream and the API tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.utils.timezone import now

from runs.models import Job
from runs.models.run import Status
from runs.readers.progress import Stage

#: Our status -> the event's.  Lost and unknown are conclusions from silence: to its trainer it still runs.
WORDS = {
    Status.QUEUED: "queued", Status.RUNNING: "running", Status.FINISHED: "completed", Status.FAILED: "failed",
    Status.KILLED: "cancelled", Status.LOST: "running", Status.UNKNOWN: "running",
}  # fmt: skip
#: The stage of a job whose log named none of ours.
STAGES = {
    "queued": Stage.QUEUED, "running": Stage.TRAINING, "completed": Stage.COMPLETED, "failed": Stage.FAILED,
    "cancelled": Stage.CANCELLED,
}  # fmt: skip
ENDS = frozenset({"completed", "failed", "cancelled"})
_GPU = ("utilization", "memory_used", "memory_total", "temperature", "power_watts")
_BAR = ("id", "type", "label", "value", "total", "current")


def event(job: Job) -> dict[str, Any]:
    """How the job stands; what is not known is left out.  ``standing`` is our own word: lost, unknown, ..."""
    status = WORDS[Status(job.status)]
    said: dict[str, Any] = {
        "job_id": job.external_id,
        "status": status,
        "standing": job.status,
        "stage": _stage(job, status),
        "step": max(0, job.step or 0),
        "steps_total": max(0, job.total_steps or 0),
        "progress_pct": _percent(job),
        "message": job.message,
        "timestamp": (job.last_event or now()).isoformat(),
        "correlation_id": job.correlation_id or None,
        "loss": _finite(job.loss, 6),
        "lr": _finite(job.lr),
        "eta_seconds": _finite(job.eta_seconds, 1) if status == "running" else None,
        "iteration_speed": _finite(job.speed, 2),
        "gpu": _gpus(job.gpus),
        "progress_bar": _bar(job.bars),
        "error": job.error or None,
        "error_type": job.error_type or None,
        "error_stack": job.error_stack or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _stage(job: Job, status: str) -> str:
    if status in ENDS or job.stage not in {stage.value for stage in Stage}:
        return STAGES[status].value
    return job.stage


def _percent(job: Job) -> float:
    if job.status == Status.FINISHED:
        return 100.0
    if not job.total_steps or job.step is None:
        return 0.0
    return round(min(100.0, max(0.0, 100 * job.step / job.total_steps)), 2)


def _finite(value: float | None, digits: int | None = None) -> float | None:
    """JSON has no NaN; a number too small for the digits is not made nothing."""
    if value is None or not math.isfinite(value):
        return None
    rounded = value if digits is None else round(value, digits)
    return rounded if rounded or not value else value


def _gpus(gpus: Any) -> dict[str, Any] | list[dict[str, Any]] | None:
    """One as it is, several as a list."""
    told = [_picked(one, _GPU) for one in gpus if isinstance(one, Mapping)] if isinstance(gpus, list) else []
    return None if not told else told[0] if len(told) == 1 else told


def _bar(bars: Any) -> dict[str, Any] | None:
    """The bar that was said last."""
    if not isinstance(bars, Mapping) or not bars:
        return None
    name, bar = list(bars.items())[-1]
    return {"id": name, **_picked(bar, _BAR[1:])} if isinstance(bar, Mapping) else None


def _picked(found: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: found[name] for name in names if found.get(name) is not None}
