"""Which sync works on a source now.

A source is claimed with one UPDATE.  The claim names its holder (machine, process, a random
token), is renewed by heartbeat, and ends when released, when it expires, or at once when
its process on this machine is gone.  Every transaction that writes for the source calls
``Lease.check`` first, so that a holder that was given up can never write again.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from django.db import connection
from django.utils.timezone import now

from runs.models import Source
from runs.models.trainer import FOLLOWS

#: A claim without heartbeat is over after this time.
LEASE = timedelta(seconds=60)


class LeaseLost(Exception):
    """Somebody else has claimed the source meanwhile: stop, write nothing more."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another sync holds the source."""

    holder: str

    @property
    def briefly(self) -> bool:
        """Whether it is a follower, which gives it back within moments."""
        return self.holder.endswith(FOLLOWS)


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a source; crosses into child processes as a value."""

    source_id: int
    holder: str

    def renew(self) -> bool:
        """Heartbeat; False where the claim is no longer ours."""
        return bool(
            Source.objects.filter(pk=self.source_id, leased_by=self.holder).update(leased_until=now() + LEASE)
        )

    def check(self) -> None:
        """Raise LeaseLost unless the claim is ours; keeps it so until the transaction ends.

        Were this process stopped amid the transaction, nobody could claim the source: PostgreSQL
        then ends the transaction when a claim would be over, too.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true) FROM runs_source "
                "WHERE id = %s AND leased_by = %s FOR SHARE",
                [f"{LEASE.total_seconds():.0f}s", self.source_id, self.holder],
            )
            if cursor.fetchone() is None:
                raise LeaseLost(f"source {self.source_id} was claimed by another sync")

    def release(self) -> None:
        """Give the source back; nothing happens where it is no longer ours."""
        with connection.cursor() as cursor:
            cursor.execute("UPDATE runs_source SET leased_by = '', leased_until = NULL WHERE id = %s AND leased_by = %s",
                           [self.source_id, self.holder])


def holder_name(role: str = "") -> str:
    """A new name for a holder in this process; ``FOLLOWS`` as ``role`` says that it claims for moments only."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}/{secrets.token_hex(8)}{role}"


def claim(source_id: int, holder: str = "") -> Lease | Busy:
    """Claim a source, or say who holds it: "someone got there first" is a normal answer.

    A ``holder`` that is named may claim again what it holds, where an answer was lost.
    """
    frozen_now = now()
    holder = holder or holder_name()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_source SET leased_by = %s, leased_until = %s "
            "WHERE id = %s AND (leased_until IS NULL OR leased_until <= %s OR leased_by = %s)",
            [holder, frozen_now + LEASE, source_id, frozen_now, holder])
        if cursor.rowcount:
            return Lease(source_id, holder)
    source = Source.objects.only("leased_by", "leased_until").get(pk=source_id)
    if not _gone(source.leased_by):
        return Busy(source.leased_by)
    claimed = Source.objects.filter(
        pk=source_id, leased_by=source.leased_by, leased_until=source.leased_until
    ).update(leased_by=holder, leased_until=frozen_now + LEASE)
    if not claimed:
        return Busy(Source.objects.values_list("leased_by", flat=True).get(pk=source_id))
    return Lease(source_id, holder)


def _machine() -> str:
    """This boot of this machine, and the namespace in which its process ids mean something."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{boot.read_text().strip()}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def _started(pid: int) -> str:
    return f"{psutil.Process(pid).create_time():.2f}"


def _gone(holder: str) -> bool:
    """Whether the holder ran on this machine and its process is no more."""
    machine, pid, started, *_ = (*holder.split("/"), "", "", "")
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        # a zombie holds nothing: it waits for a parent that may never ask
        return _started(int(pid)) != started or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
