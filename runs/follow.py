"""Following: every enabled source is read as it grows, for ever, by one process with a thread a source.

``Follower.run`` looks every half second which sources there are; every two seconds whose runs have been
silent for too long, and which threads do not answer; and it says on each source up to when its runs are known.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import connection, connections
from django.db.models import QuerySet

from runs.followed import Followed
from runs.models import Source
from runs.silence import silent
from runs.sync import AWAY

#: Seconds between two looks at the runs of all sources, and at which sources there are.
EVERY, SOURCES = 2.0, 0.5
#: Seconds that threads have to end; the children of their scans are ended before that.
GRACE = 4.0
#: A thread that has looked within this time knows its runs.
FRESH = 3.0

log = logging.getLogger(__name__)


class Follower:
    """Follows the sources that ``chosen`` gives (asked again and again), until ``stop`` is set."""

    def __init__(self, chosen: Callable[[], QuerySet[Source]], *, poll: bool = False) -> None:
        self.chosen, self.poll = chosen, poll
        self.stop = threading.Event()
        self.threads: dict[tuple[int, str, str], Followed] = {}
        self.stuck: set[int] = set()

    def run(self) -> None:
        """Follow until asked to stop; what hangs then is left behind."""
        due = 0.0
        while not self.stop.is_set():
            try:
                self.keep_up()
                if time.monotonic() >= due:
                    self.step()
                    due = time.monotonic() + EVERY
            except AWAY as error:
                log.warning("the database is away: %s", str(error).strip())
                connections.close_all()
            self.stop.wait(SOURCES)
        for thread in self.threads.values():
            thread.stop()
        until = time.monotonic() + GRACE
        for thread in self.threads.values():
            thread.join(max(0.0, until - time.monotonic()))
        connections.close_all()

    def step(self) -> None:
        """One look at the runs."""
        healthy = [one for one in self.threads.values() if one.healthy]
        for source_id in silent([one.source_id for one in healthy]) if healthy else ():
            next(one for one in healthy if one.source_id == source_id).settle()
        self.tell_stuck()
        fresh = time.monotonic() - FRESH
        tell_followed([one.source_id for one in healthy if one.looked > fresh])

    def keep_up(self) -> None:
        """A thread for each source: new ones begin, those of disabled or changed ones end."""
        wanted = set(self.chosen().values_list("pk", "root", "layout"))
        for key in self.threads.keys() - wanted:
            self.threads.pop(key).stop()
        for key in sorted(wanted):
            if key not in self.threads or not self.threads[key].is_alive():
                source_id, root, _ = key
                log.info("following source %s: %s", source_id, root)
                self.threads[key] = Followed(source_id, root, poll=self.poll)
                self.threads[key].start()

    def tell_stuck(self) -> None:
        """Say on a source that its file system does not answer; its thread waits for it, the others go on."""
        overdue = time.monotonic() - settings.TRAINMON_SCAN_DEADLINE
        stuck = {one.source_id for one in self.threads.values() if one.heard_of < overdue}
        for source_id in stuck - self.stuck:
            why = f"nothing was heard of it for {settings.TRAINMON_SCAN_DEADLINE} s: the file system may hang"
            log.warning("source %s: %s", source_id, why)
            Source.objects.filter(pk=source_id).update(status=Source.Status.ERROR, last_error=why)
        self.stuck = stuck


def tell_followed(sources: list[int]) -> None:
    """Say that all that moves in these sources is known up to now.

    One whose row is just being held by a commit is told the next time.
    """
    if sources:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE runs_source SET followed = now() WHERE id IN "
                "(SELECT id FROM runs_source WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)", [sources])
