"""One source that is followed: its thread hears, looks, reads what grew, and has the tree scanned.

Known files that grew are read here, under a claim of the source that is held for the moment.
Whatever else changed is left to a scan, at most a quarter of the time: by a child process, or
here where the last one took but a moment, so that a new run shows at once.
A file system that hangs stops this thread alone; its claim is not renewed and runs out.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from contextlib import suppress
from math import inf

from django.db import connections

from runs.ingest import RUNS_TOGETHER, Work, ingest
from runs.inotify import Heard, Inotify, Unwatched
from runs.lease import Busy, Lease, LeaseLost, claim, holder_name
from runs.models import Source
from runs.models.trainer import FOLLOWS
from runs.readers import naming
from runs.scan import Failed, Options, Synced, sync_source
from runs.silence import settle_silent
from runs.sync import AWAY, HEARTBEAT, sync
from runs.watchlist import Patience, Watchlist

#: Seconds between two looks at hot files, at folders (without inotify), and between two scans.
POLL, FOLDERS, SCAN = 1.0, 5.0, 60.0
#: A look takes at most this share of the time, a scan that.
POLL_SHARE, SCAN_SHARE = 0.1, 0.25
#: Where a scan takes less than this (seconds), of so few log files, the next is made here: starting a process takes longer.
#: The rest before it is short, whatever that process took on a busy machine.
QUICK, FEW, QUICK_REST = 10.0, 2_000, 1.0
#: Seconds: a writer's burst is waited for; a run is left alone after a read, and so is the source.
GATHER, RUN_REST, REST = 0.005, 0.05, 0.01
#: Seconds until a source is asked for again that a long sync has, and that could not be read.
BUSY_REST, FAILED_REST = 0.25, 10.0
#: Runs of one read: few, so that the first is shown soon; of many that wait a quarter, which costs less a run.
RUNS_AT_ONCE, RUNS_SHARE = 40, 4
#: Seconds that a connection is kept while nothing happens, and between tries when the database is away.
CONNECTION_KEPT, SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 0.25, 5.0

log = logging.getLogger(__name__)


class Stopped(BaseException):
    """The follower ends; no Exception, so that nothing takes it for trouble with a file."""


class Followed(threading.Thread):
    """The thread of one source.

    ``heard_of`` (monotonic) tells that it lives, ``looked`` up to when its runs are known.
    """

    def __init__(self, source_id: int, root: str, *, poll: bool) -> None:
        super().__init__(name=f"source {source_id}", daemon=True)
        self.source_id, self.root, self.polls_only = source_id, root, poll
        self.holder = holder_name(FOLLOWS)
        self.lease: Lease | None = None
        self.list = Watchlist(source_id, root)
        self.patience = Patience()
        self.inotify: Inotify | None = None
        self.said = ""
        self.pending: dict[int, float] = {}
        self.rested: dict[int, float] = {}
        self.quick = False
        self.stopping = threading.Event()
        self.woken, self.waker = socket.socketpair()  # closed with this object: the follower may wake a thread that has ended
        self.waker.setblocking(False)
        self.silent = self.healthy = False
        self.heard_of = self.began = time.monotonic()
        self.looked = self.polled_until = self.folders_until = self.rest_until = self.used = 0.0
        self.all_folders_until = self.scan_due = self.scan_rest = 0.0

    def stop(self) -> None:
        """Ask it to end."""
        self.stopping.set()
        self.wake()

    def settle(self) -> None:
        """Tell it that runs of it have been silent for too long."""
        self.silent = True
        self.wake()

    def wake(self) -> None:
        """Have it look up from waiting."""
        try:
            self.waker.send(b"\0")
        except OSError:
            pass  # it has been told already, or has ended

    def run(self) -> None:
        """Follow until stopped, whatever happens: trouble with the database passes, other trouble is told."""
        pause = SHORTEST_PAUSE
        try:
            while not self.stopping.is_set():
                try:
                    self.step()
                    pause = SHORTEST_PAUSE
                    continue
                except LeaseLost as lost:  # we were stopped or hung for so long that another sync went on
                    log.warning("source %s: %s", self.source_id, lost)
                    self.lease = None
                except AWAY as error:
                    log.warning("source %s: the database is away: %s", self.source_id, str(error).strip())
                except Exception:
                    log.exception("source %s: following goes on in %.0f s", self.source_id, LONGEST_PAUSE)
                    pause = LONGEST_PAUSE
                connections.close_all()
                self.stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                self.scan_due = 0.0  # others may have changed much meanwhile
        except Stopped:
            with suppress(*AWAY):  # it runs out by itself, or ends with this process
                self.release()
        finally:
            connections.close_all()
            if self.inotify is not None:
                self.inotify.close()

    def step(self) -> None:
        """Whatever is due now, then wait for more."""
        self.alive()
        now = time.monotonic()
        if now >= self.scan_at():
            self.scan()
        self.hear()
        self.poll()
        self.read()
        if self.silent and self.healthy and not self.pending:
            self.silent = not self.judge_silent()
        if not self.pending or min(self.pending.values()) > time.monotonic() - 1:
            self.looked = time.monotonic()
        self.wait()

    def alive(self) -> None:
        """Say that this thread is not stuck; ends it where it is to stop."""
        self.heard_of = time.monotonic()
        if self.stopping.is_set():
            raise Stopped

    # waiting and hearing

    def wait(self) -> None:
        """Until something is due, or the kernel or the follower says something."""
        dues = [self.scan_at(), self.polled_until, *self.pending.values()]
        if self.inotify is None:
            dues.append(self.folders_until)
        until = max(min(dues), self.rest_until if self.pending else 0.0)
        poll = select.poll()
        poll.register(self.woken, select.POLLIN)
        if self.inotify is not None:
            poll.register(self.inotify.fd, select.POLLIN)
        if time.monotonic() - self.used > CONNECTION_KEPT:
            connections.close_all()
        ready = dict(poll.poll(max(0.0, until - time.monotonic()) * 1000))
        if self.woken.fileno() in ready:
            self.woken.recv(4096)
        elif ready:
            time.sleep(GATHER)

    def hear(self) -> None:
        """What the kernel has to say since the last time."""
        if self.inotify is None:
            return
        heard = self.inotify.look()
        if heard.lost:
            log.info("source %s: more happened at once than the kernel tells; looking at everything", self.source_id)
            self.polled_until = 0.0
        if heard.lost or heard.moved:
            self.want_scan(b"")
        self.complain()
        self.sort(heard)

    def sort(self, heard: Heard) -> None:
        """Growth of known files is read, other files that may be logs are scanned for."""
        for path in heard.written:
            if (file := self.list.files.get(path)) is not None:
                self.want_read(file.run_id)
            elif naming.is_wanted(path.rpartition(b"/")[2]):
                self.want_scan(path)
        for path in heard.gone:
            if path in self.list.files or naming.is_wanted(path.rpartition(b"/")[2]):
                self.want_scan(path)

    def poll(self) -> None:
        """A look at each hot file, and without inotify at each folder; slower where looks take long."""
        began = time.monotonic()
        if began >= self.polled_until:
            runs, gone = self.list.differing(self.list.files if self.polled_until == 0.0 else self.list.hot())
            for run_id in runs:
                self.want_read(run_id)
            for path in gone:
                self.want_scan(path)
            self.polled_until = _next(began, POLL)
        began = time.monotonic()
        if (self.inotify is None or not self.inotify.whole) and began >= self.folders_until:
            everywhere = began >= self.all_folders_until
            for path in self.list.moved(hot=not everywhere):
                self.want_scan(path)
            self.folders_until = _next(began, POLL)
            if everywhere:
                self.all_folders_until = _next(began, FOLDERS)

    def want_read(self, run_id: int) -> None:
        """Read a run as soon as it has rested."""
        self.pending.setdefault(run_id, self.rested.get(run_id, 0.0))

    def want_scan(self, path: bytes) -> None:
        """Scan the tree for the sake of this path."""
        self.scan_due = min(self.scan_due, self.patience.due(path, time.monotonic()))

    def scan_at(self) -> float:
        """When the next scan may begin."""
        return max(self.scan_due, self.scan_rest)

    # working

    def claimed(self) -> bool:
        """Claim the source for a moment; False where another sync has it."""
        self.used = time.monotonic()
        lease = claim(self.source_id, self.holder)
        if isinstance(lease, Busy):
            self.rest_until = time.monotonic() + (2 * REST if lease.briefly else BUSY_REST)
            return False
        self.lease = lease
        return True

    def release(self) -> None:
        """Give the source back, where we have it, and leave it to others for a moment."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None
            self.used = time.monotonic()
            self.rest_until = self.used + REST

    def read(self) -> None:
        """Bring the runs whose files grew up to date."""
        now = time.monotonic()
        if not self.pending or now < self.rest_until:
            return
        due = [run_id for run_id, at in self.pending.items() if at <= now]
        due = due[: min(RUNS_TOGETHER, max(RUNS_AT_ONCE, len(due) // RUNS_SHARE))]
        if not due or not self.claimed():
            return
        assert self.lease is not None
        seen = self.list.look(due)
        work: list[Work] = [(run_id, None) for run_id in due]
        gained = ingest(work, self.root, self.lease, _Beating(self, self.lease))
        self.release()
        self.list.remember(seen)
        for run_id in due:
            del self.pending[run_id]
            self.rested[run_id] = time.monotonic() + RUN_REST
        if gained.vanished:
            self.want_scan(b"")

    def judge_silent(self) -> bool:
        """Judge the runs of which nothing more came; False where another sync has the source."""
        if not self.claimed():
            return False
        assert self.lease is not None
        settle_silent(self.source_id, self.lease)
        self.release()
        return True

    def scan(self) -> None:
        """The whole tree; what it found is then known here."""
        self.watch()
        self.release()
        self.list.begin_scan()
        began = time.monotonic()
        outcome = self.scan_here() if self.is_quick() else sync(self.source_id, heard=self.alive)
        if isinstance(outcome, Busy):
            self.scan_due = self.scan_rest = time.monotonic() + (REST if outcome.briefly else 1.0)
            return
        self.healthy = isinstance(outcome, Synced)
        if isinstance(outcome, Failed):
            self.complain(outcome.error)
        ended = self.used = time.monotonic()
        self.scan_due = ended + (SCAN if self.healthy else FAILED_REST)
        # what it took itself: the start of a process is no burden on the disk
        took = outcome.seconds if isinstance(outcome, Synced) else ended - began
        self.list.load()
        self.quick = self.healthy and took < QUICK and len(self.list.files) < FEW
        self.scan_rest = ended + min(took * (1 / SCAN_SHARE - 1), QUICK_REST if self.quick else inf)
        if self.inotify is None or not self.inotify.whole:
            self.list.look_for_new()
        self.rested = {run_id: at for run_id, at in self.rested.items() if at > ended}
        self.pending = {run_id: at for run_id, at in self.pending.items() if run_id in self.list.of_run}

    def is_quick(self) -> bool:
        """Whether a scan may be made by this thread: the last one was quick, or its trainer has just begun to push."""
        self.used = time.monotonic()
        return self.quick or Source.objects.filter(pk=self.source_id, pushed=True, last_synced=None).exists()

    def scan_here(self) -> Synced | Failed | Busy:
        """Scan without a process of its own: like a read, it stops this thread alone where the disk hangs."""
        lease = claim(self.source_id, self.holder)
        if isinstance(lease, Busy):
            return lease
        self.lease = lease
        beating = _Beating(self, lease)
        outcome = sync_source(lease, Options(), lambda _: beating(0, 0))
        self.release()
        return outcome

    def watch(self) -> None:
        """Have the kernel tell us, before the scan looks: so nothing falls between the two."""
        if self.polls_only:
            return
        if self.inotify is not None:
            top = self.list.stat(b"")
            if self.inotify.whole and top is not None and top[:2] == self.inotify.identity:
                return
            self.inotify.close()
            self.inotify = None
        try:
            self.inotify = Inotify(self.root)
        except Unwatched as why:
            self.complain(f"no inotify, looking each {POLL:.0f} s instead: {why}")

    def complain(self, words: str = "") -> None:
        """Say once what is wrong with the source, or that a part of it is only polled."""
        if not words and self.inotify is not None and self.inotify.short:
            words = f"a part of it is not watched, looking each {POLL:.0f} s instead: {self.inotify.short}"
        if words and words != self.said:
            self.said = words
            log.warning("source %s (%s): %s", self.source_id, self.root, words)


class _Beating:
    """Renews the claim while a long read goes on: each call tells of bytes read."""

    def __init__(self, thread: Followed, lease: Lease) -> None:
        self.thread, self.lease, self.beaten = thread, lease, time.monotonic()

    def __call__(self, amount: int, runs: int) -> None:
        self.thread.alive()
        now = time.monotonic()
        if now - self.beaten > HEARTBEAT:
            self.beaten = now
            self.lease.renew()


def _next(began: float, interval: float) -> float:
    """When the next look is due."""
    ended = time.monotonic()
    return ended + max(interval, (ended - began) / POLL_SHARE)
