"""One cleanup at a time: a lock of the database that ends with the connection of whoever has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connection

LOCK = 7206439
#: Seconds until another one is said to be at work: the server needs a moment to notice that one was killed.
PATIENCE = 3.0


class Busy(Exception):
    """Somebody else is cleaning up."""


class Lost(Exception):
    """The lock's connection is gone, and with it the lock: stop before the next deed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to move and delete, as long as its connection lives."""

    client: psycopg.Connection[Any]

    def check(self) -> None:
        """Raise Lost unless we still have it."""
        try:
            self.client.execute("SELECT 1")
        except psycopg.Error as error:
            raise Lost(f"the database let go of this cleanup ({error}); go on with cleanup --resume") from None


@contextmanager
def turn(patience: float = PATIENCE) -> Iterator[Turn]:
    """Take the turn, or raise Busy after so many seconds; a killed holder has lost it already."""
    # a connection of its own: Django's may be closed and opened anew amid the work
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as client:
        until = time.monotonic() + patience
        while not _locked(client):
            if time.monotonic() > until:
                raise Busy("another cleanup is at work; this one has done nothing")
            time.sleep(0.05)
        yield Turn(client)


def _locked(client: psycopg.Connection[Any]) -> bool:
    row = client.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
    return row is not None and bool(row[0])
