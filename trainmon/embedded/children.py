"""The programs that `up` runs: started, started again with back-off, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from trainmon.embedded import locks
from trainmon.embedded.identity import Identity
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres

LONGEST_PAUSE = 30.0
# Alive for this long, a child has recovered, and the next pause is short again.
STEADY = 60.0


class Child(Protocol):
    """What the supervisor knows of a program."""

    name: str
    once: bool  # it ends by itself, and is not started again then
    process: subprocess.Popen[bytes] | None

    @property
    def log(self) -> Path:
        """Where its output goes."""

    def start(self) -> None:
        """Run it; raises when that is not possible."""

    def alive(self) -> bool:
        """Whether it still runs."""

    def ask_to_stop(self) -> None:
        """The polite signal."""

    def wait(self, timeout: float) -> bool:
        """Wait for its end, and say whether that came."""

    def kill(self) -> None:
        """End it and everything in its session."""

    def ending(self) -> str:
        """How it ended, for a person."""


@dataclass
class Program:
    """A program in a session of its own that dies with the supervisor."""

    name: str
    argv: list[str]
    logs: Path
    env: dict[str, str]
    cwd: Path
    who: Identity
    pass_fds: tuple[int, ...] = ()
    once: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.logs / f"{self.name}.log"

    def start(self) -> None:
        """Run it, its output appended to its log."""
        options: dict[str, Any] = self.who.popen_options(signal.SIGKILL) | {"cwd": self.cwd}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                pass_fds=self.pass_fds,
                **options,
            )

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.process and self.alive():
            self.process.terminate()

    def wait(self, timeout: float) -> bool:
        """Wait for its end, and say whether that came."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Its whole session: a worker's own children must not outlive it."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ending(self) -> str:
        """How it ended, for a person."""
        code = self.process.returncode if self.process else None
        return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"


@dataclass
class Database:
    """PostgreSQL: our child, or one that a command started before us and that we look after."""

    places: Places
    name: str = "postgres"
    once: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Its log."""
        return self.places.logs / "postgres.log"

    @property
    def server(self) -> Postgres:
        """The server of these places."""
        return Postgres(self.places)

    def start(self) -> None:
        """Run it, or adopt the one that runs; a fast shutdown when we die."""
        with locks.locked(self.places.start_lock):
            self.process = self.server.start(signal.SIGINT)

    def alive(self) -> bool:
        """Whether a postmaster runs on our data."""
        if self.process is not None:
            self.process.poll()  # reaps it
        return self.server.pid() is not None

    def ask_to_stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, and the next start needs no recovery."""
        if pid := self.server.pid():
            os.kill(pid, signal.SIGINT)

    def wait(self, timeout: float) -> bool:
        """Wait for its end, and say whether that came."""
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def kill(self) -> None:
        """Stop it by all means."""
        self.server.stop()
        if self.process is not None:
            self.process.wait()

    def ending(self) -> str:
        """How it ended, for a person."""
        return "has ended"


@dataclass
class Watched:
    """A child and what is known of its restarts."""

    child: Child
    started: float = 0.0
    pause: float = 0.0
    next_start: float | None = None
    restarts: int = 0

    def start(self) -> None:
        """Run it now."""
        self.started, self.next_start = time.monotonic(), None
        self.child.start()

    def fail(self) -> float:
        """Plan the next start; returns the pause until then."""
        steady = time.monotonic() - self.started > STEADY
        self.pause = 0.2 if steady or not self.pause else min(self.pause * 2, LONGEST_PAUSE)
        self.next_start = time.monotonic() + self.pause
        self.restarts += 1
        return self.pause


def tail(path: Path, lines: int = 8) -> list[str]:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8000))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL and wait for each."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.kill()
    psutil.wait_procs(processes, timeout=5)
