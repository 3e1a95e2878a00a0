"""Syncing a source: the one function behind the command, the Celery task and the admin action."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction

from runs import isolation
from runs.lease import Busy, Lease, LeaseLost, claim
from runs.models import Source
from runs.readers.plain import plain
from runs.scan import Failed, Options, Progress, Synced, sync_source

#: Seconds between two heartbeats of a lease.
HEARTBEAT = 10.0
#: How often a sync begins anew when the database went away, and the first pause (seconds).
DATABASE_TRIES, DATABASE_PAUSE = 5, 1.0
#: How long a sync waits for a follower, which holds a source for moments, and how often it looks.
PATIENCE, LOOK = 10.0, 0.01
#: The database went away, or this process still holds a connection from before it was restarted.
AWAY = (OperationalError, InterfaceError)

log = logging.getLogger(__name__)
T = TypeVar("T")
Isolation = Literal["fork", "forkserver", "here"]


def sync(
    source_id: int,
    options: Options = Options(),
    *,
    isolate: Isolation = "forkserver",
    report: Callable[[Progress], None] = lambda _: None,
    heard: Callable[[], None] = lambda: None,
) -> Synced | Failed | Busy:
    """Sync one source, or say who does so already.

    The work is done by a child process with a deadline (``isolate="here"``: by this one),
    and begins anew where the database was restarted meanwhile: what was committed stays.
    ``heard`` is called at least every second while the child works; what it raises ends the child.
    """
    lease = _claimed(source_id)
    if isinstance(lease, Busy):
        return lease
    try:
        return _attempts(lease, options, isolate, report, heard)
    finally:
        _release(lease)


def _claimed(source_id: int) -> Lease | Busy:
    """Claim a source, also from a follower between two of its moments."""
    until = time.monotonic() + PATIENCE
    while isinstance(lease := _again(lambda: claim(source_id)), Busy) and lease.briefly and time.monotonic() < until:
        time.sleep(LOOK)
    return lease


def _attempts(
    lease: Lease, options: Options, isolate: Isolation, report: Callable[[Progress], None], heard: Callable[[], None]
) -> Synced | Failed:
    if isolate == "here":
        return sync_source(lease, options, report)
    pause = DATABASE_PAUSE
    for left in reversed(range(DATABASE_TRIES)):
        outcome = _in_child(lease, options, isolate, report, heard)
        if not isinstance(outcome, isolation.Broken):
            return outcome
        if not outcome.database or not left:
            return _broken(lease, outcome)
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt returns")


def _in_child(
    lease: Lease, options: Options, isolate: Literal["fork", "forkserver"], report: Callable[[Progress], None],
    heard: Callable[[], None],
) -> Synced | Failed | isolation.Broken:
    beaten = time.monotonic()
    with closing(isolation.run(
        _work, (lease, options), deadline=settings.TRAINMON_SCAN_DEADLINE, method=isolate)) as words:
        for word in words:
            heard()
            match word:
                case isolation.Told(value=progress):
                    report(progress)
                case isolation.Ended(value=outcome):
                    return outcome  # type: ignore[no-any-return]
                case isolation.Broken():
                    return word
            if time.monotonic() - beaten > HEARTBEAT:
                beaten = time.monotonic()
                _beat(lease)
    return isolation.Broken("it ended without a word")


def _work(argument: tuple[Lease, Options], tell: Callable[[Progress], None]) -> Synced | Failed:
    """What the child does.  A lease that was lost is an outcome: the other sync goes on."""
    lease, options = argument
    throttled = _Throttle(tell)
    try:
        outcome = sync_source(lease, options, throttled)
    except LeaseLost as lost:
        outcome = Failed(lease.source_id, str(lease.source_id), str(lost))
    _tell(outcome)
    return outcome


def _tell(outcome: Synced | Failed) -> None:
    if isinstance(outcome, Failed):
        log.warning("%s was not synced: %s", outcome.source, outcome.error,
                    extra={"event": "source.failed", "context": {"source": outcome.source_id}})
        return
    counts = {name: getattr(outcome, name) for name in ("runs", "new", "grown", "bytes_read", "points")}
    log.info("%s was synced", outcome.source,
             extra={"event": "source.synced", "context": {"source": outcome.source_id, **counts}})


class _Throttle:
    """Passes on at most ten reports a second: a scan reports each directory."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self.tell, self.last = tell, 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.last > 0.1:
            self.last = now
            self.tell(progress)


def _beat(lease: Lease) -> None:
    try:
        lease.renew()
    except AWAY:
        # the database is away: the child meets it too and says so
        connections.close_all()


def _again(ask: Callable[[], T]) -> T:
    """Ask once more by a new connection: the one we had may be older than the server."""
    try:
        return ask()
    except AWAY:
        connections.close_all()
        return ask()


def _release(lease: Lease) -> None:
    try:
        _again(lease.release)
    except AWAY:
        # it expires by itself, or at once when this process ends
        connections.close_all()


def _broken(lease: Lease, broken: isolation.Broken) -> Failed:
    """A child that did not come to its end: recorded on the source, where the database answers."""
    log.error("Source %s was not synced: %s", lease.source_id, broken.why,
              extra={"event": "source.failed", "context": {"source": lease.source_id}})
    try:
        return _again(lambda: _record(lease, broken))
    except (*AWAY, LeaseLost):
        connections.close_all()
        return Failed(lease.source_id, f"source {lease.source_id}", broken.why)


def _record(lease: Lease, broken: isolation.Broken) -> Failed:
    with transaction.atomic():
        lease.check()
        source = Source.objects.select_related("trainer").get(pk=lease.source_id)
        Source.objects.filter(pk=source.pk).update(
            status=Source.Status.ERROR, last_error=plain(broken.why), fingerprint=b"")
    return Failed(source.pk, str(source), broken.why)
