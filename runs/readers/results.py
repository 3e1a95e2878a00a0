"""What trainers write about a run when it ends: costs, samples, metrics.

- train-results.json and cost_report.json of ClaimHawk's LoRA trainer: ``run_metadata``,
  ``hardware``, ``time``, ``cost``, ``checkpoints``
- train-results.json of its router trainer: ``type``, ``dataset``, ``training``, ``eval``
- final_metrics.json, train_results.json, all_results.json, eval_results.json: the flat
  metrics of Hugging Face's Trainer
- status.json of AFS: the state of a process that it started
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runs.readers import plain
from runs.readers.document import Unreadable, json_object
from runs.readers.parameters import Scalar
from runs.readers.progress import STATUSES

RESULT_BYTES = 4 * 1024 * 1024
MAX_NUMBERS = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """The trainer's own bill: seconds, and dollars as it wrote them.

    ``checkpoints`` are (step, seconds since the start, dollars so far).
    """

    gpu_type: str = ""
    gpu_count: int | None = None
    hourly_per_gpu: float | None = None
    hourly: float | None = None
    total_seconds: float | None = None
    total_usd: float | None = None
    per_step_usd: float | None = None
    checkpoints: tuple[tuple[int, float | None, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainResults:
    """A result file.  ``shape`` is "cost report", "router" or "metrics".

    ``completed`` is Unix seconds; None is what the file does not say.
    """

    shape: str
    run: str = ""
    dataset: str = ""
    completed: float | None = None
    total_steps: int | None = None
    train_samples: int | None = None
    eval_samples: int | None = None
    total_samples: int | None = None
    train_runtime: float | None = None
    output_dir: str = ""
    log_dir: str = ""
    cost: Cost | None = None
    parameters: dict[str, Scalar] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """AFS's status.json: ``status`` is ours, ``word`` its own; times are Unix seconds."""

    run: str
    word: str
    status: str | None
    name: str = ""
    dataset: str = ""
    started: float | None = None
    ended: float | None = None
    updated: float | None = None


def train_results(data: bytes) -> TrainResults | Unreadable:
    """A train-results.json, whichever of its two shapes it has, or a cost_report.json."""
    found = json_object(data, RESULT_BYTES)
    if isinstance(found, Unreadable):
        return found
    if isinstance(found.get("run_metadata"), dict):
        return _cost_report(found)
    if isinstance(found.get("training"), dict):
        return _router(found)
    return _metrics(found)


def final_metrics(data: bytes) -> TrainResults | Unreadable:
    """Flat metrics, as ``Trainer.save_metrics`` writes them."""
    found = json_object(data, RESULT_BYTES)
    return found if isinstance(found, Unreadable) else _metrics(found)


def process_status(data: bytes) -> ProcessStatus | Unreadable:
    """The status.json of an AFS run."""
    found = json_object(data, RESULT_BYTES)
    if isinstance(found, Unreadable):
        return found
    word = plain.text(found.get("status"), 40).lower()
    if not word or "run_id" not in found:
        return Unreadable("no status of a run")
    ended = found.get("finished_at") or found.get("stopped_at")
    return ProcessStatus(
        plain.text(found["run_id"], 255), word, STATUSES.get(word), plain.text(found.get("name"), 255),
        plain.text(found.get("dataset"), 255), plain.seconds(found.get("started_at")),
        plain.seconds(ended), plain.seconds(found.get("updated_at")),
    )


def _cost_report(found: dict[str, Any]) -> TrainResults:
    meta = found["run_metadata"]
    hardware, time, cost = (_object(found, name) for name in ("hardware", "time", "cost"))
    listed = found.get("checkpoints")
    checkpoints = tuple(
        (step, plain.number(one.get("elapsed_seconds")), plain.number(one.get("cumulative_cost_usd")))
        for one in (listed if isinstance(listed, list) else [])[:10_000]
        if isinstance(one, dict) and (step := plain.whole(one.get("step"))) is not None
    )
    bill = Cost(
        plain.text(hardware.get("gpu_type"), 100), plain.whole(hardware.get("gpu_count")),
        plain.number(hardware.get("hourly_rate_per_gpu")), plain.number(hardware.get("total_hourly_rate")),
        plain.number(time.get("total_seconds")), plain.number(cost.get("total_usd")),
        plain.number(cost.get("cost_per_step")), checkpoints,
    )  # fmt: skip
    return TrainResults(
        "cost report", plain.text(meta.get("run_name"), 255), plain.text(meta.get("dataset"), 255),
        plain.seconds(meta.get("completion_time")), plain.whole(meta.get("total_steps")),
        train_runtime=bill.total_seconds, cost=bill,
    )


def _router(found: dict[str, Any]) -> TrainResults:
    training, samples, report = (_object(found, name) for name in ("training", "dataset", "eval"))
    loss = plain.number(training.get("train_loss"))
    results = {"train_loss", "total_steps"}
    return TrainResults(
        "router", plain.text(found.get("run_name"), 255), plain.text(found.get("dataset_name"), 255),
        plain.seconds(found.get("completion_time")), plain.whole(training.get("total_steps")),
        plain.whole(samples.get("train_samples")), plain.whole(samples.get("val_samples")),
        plain.whole(samples.get("total_samples")),
        output_dir=plain.text(found.get("output_dir"), 4096), log_dir=plain.text(found.get("log_dir"), 4096),
        parameters={
            plain.text(key, 255): value if not isinstance(value, str) else plain.text(value, 1024)
            for key, value in list(training.items())[:MAX_NUMBERS]
            if key not in results and isinstance(value, (bool, int, float, str, type(None)))
        },
        metrics={**({} if loss is None else {"train_loss": loss}), **_accuracy(report)},
    )  # fmt: skip


def _accuracy(report: dict[str, Any]) -> dict[str, float]:
    """``accuracy/overall`` and one for each class, in percent, from an eval-report."""
    accuracy = _object(report, "accuracy")
    named = {"overall": accuracy.get("overall"), **_object(accuracy, "per_class")}
    return {f"accuracy/{name}": value for name, value in _numbers(named).items()}


def _metrics(found: dict[str, Any]) -> TrainResults | Unreadable:
    numbers = _numbers(found)
    if not numbers:
        return Unreadable("no metrics")

    def count(*names: str) -> int | None:
        return next((plain.whole(found[name]) for name in names if name in found), None)

    return TrainResults(
        "metrics",
        total_steps=count("total_steps", "global_step", "step"),
        train_samples=count("train_samples"),
        eval_samples=count("eval_samples"),
        train_runtime=numbers.get("train_runtime"),
        metrics=numbers,
    )


def _numbers(found: dict[str, Any]) -> dict[str, float]:
    """The finite numbers right in an object."""
    numbers = {plain.text(key, 255): plain.number(value) for key, value in found.items()}
    some = [(key, value) for key, value in numbers.items() if value is not None]
    return dict(some[:MAX_NUMBERS])


def _object(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}
