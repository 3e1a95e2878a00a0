"""A database for whoever needs one: started if it isn't running, stopped after its last user."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from trainmon.embedded import locks
from trainmon.embedded.places import SUPERVISED, Places
from trainmon.embedded.postgres import READY_WITHIN, Postgres, StartFailed


@dataclass
class Lease:
    """A shared hold on the embedded database; the kernel gives it back when we die."""

    fd: int

    def release(self) -> None:
        """Give it back early."""
        os.close(self.fd)


_held: dict[Path, Lease] = {}


def ensure(home: Path, options: dict[str, str] | None = None) -> Lease:
    """Have PostgreSQL run for this process; calling it twice is fine."""
    if home in _held:
        return _held[home]
    places = Places(home)
    home.mkdir(parents=True, exist_ok=True)
    if os.environ.get(SUPERVISED) == str(home):
        wait_for_supervisor(places)
        _held[home] = take_lease(places)
        return _held[home]
    with locks.locked(places.start_lock):
        postgres = Postgres(places, options or {})
        # The watcher first: were we killed after the start, it would still stop the server.
        if not locks.is_held(places.watcher_lock):
            start_watcher(places)
        if not postgres.ready():
            postgres.start()
        _held[home] = take_lease(places)
    return _held[home]


def wait_for_supervisor(places: Places, patience: float = READY_WITHIN) -> None:
    """PostgreSQL stays the supervisor's own child: one of ours would die with us, or outlive the supervisor's kill."""
    postgres, deadline = Postgres(places), time.monotonic() + patience
    while not postgres.ready():
        if time.monotonic() > deadline:
            raise StartFailed(f"The PostgreSQL that `up` looks after in {places.home} was not ready within {patience:.0f} s.")
        time.sleep(0.05)


def take_lease(places: Places, patience: float = 30) -> Lease:
    """Hold the lease shared. Under start.lock only a waking watcher holds it exclusively, for an instant."""
    fd = locks.open_lock(places.lease)
    deadline = time.monotonic() + patience
    while not locks.try_lock(fd, shared=True):
        if time.monotonic() > deadline:
            os.close(fd)
            raise locks.Busy(f"{places.lease} is held exclusively by another process.")
        time.sleep(0.01)
    return Lease(fd)


def start_watcher(places: Places) -> None:
    """A small process that outlives us and stops PostgreSQL after the last lease."""
    places.logs.mkdir(mode=0o700, exist_ok=True)
    with (places.logs / "watcher.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "trainmon.embedded.watcher", str(places.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
        )
