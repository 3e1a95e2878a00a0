"""Who runs this data directory: the text of `up.lock`, believed only while the lock is held."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil

from trainmon.embedded import locks
from trainmon.embedded.places import Places


@dataclass(frozen=True)
class Running:
    """One `manage.py up`."""

    pid: int
    since: str
    address: str = ""

    def __str__(self) -> str:
        where = f" at {self.address}" if self.address else " (still starting)"
        return f"pid {self.pid}, since {self.since}{where}"


class AlreadyRunning(Exception):
    """Another `up` runs on the same data."""

    def __init__(self, who: Running | None) -> None:
        self.who = who
        super().__init__(str(who) if who else "another process")


def who_runs(places: Places) -> Running | None:
    """Whoever holds the lock now, as it describes itself."""
    if not locks.is_held(places.up_lock):
        return None
    try:
        said = Running(**json.loads(places.up_lock.read_text()))
    except (ValueError, TypeError):
        return Running(0, "just now")
    return said


def process_of(who: Running) -> psutil.Process | None:
    """Its process, if the pid still is a `manage.py up`."""
    try:
        process = psutil.Process(who.pid)
        return process if "up" in process.cmdline() else None
    except psutil.Error:
        return None


@contextmanager
def sole(places: Places) -> Iterator[int]:
    """Be the only `up` of this data directory."""
    places.home.mkdir(parents=True, exist_ok=True)
    try:
        # A moment's patience: whoever only asks holds the lock for an instant.
        with locks.locked(places.up_lock, timeout=0.5) as fd:
            introduce(fd)
            yield fd
            os.ftruncate(fd, 0)
    except locks.Busy as busy:
        if str(places.up_lock) in str(busy):
            raise AlreadyRunning(who_runs(places)) from None
        raise


def introduce(fd: int, address: str = "") -> None:
    """Write who we are into the lock that we hold."""
    since = datetime.fromtimestamp(psutil.Process().create_time(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    text = json.dumps(asdict(Running(os.getpid(), since, address))).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)


def wait_until_free(places: Places, timeout: float) -> bool:
    """Wait for the lock's release, and say whether that came."""
    deadline = time.monotonic() + timeout
    while locks.is_held(places.up_lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
