"""Log directories made by a real writer: tensorboard's EventFileWriter, as torch drives it.

About 35 us a point, so trees are written once by two processes and kept under common.DATA.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import DATA

START = 1_790_000_000.0
TAGS = ["train/loss", "train/accuracy", "val/loss", "lr", "grad_norm", "throughput/samples",
        "gpu0/memory_allocated", "time/step_seconds"]


@dataclass(frozen=True, slots=True)
class Tree:
    """``runs`` directories with one event file each: ``tags`` series of ``steps`` points."""

    runs: int
    tags: int
    steps: int

    @property
    def points(self) -> int:
        return self.runs * self.tags * self.steps

    @property
    def name(self) -> str:
        return f"written-{self.runs}x{self.tags}x{self.steps}"


def make(tree: Tree) -> Path:
    """The tree's log directory; written where it is not there yet, a day old as files go."""
    logdir = DATA / tree.name
    if logdir.exists():
        return logdir
    print(f"writing {tree.points:,} points in {tree.runs:,} runs below {DATA}, once (minutes)", file=sys.stderr)
    unfinished = DATA / f"{tree.name}.{os.getpid()}"
    try:
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(write_run, [tree] * tree.runs, [unfinished] * tree.runs, range(tree.runs), chunksize=1))
        unfinished.rename(logdir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return logdir


def write_run(tree: Tree, root: Path, number: int) -> None:
    """One run, as SummaryWriter.add_scalar of torch writes it: an event a scalar."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    run = root / f"dataset{number % 10}" / f"run-{number:05}"
    writer = EventFileWriter(str(run), max_queue_size=1000, flush_secs=120)
    for serialized in events(tree.tags, 0, tree.steps, seed=number):
        writer.add_event(Event.FromString(serialized))
    writer.close()
    yesterday = time.time() - 86_400
    for file in run.iterdir():
        os.utime(file, (yesterday, yesterday))


def append(file: Path, tags: int, first_step: int, steps: int) -> int:
    """Go on with a file, as a trainer that is still running does; how many points that is."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    with file.open("ab") as opened:
        writer = RecordWriter(opened)
        for serialized in events(tags, first_step, steps, seed=first_step):
            writer.write(serialized)
        writer.flush()
    return tags * steps


def events(tags: int, first_step: int, steps: int, *, seed: int) -> list[bytes]:
    """Serialized Events: noisy falling curves, a clock with jitter."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    rng = random.Random(seed)
    names = [TAGS[n] if n < len(TAGS) else f"{TAGS[n % len(TAGS)]}_{n // len(TAGS)}" for n in range(tags)]
    written = []
    for step in range(first_step, first_step + steps):
        wall = START + seed + step * 0.25 + rng.random() * 0.05
        for number, tag in enumerate(names):
            wall += 2e-5 + rng.random() * 5e-6
            value = (1 + number) * math.exp(-step / 2000) + rng.gauss(0, 0.05)
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            written.append(Event(wall_time=wall, step=step, summary=summary).SerializeToString())
    return written
