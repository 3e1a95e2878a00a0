"""A small real training on the CPU, to have something to look at: its logs are real.

A network of one hidden layer learns to tell two spirals apart (numpy, a few seconds).  It
writes what trainers write: event files through TensorBoard's own writer, a configuration, a
job log of JSON lines.  One run is resumed in a second file, one diverges and fails.  Its
trainer is labelled demo, so that nobody takes the figures for work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter


@dataclass(frozen=True, slots=True)
class Settings:
    """What is tried: the hyperparameters of one run."""

    name: str
    learning_rate: float
    hidden: int
    momentum: float = 0.9
    steps: int = 600
    batch_size: int = 64
    seed: int = 1


RUNS = (
    Settings("wide", 0.2, 64),
    Settings("narrow", 0.2, 8),
    Settings("slow", 0.01, 32),
    Settings("resumed", 0.1, 32),
    Settings("diverges", 2000.0, 32, momentum=0.0),
)


class Network:
    """Two inputs, one hidden layer of tanh, one output: the probability of the second spiral."""

    def __init__(self, settings: Settings) -> None:
        rng = np.random.default_rng(settings.seed)
        self.settings = settings
        self.weights = [rng.normal(size=(2, settings.hidden)) * 2.0, np.zeros(settings.hidden),
                        rng.normal(size=settings.hidden) / np.sqrt(settings.hidden), np.zeros(1)]
        self.speed = [np.zeros_like(w) for w in self.weights]

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hidden layer and the output for each row of ``x``."""
        hidden = np.tanh(x @ self.weights[0] + self.weights[1])
        return hidden, 1.0 / (1.0 + np.exp(-(hidden @ self.weights[2] + self.weights[3])))

    def loss(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Mean cross entropy (not clipped: a diverging run shows NaN) and accuracy."""
        _, p = self.forward(x)
        return float(-np.mean(np.log(np.where(y > 0.5, p, 1 - p)))), float(np.mean((p > 0.5) == (y > 0.5)))

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        """One step of gradient descent with momentum; returns the norm of the gradient."""
        hidden, p = self.forward(x)
        out = (p - y) / len(y)
        back = np.outer(out, self.weights[2]) * (1 - hidden**2)
        gradients = [x.T @ back, back.sum(0), hidden.T @ out, np.array([out.sum()])]
        for weight, speed, gradient in zip(self.weights, self.speed, gradients, strict=True):
            speed *= self.settings.momentum
            speed -= self.settings.learning_rate * gradient
            weight += speed
        return float(np.sqrt(sum(float(np.sum(g * g)) for g in gradients)))


def spirals(seed: int, count: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Points on two interlocked spirals (count, 2), and which of them each is on."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, count)
    turn = np.sqrt(rng.random(count)) * 2.5 * np.pi
    angle = turn + np.pi * which
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 5 + rng.normal(size=(count, 2)) * 0.05
    return points, which.astype(float)


class Log:
    """What a trainer writes: an event file and a job log, in the forms of formats.md 1 and 3.1."""

    def __init__(self, folder: Path, job: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = EventFileWriter(str(folder))
        self.lines = (folder / "events.jsonl").open("a")
        self.job = job

    def scalars(self, step: int, **values: float) -> None:
        """One event a value, as torch.utils.tensorboard writes them."""
        for name, value in values.items():
            summary = Summary(value=[Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)])
            self.writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))

    def text(self, tag: str, step: int, text: str) -> None:
        """A text summary with the plugin's metadata."""
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=7, string_val=[text.encode()])
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self.writer.add_event(Event(step=step, wall_time=time.time(), summary=Summary(value=[value])))

    def line(self, event: str, message: str, level: str = "INFO", **fields: object) -> None:
        """A line of the job log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"ts": now, "level": level, "service": "worker", "job_id": self.job, "msg": message,
                  "event": event, "fields": fields}
        self.lines.write(json.dumps(record) + "\n")
        self.lines.flush()

    def close(self) -> None:
        """Flush both."""
        self.writer.close()
        self.lines.close()


def train(root: Path) -> Iterator[str]:
    """Train all of RUNS below ``root``; yields the name of each finished run."""
    for settings in RUNS:
        folder = root / "spirals" / settings.name
        network = Network(settings)
        halves = [(0, 300), (300, settings.steps)] if settings.name == "resumed" else [(0, settings.steps)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yml").write_text("".join(f"{k}: {v}\n" for k, v in asdict(settings).items()))
        for first, last in halves:
            _attempt(network, folder, first, last)
        yield settings.name


def _attempt(network: Network, folder: Path, first: int, last: int) -> None:
    settings = network.settings
    log = Log(folder, f"train-{settings.name}")
    train_x, train_y = spirals(settings.seed)
    val_x, val_y = spirals(settings.seed + 1)
    rng = np.random.default_rng(first)
    log.line("training.start", f"Training {settings.name}", total_steps=settings.steps, config=asdict(settings))
    with np.errstate(all="ignore"):
        for step in range(first, last):
            batch = rng.integers(0, len(train_x), settings.batch_size)
            norm = network.step(train_x[batch], train_y[batch])
            if step % 5 == 0:
                loss, accuracy = network.loss(train_x, train_y)
                log.scalars(step, train_loss=loss, train_accuracy=accuracy, train_grad_norm=norm,
                            train_learning_rate=settings.learning_rate)
                log.line("training.step", f"Step {step}/{settings.steps}", "DEBUG", step=step,
                         total_steps=settings.steps, loss=loss if np.isfinite(loss) else None)
                if not np.isfinite(loss) and step >= 100:
                    log.line("training.failed", "Training failed", "ERROR", step=step, total_steps=settings.steps,
                             error=f"loss is {loss} at step {step}: the learning rate of "
                                   f"{settings.learning_rate:g} is too high", error_type="FloatingPointError")
                    log.close()
                    return
            if step % 50 == 0:
                loss, accuracy = network.loss(val_x, val_y)
                log.scalars(step, eval_loss=loss, eval_accuracy=accuracy)
    log.text("eval_examples/example_0", last, f"**Point** {val_x[0].round(2)} **Target** {val_y[0]:.0f}")
    loss, _ = network.loss(val_x, val_y)
    if last == settings.steps:
        log.line("training.complete", "Training complete", final_loss=loss, total_steps=settings.steps)
    log.close()
