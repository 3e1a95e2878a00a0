"""A job's log read with ``json``, one line at a time: the scalars in it, and its attempts."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from runs.reconcile.framing import Lost
from runs.reconcile.reference import PartFound, Reference

LONGEST_LINE = 16 * 1024 * 1024
LONG_LINE, MOST_VALUES = 1024 * 1024, 1_000_000
WINDOW, MOST_PARTS, MOST_GPUS = 64, 1_000, 64
STEPS = {"training.step", "job.progress"}
STARTS = {"training.start", "training.started", "generation.start", "run_started"}
ENDED = {"finished", "failed", "killed"}
STATUSES = {
    "pending": "queued", "queued": "queued", "created": "queued", "running": "running", "started": "running",
    "completed": "finished", "finished": "finished", "exited": "finished", "failed": "failed", "error": "failed",
    "cancelled": "killed", "canceled": "killed", "stopped": "killed", "killed": "killed", "stop_timeout": "killed",
}  # fmt: skip
VERBS = {
    "created": "queued", "queued": "queued", "start": "running", "started": "running", "complete": "finished",
    "completed": "finished", "failed": "failed", "cancelled": "killed", "canceled": "killed",
}  # fmt: skip
NO_SCALARS = {
    "step", "current_step", "global_step", "steps", "total", "total_steps", "steps_total", "progress",
    "progress_pct", "eta", "eta_seconds", "ts", "timestamp",
}  # fmt: skip
GPU_TAGS = {
    "gpu_utilization": "utilization", "gpu_memory_used": "memory_used", "gpu_memory_total": "memory_total",
    "gpu_temperature": "temperature", "gpu_power": "power_watts", "gpu_power_watts": "power_watts",
}  # fmt: skip

Values = list[tuple[str, float]]


@dataclass(slots=True)
class Job:
    """Where a job stands in its present attempt."""

    part: int = 0
    began: bool = False
    status: str | None = None
    step: int | None = None
    top: int | None = None
    windows: dict[str, deque[int]] = field(default_factory=dict)


@dataclass(slots=True)
class JobLog:
    """Reads lines into a reference.  Points of all but the first job carry their job's name."""

    found: Reference
    elsewhere: Callable[[str, int], bool] = lambda event_id, offset: False
    jobs: dict[str, Job] = field(default_factory=dict)

    def read(self, fd: int, stop: int) -> None:
        """All whole lines before ``stop``."""
        for offset, length, line in whole_lines(fd, 0, stop):
            record = "too large" if line is None else _record(line)
            if isinstance(record, str):
                self.found.lose(Lost(offset, length, record))
            elif record is not None:
                self._line(record, offset)
            self.found.pass_on_when_full()

    def _line(self, record: dict[str, Any], offset: int) -> None:
        self.found.records += 1
        if not self.found.parts:
            self.found.parts.append(PartFound(0, "start", offset))
        shape = _shape(record)
        fields = record.get("fields")
        event_id = _text(record.get("event_id") or (fields.get("event_id") if isinstance(fields, dict) else None), 200)
        if shape and not (event_id and self.elsewhere(event_id, offset)):
            self._entry(record, shape, offset)

    def _entry(self, record: dict[str, Any], shape: str, offset: int) -> None:
        fields = record if shape == "progress" else _fields(record)
        event = _text(record.get("event") or record.get("event_type"), 100)
        name = _text(record.get("job_id") or fields.get("job_id"), 200)
        job = self.jobs.setdefault(name, Job())
        values = _gpus(fields, record)
        if shape == "progress":
            status = STATUSES.get(_text(fields.get("status"), 40).lower())
            if job.status in ENDED and status not in ENDED:
                self._attempt(job, offset)
            job.status = status or job.status
            values = self._progress(job, fields, values)
        elif event in STEPS:
            job.status = "running" if job.status in (None, "queued") else job.status
            values = self._progress(job, fields, values)
        else:
            self._event(job, event, fields, offset)
        self._add(name, job, values, _seconds(record["ts"] if "ts" in record else record.get("timestamp")), offset)

    def _event(self, job: Job, event: str, fields: dict[str, Any], offset: int) -> None:
        status = _status(event, fields)
        starts = event in STARTS
        if starts and (job.began or job.top is not None) or job.status in ENDED and status == "running":
            self._attempt(job, offset)
        job.began = job.began or starts
        job.status = status or job.status

    def _progress(self, job: Job, fields: dict[str, Any], gpus: Values) -> Values:
        step = next((_whole(fields[key]) for key in ("step", "current_step", "global_step") if key in fields), None)
        job.step = job.step if step is None else step
        return [
            (f"gpu/0/{GPU_TAGS[key]}" if key in GPU_TAGS else _text(key, 255), _float(value))
            for key, value in fields.items() if type(value) in (int, float) and key not in NO_SCALARS
        ] + gpus

    def _add(self, name: str, job: Job, values: Values, wall: float, offset: int) -> None:
        if not values:
            return
        step = job.step or 0
        for tag, _ in values:
            window = job.windows.get(tag)
            if job.top is not None and step < job.top and window and step < min(window):
                self._begin_part(job, f"steps went back: {tag[:80]} at step {step}, before {min(window)}", offset)
                job.top = step
                break
        job.top = step if job.top is None else max(step, job.top)
        first = next(iter(self.jobs))
        for tag, value in values:
            job.windows.setdefault(tag, deque(maxlen=WINDOW)).append(step)
            named = tag if name == first else f"{name or 'other'}/{tag}"
            self.found.point(named, job.part, step, wall, "<f8", np.float64(value).tobytes())

    def _attempt(self, job: Job, offset: int) -> None:
        self._begin_part(job, "session", offset)
        job.began, job.step, job.top = False, None, None

    def _begin_part(self, job: Job, reason: str, offset: int) -> None:
        if len(self.found.parts) < MOST_PARTS:
            job.part = len(self.found.parts)
            job.windows = {}
            self.found.parts.append(PartFound(job.part, reason, offset))


def whole_lines(fd: int, start: int, stop: int) -> Iterator[tuple[int, int, bytes | None]]:
    """(offset, length, line without its end) of each line that ends by ``stop``; None is one too long."""
    with open(fd, "rb", closefd=False) as file:
        file.seek(start)
        offset = start
        while offset < stop:
            line = file.readline(LONGEST_LINE + 2)
            length, too_long = len(line), len(line.removesuffix(b"\n")) > LONGEST_LINE
            end = line
            while not end.endswith(b"\n") and too_long and (end := file.readline(LONG_LINE)):
                length += len(end)
            if not end.endswith(b"\n") or offset + length > stop:
                return
            yield offset, length, None if too_long else line[:-1]
            offset += length


def _record(line: bytes) -> dict[str, Any] | str | None:
    """The object on a line, None where it is empty, else how it is damaged."""
    if len(line) > LONG_LINE and sum(map(line.count, (b",", b"[", b"{"))) > MOST_VALUES:
        return "too large"
    line = line.removeprefix(b"\xef\xbb\xbf").strip()
    if not line:
        return None
    try:
        found = json.loads(line.decode("utf-8", "replace"), strict=False, parse_int=_integer)
    except (ValueError, RecursionError):
        return "not a record"
    return found if isinstance(found, dict) else "not a record"


def _integer(digits: str) -> int | float:
    """Python refuses an int of more than 4,300 digits."""
    return int(digits) if len(digits) < 400 else float(digits)


def _shape(record: dict[str, Any]) -> str:
    """Which of the four shapes of log lines it has, "" for none."""
    if "ts" in record and ("msg" in record or "event" in record):
        return "job log"
    if isinstance(record.get("event_type"), str) and isinstance(record.get("payload"), dict):
        return "lifecycle"
    if {"timestamp", "level", "message"} <= record.keys():
        return "service log" if "logger" in record or "service" in record else ""
    return "progress" if "job_id" in record and str(record.get("status")).lower() in STATUSES else ""


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("fields") or record.get("context") or record.get("payload")
    return found if isinstance(found, dict) else {}


def _status(event: str, fields: dict[str, Any]) -> str | None:
    """Our status that an event says."""
    group, _, verb = event.rpartition(".")
    if group in ("job", "training", "generation"):
        return "failed" if event == "job.error" else VERBS.get(verb)
    if event == "run_exited":
        return "failed" if fields.get("exit_code", fields.get("returncode")) else "finished"
    return {"run_started": "running", "run_stopped": "killed"}.get(event)


def _gpus(fields: dict[str, Any], record: dict[str, Any]) -> Values:
    listed = fields.get("gpu") or record.get("gpu")
    found = []
    for place, one in enumerate([listed] if isinstance(listed, dict) else listed if isinstance(listed, list) else []):
        if place >= MOST_GPUS or not isinstance(one, dict):
            continue
        index = _whole(one.get("index"))
        number = place if index is None or not 0 <= index < 1_000 else index
        found += [(f"gpu/{number}/{_text(key, 200)}", _float(value)) for key, value in one.items()
                  if type(value) in (int, float) and key != "index"]
    return found


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _whole(value: object) -> int | None:
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else None
    if type(value) is float and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return None


def _text(value: object, limit: int) -> str:
    """A string fit for PostgreSQL: NUL and lone surrogates become U+FFFD."""
    if not isinstance(value, str):
        return ""
    return value[:limit].replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _seconds(value: object) -> float:
    """Unix seconds of an ISO time, of seconds or of milliseconds; NaN where it is none."""
    if type(value) is str:
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return math.nan
    if type(value) not in (int, float) or not math.isfinite(_float(value)) or not 0 < value < 2**63:  # type: ignore[operator,arg-type]
        return math.nan
    seconds = float(value)  # type: ignore[arg-type]
    seconds = seconds / 1000 if seconds >= 1e11 else seconds
    return seconds if seconds < 253_402_300_800 else math.nan
