"""What keeps the TensorBoards: one plain process that looks at every row each half second and does what is due.

Its children end with it, kill -9 included (PDEATHSIG), so that a new supervisor never finds one that nobody keeps.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.db.models import Exists, OuterRef, Prefetch
from django.utils.timezone import now

from runs.models import Source, Trainer
from streaming.models import TensorBoard
from streaming.tensorboard import kernel
from streaming.tensorboard.child import end_orphans
from streaming.tensorboard.kept import Kept
from streaming.tensorboard.mounts import sources_of
from streaming.tensorboard.wishes import State

#: Seconds between two looks, between two at trainers without a row, and between two times that it says it lives.
TICK, NEWCOMERS_EVERY, SEEN_EVERY = 0.5, 2.0, 5.0
#: How many start at a time: each takes seconds of a processor.
AT_ONCE = max(2, os.cpu_count() or 1)
AWAY = (OperationalError, InterfaceError)

log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another supervisor keeps the TensorBoards of this data."""


@contextmanager
def sole() -> Iterator[None]:
    """Be the only one on this data directory; a moment's patience for one that is just ending."""
    settings.HOME.mkdir(parents=True, exist_ok=True)
    path = settings.HOME / "tensorboards.lock"
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        for attempt in range(20):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 19:
                    raise AlreadyRunning(f"The TensorBoards of {settings.HOME} are kept by pid {file.read(20) or '?'}.") from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class Supervisor:
    """Keeps the TensorBoard of every trainer."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.stopping = threading.Event()
        self.seen = self.newcomers = 0.0

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C; then nothing is left running."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stopping.set())
        end_orphans()
        try:
            while not self.stopping.is_set():
                self.look()
                self.stopping.wait(TICK)
        finally:
            self.stop()

    def look(self) -> None:
        """One look at each row; a database that is away takes no TensorBoard with it."""
        try:
            rows = self.rows()
            for gone in set(self.kept) - {row.pk for row in rows}:
                self.kept.pop(gone).end()
            for row in rows:
                self.look_at(row)
            self.say_seen()
        except AWAY as error:
            log.warning("the database is away: %s", str(error).strip())
            connections.close_all()
            self.stopping.wait(1.0)

    def look_at(self, row: TensorBoard) -> None:
        """One look at one; trouble with it is not that of the others."""
        if row.pk not in self.kept:
            self.kept[row.pk] = Kept(row)
        room = sum(kept.starting for kept in self.kept.values()) < AT_ONCE
        try:
            self.kept[row.pk].look(row, sources_of(row.trainer), room)
        except AWAY:
            raise
        except Exception:
            log.exception("the TensorBoard of %s cannot be looked after", row.trainer.slug)

    def rows(self) -> list[TensorBoard]:
        """Every row; a trainer that has a source and no row gets one."""
        sources = Source.objects.filter(enabled=True)
        if time.monotonic() >= self.newcomers:
            self.newcomers = time.monotonic() + NEWCOMERS_EVERY
            without = Trainer.objects.filter(Exists(sources.filter(trainer=OuterRef("pk"))), tensorboard=None)
            TensorBoard.objects.bulk_create([TensorBoard(trainer=trainer) for trainer in without], ignore_conflicts=True)
        few = sources.only("root", "enabled", "trainer")
        return list(TensorBoard.objects.select_related("trainer").prefetch_related(Prefetch("trainer__sources", few)))

    def say_seen(self) -> None:
        """That somebody looks after them."""
        if time.monotonic() >= self.seen:
            self.seen = time.monotonic() + SEEN_EVERY
            TensorBoard.objects.filter(pk__in=self.kept).update(seen=now())

    def stop(self, reason: str = "The supervisor of the TensorBoards has been stopped.") -> None:
        """End all, together, and say so."""
        for kept in self.kept.values():
            if kept.child is not None:
                kept.child.process.terminate()
        for kept in self.kept.values():
            kept.rest(kept_state(kept), reason if kept.child else kept.reason)
            with suppress(*AWAY):
                kept.tell()


def kept_state(kept: Kept) -> str:
    """What rests already, rests as it did."""
    return State.STOPPED if kept.child is not None else kept.state


def keep_all(**_: Any) -> None:
    """The whole of `manage.py tensorboards`."""
    with sole():
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # where one runs as our user, our environment has secrets

        Supervisor().run()
