"""Stops the embedded PostgreSQL once nobody holds its lease: `python -m trainmon.embedded.watcher HOME`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from trainmon.embedded import locks
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres

# Commands often come one after another; stopping between them would cost each a start.
LINGER = 1.0


def watch(places: Places) -> None:
    """Wait for the last lease to end, then stop the server; leave if another watcher is at it."""
    own = locks.open_lock(places.watcher_lock)
    if not locks.try_lock(own):
        return
    os.truncate(own, 0)
    os.write(own, str(os.getpid()).encode())
    lease = locks.open_lock(places.lease)
    while not stop_if_unused(places, lease, own):
        locks.wait_for_lock(lease)
        locks.unlock(lease)
        time.sleep(LINGER)


def stop_if_unused(places: Places, lease: int, own: int) -> bool:
    """One try: under start.lock, stop the server unless somebody holds a lease."""
    with locks.locked(places.start_lock, timeout=600):
        if not locks.try_lock(lease):
            return False
        Postgres(places).stop()
        # Still under start.lock: whoever starts the server next must see that no watcher is left.
        os.close(own)
        return True


if __name__ == "__main__":
    watch(Places(Path(sys.argv[1])))
