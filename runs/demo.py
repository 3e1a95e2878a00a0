"""A small real training on the CPU, to have something to look at: its logs are real.

docs/examples/train.py is run as a trainer runs, in processes of its own: a few runs in seconds, one of which
is killed and goes on at its checkpoint, one that diverges, one that fails, and one that takes minutes, to be
watched.  Their trainer is labelled demo, so that nobody takes the figures for work.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

TRAINER = settings.BASE_DIR / "docs/examples/train.py"
#: Seconds that a watched quick run takes: it can be seen to move.
WATCHED = 12


@dataclass(frozen=True, slots=True)
class Tried:
    """A run of the demo: its name and train.py's arguments."""

    name: str
    words: tuple[str, ...]


QUICK = (
    Tried("wide", ("--lr", "0.2", "--hidden", "64")),
    Tried("narrow", ("--lr", "0.2", "--hidden", "8")),
    Tried("slow", ("--lr", "0.01")),
    Tried("diverges", ("--lr", "0.3", "--diverge", "400")),
    Tried("fails", ("--seed", "2", "--fail", "450")),
)
RESUMED = Tried("resumed", ())
LONG = Tried("long", ("--steps", "6000", "--seconds", "300", "--lr", "0.02", "--log-every", "10", "--sample-every", "500",
                      "--checkpoint-every", "1000", "--eval-every", "100"))


def train(root: Path, live: bool = False) -> Iterator[str]:
    """Train below ``root``; yields the name of each run that has come to its end.  ``live``: slowly, and the long one, too."""
    pace = ("--seconds", str(WATCHED)) if live else ()
    with contextlib.ExitStack() as running:
        def start(run: Tried, *words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, str(TRAINER), str(root / "spirals" / run.name), *run.words, *words]
            started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(started.wait)
            running.callback(started.terminate)  # what stops us stops them: they say so in their logs
            return started

        long = start(LONG) if live else None
        for run in QUICK:
            start(run, *pace).wait()
            yield run.name
        _kill_half_way(start(RESUMED, "--seconds", str(WATCHED)), root / "spirals" / RESUMED.name)
        start(RESUMED, "--resume", *pace).wait()
        yield RESUMED.name
        if long is not None:
            long.wait()
            yield LONG.name


def _kill_half_way(training: subprocess.Popen[bytes], folder: Path) -> None:
    """As a machine that is taken away: at a moment of its own, a while behind a checkpoint."""
    while training.poll() is None and not (folder / "checkpoints/step_000300.npz").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    training.kill()
    training.wait()
