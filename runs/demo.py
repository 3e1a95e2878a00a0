"""A small real training on the CPU, to have something to look at: its logs are real.

docs/examples/train.py is run as a trainer runs, in processes of its own: a few runs in seconds, one of which
is killed and goes on at its checkpoint, one that diverges, one that fails, and one that takes minutes, to be
watched.  Their trainer is labelled demo, so that nobody takes the figures for work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.conf import settings

from runs import correlation

log = logging.getLogger(__name__)
TRAINER = settings.BASE_DIR / "docs/examples/train.py"
#: Seconds that a watched quick run takes: it can be seen to move.
WATCHED = 12
#: What is kept of each stream of one that failed.
LAST_WORDS, LAST_LINES = 16_384, 100


@dataclass(frozen=True, slots=True)
class Tried:
    """A run of the demo: its name and train.py's arguments."""

    name: str
    words: tuple[str, ...]
    ends_badly: bool = False


QUICK = (
    Tried("wide", ("--lr", "0.2", "--hidden", "64")),
    Tried("narrow", ("--lr", "0.2", "--hidden", "8")),
    Tried("slow", ("--lr", "0.01")),
    Tried("diverges", ("--lr", "0.3", "--diverge", "400"), True),
    Tried("fails", ("--seed", "2", "--fail", "450"), True),
)
RESUMED = Tried("resumed", ())
LONG = Tried("long", ("--steps", "6000", "--seconds", "300", "--lr", "0.02", "--log-every", "10", "--sample-every", "500",
                      "--checkpoint-every", "1000", "--eval-every", "100"))


def train(root: Path, live: bool = False) -> Iterator[str]:
    """Train below ``root``; yields the name of each run that has come to its end.  ``live``: slowly, and the long one, too."""
    pace = ("--seconds", str(WATCHED)) if live else ()
    with contextlib.ExitStack() as running:
        def start(run: Tried, *words: str) -> Training:
            command = [sys.executable, str(TRAINER), str(root / "spirals" / run.name), *run.words, *words]
            started = Training(run, command)
            running.callback(started.wait)
            running.callback(started.process.terminate)  # what stops us stops them: they say so in their logs
            return started

        long = start(LONG) if live else None
        for run in QUICK:
            start(run, *pace).end()
            yield run.name
        _kill_half_way(start(RESUMED, "--seconds", str(WATCHED)).process, root / "spirals" / RESUMED.name)
        start(RESUMED, "--resume", *pace).end()
        yield RESUMED.name
        if long is not None:
            long.end()
            yield LONG.name


class Training:
    """A process that trains, with our correlation id, and what it prints."""

    def __init__(self, run: Tried, command: list[str]) -> None:
        self.run = run
        # files, not pipes: nobody has to read along
        self.streams = {"stdout": tempfile.TemporaryFile(), "stderr": tempfile.TemporaryFile()}  # noqa: SIM115
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=os.environ | correlation.environment(),
                                        **self.streams)  # type: ignore[call-overload]

    def wait(self) -> None:
        """Until it is over."""
        self.process.wait()
        for file in self.streams.values():
            file.close()

    def end(self) -> None:
        """Until it is over; of one that failed the last words of both streams are kept in our log."""
        if code := self.process.wait():
            level = logging.INFO if self.run.ends_badly else logging.WARNING
            tails = {name: _tail(file) for name, file in self.streams.items()}
            log.log(level, "The training %s ended with code %d", self.run.name, code,
                    extra={"event": "subprocess.exit", "context": {"run": self.run.name, "code": code, **tails}})
        self.wait()


def _tail(file: IO[bytes]) -> str:
    """Its last lines; of a bar that was overwritten what was seen last."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LAST_WORDS))
    lines = file.read().decode(errors="replace").split("\n")[-LAST_LINES:]
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _kill_half_way(training: subprocess.Popen[bytes], folder: Path) -> None:
    """As a machine that is taken away: at a moment of its own, a while behind a checkpoint."""
    while training.poll() is None and not (folder / "checkpoints/step_000300.npz").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    training.kill()
    training.wait()
