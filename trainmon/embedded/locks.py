"""File locks (flock): released by the kernel when their holder dies, kill -9 included."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Somebody else held a lock for longer than we were ready to wait."""


def open_lock(path: Path) -> int:
    """Open (and make) a lock file; the descriptor is not inherited by programs that we start."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_to_owner_of(path.parent, fd)
    return fd


def give_to_owner_of(folder: Path, fd: int) -> None:
    """As root in an ordinary user's HOME: leave files that this user can open again."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def try_lock(fd: int, shared: bool = False) -> bool:
    """Take the lock if it is free, and say whether we hold it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(fd: int) -> None:
    """Take the lock exclusively, however long it takes."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def unlock(fd: int) -> None:
    """Give the lock back, keeping the file open."""
    fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def locked(path: Path, timeout: float = 120) -> Iterator[int]:
    """Hold a lock exclusively for a block of code."""
    fd = open_lock(path)
    try:
        deadline = time.monotonic() + timeout
        while not try_lock(fd):
            if time.monotonic() > deadline:
                raise Busy(f"{path} has been locked by another trainmon process for {timeout:.0f} s.")
            time.sleep(0.02)
        yield fd
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock, shared or exclusively."""
    if not path.exists():
        return False
    fd = open_lock(path)
    try:
        return not try_lock(fd)
    finally:
        os.close(fd)
