"""The only publisher: passes notices of committed changes on to the hubs, and never holds up a commit.

A thread of its own waits for notices.  Those that come while it sends are merged, the newest version
wins, so what waits is bounded by the number of runs; beyond MOST it is dropped, as a hub also asks
by itself.  The hub of this process is told directly, all others through the channel layer.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

log = logging.getLogger(__name__)

GROUP = "changes"
#: Runs and jobs that may wait to be told; one message holds at most as many.
MOST = 20_000
#: Seconds that the bus may take for a message, and that a process which ends waits for its last one.
PATIENCE, LAST_WORD = 5.0, 1.0


class Listener(Protocol):
    """The hub of this process, as it is told; from any thread, at once."""

    def hear_soon(self, runs: dict[int, int], jobs: dict[int, int], sources: set[int]) -> None:
        """Runs, jobs and sources have changed."""

    def recheck_soon(self) -> None:
        """Who may see what may have changed."""


#: Put here by the hub while it runs.
here: Listener | None = None


def in_process() -> bool:
    """Whether there is no bus, so that notices stay within this process."""
    from channels.layers import InMemoryChannelLayer, get_channel_layer  # half a command's start: when first needed

    return isinstance(get_channel_layer(), InMemoryChannelLayer)


@dataclass(slots=True)
class Notice:
    """What has changed, merged."""

    runs: dict[int, int] = field(default_factory=dict)
    jobs: dict[int, int] = field(default_factory=dict)
    sources: set[int] = field(default_factory=set)

    def add(self, runs: Mapping[int, int], jobs: Mapping[int, int], sources: Collection[int]) -> int:
        """Take in another notice, unless there are too many already; how many runs and jobs found no room."""
        dropped = 0
        for mine, new in ((self.runs, runs), (self.jobs, jobs)):
            for pk, version in new.items():
                if pk in mine or len(mine) < MOST:
                    mine[pk] = max(version, mine.get(pk, version))
                else:
                    dropped += 1
        if len(self.sources) < MOST:
            self.sources.update(sources)
        return dropped

    def message(self) -> dict[str, Any]:
        """As the channel layer carries it: keys of messages are text, so pairs."""
        return {"type": "changes", "runs": list(self.runs.items()), "jobs": list(self.jobs.items()),
                "sources": list(self.sources)}  # fmt: skip


class Publisher:
    """The thread and what waits for it; each process has one, a forked child begins anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.woken = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        self.waiting = Notice()
        #: Changes of runs and jobs that the bus did not get.
        self.dropped = 0
        self.thread: threading.Thread | None = None

    def tell(self, runs: Mapping[int, int], jobs: Mapping[int, int], sources: Collection[int]) -> None:
        """Pass a notice on, soon; returns at once."""
        if (listener := here) is not None:
            listener.hear_soon(dict(runs), dict(jobs), set(sources))
        if in_process():
            return
        with self.lock:
            self.dropped += self.waiting.add(runs, jobs, sources)
            self.idle.clear()
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="publisher", daemon=True)
                self.thread.start()
        self.woken.set()

    def flush(self, timeout: float = LAST_WORD) -> bool:
        """Wait until everything is told; whether it is."""
        return self.idle.wait(timeout)

    def _run(self) -> None:
        failing = False
        with asyncio.Runner() as runner:
            while True:
                # not in the loop's own threads: Python waits for those when the process ends, and so for ever
                self.woken.wait()
                self.woken.clear()
                with self.lock:
                    notice, self.waiting = self.waiting, Notice()
                try:
                    runner.run(self._pass_on(notice))
                    failing = False
                except Exception as error:
                    # a command alone, without `up`, has no bus, and nobody who would miss it
                    level = logging.INFO if isinstance(error.__context__, FileNotFoundError) else logging.WARNING
                    if not failing:
                        log.log(level, "The bus does not take notices (%s): pages look for changes every 2 s.", error)
                    failing = True
                    self.dropped += len(notice.runs) + len(notice.jobs)
                with self.lock:
                    if not self.woken.is_set():
                        self.idle.set()

    async def _pass_on(self, notice: Notice) -> None:
        from channels.layers import get_channel_layer

        layer = get_channel_layer()
        assert layer is not None
        async with asyncio.timeout(PATIENCE):
            await layer.group_send(GROUP, notice.message())


_publisher = Publisher()


def _begin_anew() -> None:
    global _publisher
    _publisher = Publisher()


os.register_at_fork(after_in_child=_begin_anew)


def on_change(
    *, runs: Mapping[int, int], jobs: Mapping[int, int], sources: Collection[int], **_: Any
) -> None:
    """Receiver of ``runs.signals.changed``."""
    _publisher.tell(runs, jobs, sources)


def dropped() -> int:
    """Changes of runs and jobs that this process could not tell others of."""
    return _publisher.dropped


def flush(timeout: float = LAST_WORD) -> bool:
    """Wait until all notices of this process are told; whether they are."""
    return _publisher.flush(timeout)


@atexit.register
def _last_word() -> None:
    flush()
