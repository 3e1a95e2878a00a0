"""Real followers, and trainers that append while they follow."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runs.processes import ROOT, argv, environment
from tests.runs.readers.event_bytes import record, simple
from tests.runs.trees import job_log


def until(true: Callable[[], object], within: float = 60.0) -> float:
    """Ask until it is true; how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within, "it did not come"
        time.sleep(0.02)
    return time.monotonic() - began


def follower(
    *words: str, said: Path | None = None, before: list[str] | None = None, **env: str
) -> subprocess.Popen[bytes]:
    """Start one, in a process group of its own."""
    with (said or Path("/dev/null")).open("ab") as out:
        return subprocess.Popen(
            [*(before or []), *argv("--watch", *words)], cwd=ROOT, env=environment(**env), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out)


@contextmanager
def following(
    *words: str, said: Path | None = None, before: list[str] | None = None, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One that runs; it must end by itself and quickly when it is asked to."""
    process = follower(*words, said=said, before=before, **env)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def step(number: int) -> bytes:
    """A step of two tags, now."""
    return record(number, time.time(), simple("loss", 1 / (number + 1)), simple("lr", number * 0.25))


class Trainer(threading.Thread):
    """Appends steps to event files and a job log, in pieces that end anywhere, until stopped."""

    def __init__(self, root: Path, runs: int = 6, *, seed: int = 0, pause: float = 0.01) -> None:
        super().__init__(daemon=True)
        self.root, self.runs, self.pause = root, runs, pause
        self.dice = random.Random(seed)
        self.done = threading.Event()
        self.files: list[Path] = []
        for number in range(runs):
            path = root / f"run{number}" / f"events.out.tfevents.1700000000.host.{number}.0"
            path.parent.mkdir(parents=True)
            path.write_bytes(step(0))
            self.files.append(path)
        self.log = job_log(root / "run0" / "job.jsonl", steps=1, end=False)

    def run(self) -> None:
        number = 0
        while not self.done.is_set():
            number += 1
            self.train(number)
            time.sleep(self.pause * self.dice.random())

    def train(self, number: int) -> None:
        path = self.dice.choice(self.files)
        data = step(number)
        cut = self.dice.randrange(len(data))
        with path.open("ab", buffering=0) as file:
            file.write(data[:cut])
            time.sleep(0.002 * self.dice.random())
            file.write(data[cut:])
        if number % 3 == 0:
            job_log(self.log, start=number, steps=1, end=False)
        if number % 40 == 0:  # a resumed training: one more file in a run that is known
            again = path.with_name(f"events.out.tfevents.17000{number:05}.host.9.0")
            again.write_bytes(step(number))
            self.files.append(again)
        if number % 90 == 0:  # a trainer that starts over
            path.write_bytes(step(0) + step(1))

    def stop(self) -> None:
        self.done.set()
        self.join()

    def __enter__(self) -> Trainer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
