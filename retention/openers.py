"""Who still has files of a grave open: a TensorBoard does until its next look, and until then deleting them frees nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from datetime import datetime, timedelta

from django.utils.timezone import now

from retention.files import Refused, closing, entered, listing
from retention.models import Tombstone
from retention.trash import trash_with
from retention.walk import Walk, in_tree_order

#: Whoever reads logs has noticed by then that a run is gone; a TensorBoard looks each 30 s.
LET_GO = timedelta(seconds=90)
#: Seconds between two looks.
PAUSE = 0.5


def wait(tomb: Tombstone, at: datetime) -> None:
    """Wait until nobody has a run open that was buried a moment ago; but not for longer than LET_GO."""
    until = tomb.buried_at + LET_GO
    while at < until and _held(tomb):
        time.sleep(PAUSE)
        at = max(at, now())


def _held(tomb: Tombstone) -> bool:
    """Whether a file of it is open; one that cannot be looked at is for whoever purges it."""
    name = tomb.grave.encode()
    try:
        with closing(trash_with(tomb.source.root, name)) as trash, closing(entered(trash, name, name)) as fd, Walk(fd) as walk:
            files = in_tree_order(entry for entry in listing(fd) if entry.kind == "file")
            return any(_is_open(*walk.beside(entry.path)) for entry in files)
    except (Refused, OSError):
        return False


def _is_open(folder: int, name: bytes) -> bool:
    """Whether another open file description is there: the kernel lends a file only to whoever has it alone."""
    with closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)) as fd:
        try:
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # by default, who opens it now would end us
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            return True
        except OSError:  # somebody else's file, or a file system that lends none: not known
            return False
    return False
