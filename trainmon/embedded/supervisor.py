"""What `up` runs, kept running: one plain process, no threads.

Children die with it (PDEATHSIG), so a kill -9 leaves nothing behind; what they leave, it inherits
(subreaper) and ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import psutil

from trainmon.embedded import ensure, locks
from trainmon.embedded.children import Child, Watched, kill_all, tail
from trainmon.embedded.places import SUPERVISED, Places
from trainmon.embedded.rotation import Logs

PR_SET_CHILD_SUBREAPER = 36
TICK = 0.2
GRACE = 8.0


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal; not an Exception, so that no handler swallows it."""


def request_stop(number: int, frame: FrameType | None) -> None:
    """Signal handler: leave whatever is going on."""
    raise StopRequested(signal.Signals(number).name)


class Supervisor:
    """Starts children in order, restarts them with back-off, stops them in reverse."""

    def __init__(self, places: Places, say: Callable[[str], None]) -> None:
        self.places = places
        self.say = say
        self.logs = Logs(places)
        self.watched: list[Watched] = []
        self.held: list[int] = []
        self.reaped = time.monotonic()

    def prepare(self) -> None:
        """Signals, orphans, and the end of what an earlier `up` left behind."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, request_stop)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        kill_all(left_behind(self.places))

    def hold_database(self) -> None:
        """Be the one who stops PostgreSQL, in the place of a command's watcher."""
        with locks.locked(self.places.start_lock):
            self.held.append(ensure.take_lease(self.places).fd)
            self.held.append(take_over_from_watcher(self.places))

    def add(self, child: Child, ready: Callable[[], bool] | None = None, within: float = 60.0) -> None:
        """Start one more child and wait until it is ready."""
        watched = Watched(child)
        self.watched.append(watched)
        watched.start()
        deadline = time.monotonic() + within
        while ready and not ready():
            if not child.alive() and watched.restarts > 3:
                last = "\n".join(tail(child.log))
                raise RuntimeError(f"{child.name} {child.ending()}. The end of {child.log}:\n{last}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{child.name} was not ready within {within:.0f} s, see {child.log}")
            self.tick()
            time.sleep(0.02)

    def wait_for(self, finished: Callable[[], bool]) -> None:
        """Look after the children until something is finished."""
        while not finished():
            self.tick()
            time.sleep(TICK / 2)

    def run(self) -> None:
        """Look after the children for ever."""
        self.wait_for(lambda: False)

    def tick(self) -> None:
        """One look at each child."""
        for watched in list(self.watched):
            self.look_at(watched)
        self.logs.cut()
        self.reap()

    def look_at(self, watched: Watched) -> None:
        """Plan a restart for a child that ended, or do one whose time has come."""
        child = watched.child
        if watched.next_start is not None:
            if time.monotonic() >= watched.next_start:
                self.start_again(watched)
        elif not child.alive() and child.once:
            self.watched.remove(watched)
        elif not child.alive():
            pause = watched.fail()
            self.say(f"[{child.name}] {child.ending()}; starting it again in {pause:.1f} s")
            if watched.restarts > 1:
                for line in tail(child.log):
                    self.say(f"[{child.name}] {line}")

    def start_again(self, watched: Watched) -> None:
        """A failing start is one more failure, not the end of the supervisor."""
        try:
            watched.start()
        except Exception as error:  # whatever keeps it from starting may pass: a full disk, a locked file
            self.say(f"[{watched.child.name}] did not start: {error}; next try in {watched.fail():.1f} s")

    def reap(self, every: float = 5.0) -> None:
        """Orphans that we inherited end as zombies; our own children are waited for by their Popen."""
        if time.monotonic() - self.reaped < every:
            return
        self.reaped = time.monotonic()
        own = {w.child.process.pid for w in self.watched if w.child.process}
        for process in psutil.Process().children():
            if process.pid not in own and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)

    def stop(self) -> None:
        """Servers of requests and work together, then the bus, then the database, then whatever is left."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        last = [w.child for w in self.watched if w.child.name in ("postgres", "valkey")]
        first = [w.child for w in self.watched if w.child not in last]
        for group in (first[::-1], *([child] for child in reversed(last))):
            for child in group:
                child.ask_to_stop()
            deadline = time.monotonic() + (GRACE if group is not last else 30)
            for child in group:
                if not child.wait(max(0.1, deadline - time.monotonic())):
                    self.say(f"[{child.name}] did not stop within {GRACE:.0f} s and is killed")
                child.kill()
        kill_all(psutil.Process().children(recursive=True))
        for fd in self.held:
            os.close(fd)


def left_behind(places: Places) -> list[psutil.Process]:
    """Processes that a supervisor of this data directory started and that outlived it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(SUPERVISED) == str(places.home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def take_over_from_watcher(places: Places) -> int:
    """Hold the watcher's lock; under start.lock a watcher only waits, so ending it is safe."""
    fd = locks.open_lock(places.watcher_lock)
    for _ in range(200):
        if locks.try_lock(fd):
            return fd
        try:
            pid = int(os.pread(fd, 20, 0) or b"0")
            if pid and "trainmon.embedded.watcher" in psutil.Process(pid).cmdline():
                psutil.Process(pid).kill()
        except (ValueError, psutil.Error):
            pass
        time.sleep(0.02)
    raise locks.Busy(f"{places.watcher_lock} stays locked by another process.")
