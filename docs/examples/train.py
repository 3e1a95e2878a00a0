#!/usr/bin/env python3
"""A small real trainer: a network of two hidden layers learns to tell two spirals apart, on the CPU, in seconds.

It writes what trainers write, and knows nothing of trainmon: event files as torch.utils.tensorboard's
(TensorBoard's own writer), a job log of JSON lines, sample pictures, checkpoints, a configuration, and
lines on standard output.  numpy and tensorboard are all it needs.

    python train.py logs/spirals/first                   # 600 steps, about two seconds
    python train.py logs/spirals/first --seconds 60      # the same, spread over a minute
    python train.py logs/spirals/first --resume          # goes on at the newest checkpoint, also after a kill -9

A folder holds one run.  --fail, --hang and --diverge end it as trainings end: with a traceback, silent at
a step while its process lives and its heartbeats go on, or with a loss that is not a number any more.
--push URL sends the log, the event files and the samples to a trainmon that shares no volume (TRAINMON_TOKEN holds its token).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter

Array = Any  # np.ndarray
SIDE = 96
#: Of whoever started this: written into each line, it leads from there to here.
CORRELATION_ID = os.environ.get("TRAINMON_CORRELATION_ID", "")


class Stopped(BaseException):
    """SIGTERM, or a cancellation that was asked for: the training ends where it is, in order."""


def spirals(seed: int, count: int = 512) -> tuple[Array, Array]:
    """Points on two interlocked spirals (count, 2), and which of them each is on."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, count)
    turn = np.sqrt(rng.random(count)) * 2.5 * np.pi
    angle = turn + np.pi * which
    points = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1) / 5 + rng.normal(size=(count, 2)) * 0.05
    return points, which.astype(float)


class Network:
    """Two inputs, two hidden layers of tanh, one output: the probability of the second spiral."""

    def __init__(self, hidden: int, rng: Any) -> None:
        sizes = [(2, hidden, 2.0), (hidden, hidden, hidden**-0.5), (hidden, 1, hidden**-0.5)]
        self.weights = [array for n, m, scale in sizes for array in (rng.normal(size=(n, m)) * scale, np.zeros(m))]
        self.speed = [np.zeros_like(weight) for weight in self.weights]

    def forward(self, x: Array) -> list[Array]:
        """What each layer makes of the rows of ``x``."""
        layers = [x]
        for at in (0, 2):
            layers.append(np.tanh(layers[-1] @ self.weights[at] + self.weights[at + 1]))
        layers.append(1 / (1 + np.exp(-(layers[-1] @ self.weights[4] + self.weights[5])[:, 0])))
        return layers

    def loss(self, x: Array, y: Array) -> tuple[float, float]:
        """Mean cross entropy (not clipped: one that diverges shows NaN) and accuracy."""
        p = self.forward(x)[-1]
        return float(-np.mean(np.log(np.where(y > 0.5, p, 1 - p)))), float(np.mean((p > 0.5) == (y > 0.5)))

    def step(self, x: Array, y: Array, rate: float, momentum: float) -> float:
        """One step of gradient descent with momentum; the norm of the gradient."""
        layers = self.forward(x)
        back = ((layers[-1] - y) / len(y))[:, None]
        gradients: list[Array] = []
        for at in (4, 2, 0):
            below = layers[at // 2]
            gradients[:0] = [below.T @ back, back.sum(0)]
            back = (back @ self.weights[at].T) * (1 - below**2)
        for weight, speed, gradient in zip(self.weights, self.speed, gradients, strict=True):
            speed *= momentum
            speed -= rate * gradient
            weight += speed
        return float(np.sqrt(sum(float(np.sum(g * g)) for g in gradients)))


def png(pixels: Array) -> bytes:
    """A picture of rows of RGB bytes."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def picture(network: Network) -> bytes:
    """What the network takes each place of the plane for: orange and blue."""
    axis = np.linspace(-2, 2, SIDE)
    plane = np.stack(np.meshgrid(axis, -axis), -1).reshape(-1, 2)
    p = np.nan_to_num(network.forward(plane)[-1])[:, None]
    colours = p * np.array([66, 133, 244]) + (1 - p) * np.array([245, 158, 66])
    return png(colours.astype(np.uint8).reshape(SIDE, SIDE, 3))


class Log:
    """What the training says: to the event file, the job log, standard output, and where --push says."""

    def __init__(self, folder: Path, job: str, push: Any) -> None:
        self.folder, self.job, self.push = folder, job, push
        self.writer = EventFileWriter(str(folder))
        self.lines = (folder / "events.jsonl").open("a", buffering=1, encoding="utf-8")
        if cut_off(folder / "events.jsonl"):
            self.lines.write("\n")
        self.attempt, self.count = f"{time.time_ns():x}", 0
        self.heartbeat = time.monotonic()

    def scalars(self, step: int, **values: float) -> None:
        """One event a value, as torch writes them; on disk with the call."""
        for name, value in values.items():
            self._add(step, Summary.Value(tag=name.replace("_", "/", 1), simple_value=value))
        self.writer.flush()

    def text(self, tag: str, step: int, text: str) -> None:
        """A text summary."""
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=7, string_val=[text.encode()])
        self._add(step, Summary.Value(tag=tag, metadata=metadata, tensor=tensor))

    def image(self, tag: str, step: int, data: bytes) -> None:
        """An image summary."""
        image = Summary.Image(height=SIDE, width=SIDE, colorspace=3, encoded_image_string=data)
        self._add(step, Summary.Value(tag=tag, image=image))

    def _add(self, step: int, value: Any) -> None:
        self.writer.add_event(Event(step=step, wall_time=time.time(), summary=Summary(value=[value])))

    def line(self, event: str, message: str, level: str = "INFO", **fields: Any) -> None:
        """A line of the job log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.count += 1
        record = {"ts": now, "level": level, "service": "worker", "job_id": self.job, "msg": message, "event": event,
                  "fields": fields}
        if self.push:  # the same in the file and as pushed: it counts once, wherever it is read
            record["event_id"] = f"{self.job}:{self.attempt}:{self.count}"
        if CORRELATION_ID:
            record["correlation_id"] = CORRELATION_ID
        self.lines.write(json.dumps(record) + "\n")
        if self.push:
            self.push.record(record)
        if level != "DEBUG":
            print(f"{now[:19]} [{level}] {message}", flush=True)

    def alive(self, step: int) -> None:
        """A heartbeat each five seconds: it says that the process lives, not that it trains."""
        if time.monotonic() - self.heartbeat > 5:
            self.heartbeat = time.monotonic()
            self.line("worker.heartbeat", f"Worker is alive at step {step}")

    def close(self) -> None:
        """Flush all."""
        self.writer.close()
        self.lines.close()
        if self.push:
            self.push.close()


class Training:
    """One attempt at a run: from its start or its newest checkpoint to an end."""

    def __init__(self, asked: argparse.Namespace, log: Log) -> None:
        self.asked, self.log = asked, log
        self.rng = np.random.default_rng(asked.seed)
        self.network = Network(asked.hidden, self.rng)
        self.train_x, self.train_y = spirals(asked.seed)
        self.val_x, self.val_y = spirals(asked.seed + 1)
        self.first, self.lost = 0, 0
        self.began = time.monotonic()

    def run(self) -> None:
        """All of it; what goes wrong is in the log before it ends the process."""
        asked, log = self.asked, self.log
        config = {name: value for name, value in vars(asked).items() if name not in {"folder", "push", "resume"}}
        if asked.resume:
            self.load()
        log.line("training.start", f"Training {asked.folder.name}", total_steps=asked.steps, config=config, run=asked.folder.name,
                 **({"resumed_from_step": self.first} if self.first else {}))
        log.line("stage.preparing_dataset", "Preparing the dataset", samples=len(self.train_x))
        log.line("dataset.ready", f"Dataset ready: {len(self.train_x)} points", num_samples=len(self.train_x))
        log.line("stage.training", "Training")
        step = self.first
        try:
            for step in range(self.first, asked.steps):
                self.one(step)
        except Stopped as why:
            log.line("job.cancelled", f"Stopped at step {step}: {why}", "WARNING", step=step, total_steps=asked.steps)
            raise
        except Exception as error:
            log.line("training.failed", f"Training failed: {error}", "ERROR", step=step, total_steps=asked.steps,
                     error=str(error), error_type=type(error).__name__, stack_trace=traceback.format_exc())
            raise
        self.finish()

    def one(self, step: int) -> None:
        """A step, and what is due after it."""
        asked, log = self.asked, self.log
        # a schedule that divides by what is left of its warm-up, and by nothing at its end
        rate = float(np.divide(asked.lr, 0.0)) if asked.diverge is not None and step >= asked.diverge else asked.lr
        batch = self.rng.integers(0, len(self.train_x), asked.batch_size)
        x = self.train_x[batch]
        if step == asked.fail:
            x = x[:, :1]  # as when a loader gives another shape than the network was built for
        norm = self.network.step(x, self.train_y[batch], rate, asked.momentum)
        if step == asked.hang:
            self.hang(step)
        if step % asked.log_every == 0 or step == asked.steps - 1:
            self.report(step, norm, rate)
        if step and step % asked.sample_every == 0:
            self.sample(step)
        if (step + 1) % asked.checkpoint_every == 0 or step == asked.steps - 1:
            self.checkpoint(step + 1)
        if step % asked.eval_every == 0:
            loss, accuracy = self.network.loss(self.val_x, self.val_y)
            log.scalars(step, eval_loss=loss, eval_accuracy=accuracy)
        if asked.seconds:
            done = (step + 1 - self.first) / max(1, asked.steps - self.first)
            time.sleep(max(0.0, self.began + asked.seconds * done - time.monotonic()))
        log.alive(step)
        if log.push and log.push.cancelled:
            raise Stopped("asked to end")

    def report(self, step: int, norm: float, rate: float) -> None:
        """The figures of a step."""
        asked = self.asked
        loss, accuracy = self.network.loss(self.train_x, self.train_y)
        speed = (step + 1 - self.first) / max(1e-9, time.monotonic() - self.began)
        left = (asked.steps - step - 1) / speed
        self.log.scalars(step, train_loss=loss, train_accuracy=accuracy, train_grad_norm=norm, train_learning_rate=rate)
        self.log.line("training.step", f"Step {step}/{asked.steps} | loss={loss:.4f} | lr={rate:g}", "DEBUG", step=step,
                      total_steps=asked.steps, progress_pct=round(100 * (step + 1) / asked.steps, 2), loss=loss, lr=rate,
                      accuracy=accuracy, eta_seconds=round(left, 1), iteration_speed=round(speed, 2))
        print(f"Step {step}/{asked.steps} | loss={loss:.4f} | lr={rate:g} | {speed:.1f} it/s", flush=True)
        self.lost = 0 if np.isfinite(loss) else self.lost + 1
        if self.lost >= 5:
            since = step - 4 * asked.log_every
            raise FloatingPointError(f"loss is {loss} since step {since}: a learning rate of {rate:g} is too high")

    def sample(self, step: int) -> None:
        """What the network sees, as a picture in a file and in the event file."""
        log, data = self.log, picture(self.network)
        path = log.folder / "samples" / f"step_{step:05d}.png"
        log.line("stage.sampling", "Drawing a sample")
        write(path, data)
        log.image("samples/plane", step, data)
        log.line("training.sample", f"Sample at step {step}", sample_path=f"samples/{path.name}", step=step, sample_index=0)
        log.line("stage.training", "Training")

    def checkpoint(self, step: int) -> None:
        """All that it takes to go on with ``step``; whole or not there."""
        log = self.log
        path = log.folder / "checkpoints" / f"step_{step:06d}.npz"
        log.line("stage.saving_checkpoint", "Saving a checkpoint")
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        arrays = [*self.network.weights, *self.network.speed]
        with part.open("wb") as file:
            np.savez(file, *arrays, step=step, rng=json.dumps(self.rng.bit_generator.state))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        log.line("training.checkpoint", f"Checkpoint at step {step}", checkpoint_path=f"checkpoints/{path.name}", step=step)
        log.line("stage.training", "Training")

    def load(self) -> None:
        """Go on at the newest checkpoint; without one, from the start."""
        for path in sorted((self.log.folder / "checkpoints").glob("step_*.npz"), reverse=True):
            with np.load(path) as held:
                arrays = [held[f"arr_{number}"] for number in range(12)]
                self.network.weights, self.network.speed = arrays[:6], arrays[6:]
                self.rng.bit_generator.state = json.loads(str(held["rng"]))
                self.first = min(int(held["step"]), self.asked.steps)
            return

    def hang(self, step: int) -> None:
        """Not a step further, although the process lives: as one that waits for a lock for ever."""
        while True:
            time.sleep(0.5)
            self.log.alive(step)

    def finish(self) -> None:
        """The end that was hoped for."""
        asked, log = self.asked, self.log
        loss, accuracy = self.network.loss(self.val_x, self.val_y)
        log.text("eval_examples/example_0", asked.steps,
                 f"**Point** {self.val_x[0].round(2)} **Target** {self.val_y[0]:.0f} **Accuracy** {accuracy:.3f}")
        model = f"checkpoints/step_{asked.steps:06d}.npz"
        log.line("training.complete", "Training complete", output_path=model, final_loss=loss, total_steps=asked.steps,
                 training_time_seconds=round(time.monotonic() - self.began, 3),
                 samples_generated=len(list((log.folder / "samples").glob("*.png"))))


def cut_off(path: Path) -> bool:
    """Whether a kill -9 has left a line without its end."""
    with path.open("rb") as file:
        return bool(file.seek(0, os.SEEK_END)) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"


def write(path: Path, data: bytes) -> None:
    """A file under its name only when it is whole."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def options(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the run writes; made if missing")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=0, help="spread the steps over so long")
    parser.add_argument("--job", default="", help="the job's id (default: train- and the folder's name)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    for name, every in (("log", 5), ("eval", 50), ("sample", 150), ("checkpoint", 100)):
        parser.add_argument(f"--{name}-every", type=int, default=every, metavar="STEPS")
    for name, what in (("fail", "raise an error"), ("hang", "stand still"), ("diverge", "lose the loss to NaN")):
        said = f"{what} at this step (default: half way)"
        parser.add_argument(f"--{name}", type=int, nargs="?", const=-1, metavar="STEP", help=said)
    parser.add_argument("--resume", action="store_true", help="go on at the newest checkpoint")
    parser.add_argument("--push", default="", metavar="URL", help="send log and event files to this trainmon, by TRAINMON_TOKEN")
    asked = parser.parse_args(words)
    for name in ("fail", "hang", "diverge"):
        if getattr(asked, name) == -1:
            setattr(asked, name, asked.steps // 2)
    asked.job = asked.job or f"train-{asked.folder.name}"
    return asked


def pusher(asked: argparse.Namespace) -> Any:
    """The client, where --push is given."""
    if not asked.push:
        return None
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from trainmon_client import Client

    run = "/".join(asked.folder.absolute().parts[-2:])
    client = Client(asked.push, os.environ.get("TRAINMON_TOKEN", ""), run=run, job=asked.job, spool=asked.folder / ".spool")
    client.ship(asked.folder, "*tfevents*")
    client.ship(asked.folder, "*.png")
    return client


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends the training in order."""
    def stop(number: int, frame: Any) -> None:
        raise Stopped(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(words: list[str] | None = None) -> int:
    """0 when trained, 1 when it failed, 143 when it was stopped."""
    asked = options(words)
    asked.folder.mkdir(parents=True, exist_ok=True)
    config = {name: getattr(asked, name) for name in ("lr", "momentum", "hidden", "batch_size", "steps", "seed")}
    write(asked.folder / "config.yml", "".join(f"{name}: {value}\n" for name, value in config.items()).encode())
    random.seed(asked.seed)
    log = Log(asked.folder, asked.job, pusher(asked))
    try:
        with stoppable(), np.errstate(all="ignore"):
            Training(asked, log).run()
    except Stopped:
        return 143
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
