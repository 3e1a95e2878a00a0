"""Rows for tests: each function makes one thing with sensible defaults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from django.utils.timezone import now

from runs.chunks import CHUNK_POINTS, pack, summarize
from runs.models import (
    Checkpoint,
    Dataset,
    Event,
    Job,
    LogFile,
    Note,
    Run,
    Sample,
    Segment,
    Series,
    SeriesChunk,
    SeriesTail,
    Source,
    Tag,
    TextSummary,
    Trainer,
    Transition,
)

_number = count(1)


def make_user(name: str, *roles: str, **fields: Any) -> User:
    """A user with the password ``password`` and these groups."""
    user = User.objects.create(username=name, password=hashed(), **fields)
    for role in roles:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    return User.objects.get(pk=user.pk)


@cache
def hashed() -> str:
    """The hash of ``password``, once: hashing is slow on purpose."""
    return make_password("password")


def make_trainer(slug: str = "lora", *groups: str, **fields: Any) -> Trainer:
    """A trainer, seen by these groups (by all where none is named)."""
    trainer, _ = Trainer.objects.get_or_create(slug=slug, defaults={"name": slug, **fields})
    trainer.groups.add(*(Group.objects.get_or_create(name=group)[0] for group in groups))
    return trainer


def make_source(trainer: Trainer | None = None, **fields: Any) -> Source:
    """A source that was synced a moment ago."""
    defaults = {"root": f"/logs/{next(_number)}", "status": Source.Status.OK, "last_synced": now()}
    return Source.objects.create(trainer=trainer or make_trainer(), **{**defaults, **fields})


def make_run(source: Source | None = None, *, name: str = "", dataset: str = "", **fields: Any) -> Run:
    """A run of an hour that ended just now; times follow ``started`` where it is given."""
    source = source or Source.objects.first() or make_source()
    name = name or f"run-{next(_number)}"
    started = fields.pop("started", now() - timedelta(hours=1))
    ended = (started + timedelta(hours=1)) if started else None
    defaults: dict[str, Any] = {
        "name": name,
        "path": fields.pop("path", name.encode()[:200] + b"-%d" % next(_number)),
        "status": "finished",
        "started": started,
        "last_event": ended,
        "last_arrival": ended,
        "modified": ended,
    }
    if dataset:
        defaults["dataset"] = Dataset.objects.get_or_create(trainer=source.trainer, name=dataset)[0]
    return Run.objects.create(source=source, **{**defaults, **fields})


def make_file(run: Run, name: str = "", **fields: Any) -> LogFile:
    """A log file of a run."""
    path = f"{run.pk}/{name or f'events.out.tfevents.1700000000.host.{next(_number)}.0'}".encode()
    return LogFile.objects.create(source=run.source, run=run, **{"path": path, "kind": "events", **fields})


def make_full_run(source: Source, **fields: Any) -> Run:
    """A run with something in every section of every tab."""
    defaults: dict[str, Any] = {
        "name": "qwen-r16", "dataset": "alpaca", "status": "running", "host": "gpu-3", "pid": 4711, "step": 10,
        "total_steps": 40, "params": {"lr": 0.0002, "lora": {"r": 16}}, "bad_records": 2, "lost_bytes": 48,
        "param_sources": {"args.json": {"lr": 0.001, "lora": {"r": 16}}, "hparams": {"lr": 0.0002}},
    }
    run = make_run(source, **{**defaults, **fields})
    file = make_file(run, size=1000, offset=900, records=50, points=40, bad_records=2, lost_bytes=48,
                     damages=[{"offset": 4096, "length": 48, "kind": "length crc", "detail": ""}])
    make_points(run, "train/loss", [3.0, 2.0, 1.0], file=file)
    make_points(run, "eval/loss", [2.5], file=file)
    where = {"run": run, "log_file": file, "generation": 0, "part": 0, "wall": 1.7e9}
    TextSummary.objects.create(**where, tag="prompt", step=3, text="Once upon a time", offset=1)
    Sample.objects.create(**where, tag="attention", step=7, kind="image", offset=2, length=2048)
    Sample.objects.create(**where, tag="voice", step=7, kind="audio", offset=3, length=2048)
    Job.objects.create(source=source, run=run, external_id="job-7", stage="evaluation", status="failed",
                       error_type="ValueError", error="bad batch", error_stack="Traceback: line 3")
    Transition.objects.create(run=run, old="running", new="unknown", reason="no end written", at=now())
    Event.objects.create(run=run, log_file=file, generation=0, offset=5, level="ERROR", kind="oom", message="CUDA full")
    Note.objects.create(run=run, text="looks good\nso far")
    return run


def make_job(run: Run | None = None, external_id: str = "", **fields: Any) -> Job:
    """A job that runs: begun an hour ago, at step 400 of 1,000."""
    run = run or make_run(status="running")
    frozen_now = now()
    defaults: dict[str, Any] = {
        "status": "running", "stage": "training", "message": "Step 400/1000", "step": 400, "total_steps": 1000,
        "started": frozen_now - timedelta(hours=1), "last_event": frozen_now,
    }
    external_id = external_id or f"train-{next(_number):012x}"
    return Job.objects.create(source=run.source, run=run, external_id=external_id, **{**defaults, **fields})


def make_full_job(run: Run | None = None, **fields: Any) -> Job:
    """A running job with something in every part of its page."""
    begun = now() - timedelta(hours=1)
    stages = [("queued", 0), ("initializing", 30), ("loading_model", 60), ("training", 300), ("sampling", 1800),
              ("training", 1900)]
    gpu = {"name": "H100", "utilization": 97.5, "memory_used": 61.2, "memory_total": 80.0, "temperature": 68,
           "power_watts": 512.5}
    defaults: dict[str, Any] = {
        "loss": 0.0512, "lr": 1e-4, "speed": 1.25, "eta_seconds": 480.0, "epoch": 1.5, "line_count": 3, "last_line": now(),
        "stages": [[stage, begun.timestamp() + seconds] for stage, seconds in stages],
        "gpus": [{"index": 0, **gpu}, {"index": 1, **gpu, "utilization": 0, "power_watts": 0}],
        "bars": {"dl": {"type": "download", "label": "model.safetensors", "value": 100, "total": 40, "current": 40},
                 "train": {"type": "training", "label": "Training", "value": 40, "total": 1000, "current": 400}},
        "config": {"method": "lora", "steps": 1000, "optimizer": {"name": "adamw", "lr": 0.0001}, "seed": 0},
        "correlation_id": "corr-42",
    }
    return make_job(run, **{**defaults, **fields})


def make_checkpoint(job: Job, name: str = "v1.safetensors", **fields: Any) -> Checkpoint:
    """A checkpoint that its log named."""
    said = f"artifacts/jobs/{job.external_id}/checkpoints/{name}"
    defaults: dict[str, Any] = {"said": said, "path": said.encode(), "step": 400, "size": 1024, "at": now()}
    return Checkpoint.objects.create(run=job.run, job=job, **{**defaults, **fields})


def make_sample(job: Job, name: str = "step_00100.png", step: int = 100, **fields: Any) -> Sample:
    """An image beside the log of a job."""
    said = f"artifacts/jobs/{job.external_id}/samples/{name}"
    file = job.run.log_files.first() or make_file(job.run, f"{job.external_id}.jsonl", kind="jsonl")
    defaults: dict[str, Any] = {
        "log_file": file, "generation": 0, "part": 0, "offset": next(_number), "length": 0, "kind": "image",
        "tag": "sample", "wall": now().timestamp(), "path": said.encode(), "said": said, "size": 100,
    }
    return Sample.objects.create(run=job.run, job=job, step=step, **{**defaults, **fields})


def tabs(run: Run) -> list[str]:
    """The addresses of the tabs of a run's page."""
    names = ("", "samples/", "parameters/", "files/", "tensorboard/", "notes/", "history/")
    return [f"/runs/{run.pk}/{tab}" for tab in names]


def make_points(
    run: Run,
    tag: str,
    values: Sequence[float] | np.ndarray,
    *,
    steps: Sequence[int] | np.ndarray | None = None,
    file: LogFile | None = None,
    part: int = 0,
    generation: int = 0,
    wall: float = 1_700_000_000.0,
) -> Series:
    """Points of a tag in one part of a file: chunks, and a tail for the last few."""
    file = file or run.log_files.first() or make_file(run)
    y = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else "<f8")
    x = np.arange(len(y), dtype="<i8") if steps is None else np.asarray(steps, dtype="<i8")
    walls = wall + np.arange(len(y), dtype="<f8")
    series, _ = Series.objects.get_or_create(run=run, tag=Tag.objects.get_or_create(name=tag)[0])
    where = {"series": series, "log_file": file, "generation": generation, "part": part}
    for start in range(0, len(y), CHUNK_POINTS):
        block = slice(start, start + CHUNK_POINTS)
        facts = summarize(x[block], walls[block], y[block])
        last = start + CHUNK_POINTS >= len(y) and facts.count <= 100
        newest = last and not SeriesTail.objects.filter(series=series, log_file=file).exists()
        (SeriesTail if newest else SeriesChunk).objects.create(
            **where, start=start, data=pack(x[block], walls[block], y[block], raw=newest),
            **{name: getattr(facts, name) for name in facts.__slots__},
        )
    Segment.objects.get_or_create(
        log_file=file, generation=generation, part=part,
        defaults={"run": run, "reason": "steps went back" if part else "start", "offset": 0,
                  "first_step": int(x[0]), "last_step": int(x[-1]),
                  "first_wall": float(walls[0]), "last_wall": float(walls[-1])},
    )
    return _summed(series, x, walls, y)


def _summed(series: Series, x: np.ndarray, walls: np.ndarray, y: np.ndarray) -> Series:
    facts = summarize(x, walls, y)
    finite = [v for v in (series.minimum, facts.minimum) if v is not None]
    highs = [v for v in (series.maximum, facts.maximum) if v is not None]
    series.count += facts.count
    series.first_step = facts.first_step if series.first_step is None else min(series.first_step, facts.first_step)
    series.last_step, series.last, series.last_wall = facts.last_step, facts.last, facts.last_wall
    series.minimum, series.maximum = min(finite, default=None), max(highs, default=None)
    series.nonfinite += facts.nonfinite
    series.save()
    return series


def at(seconds: float) -> datetime:
    """An aware time from Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)
