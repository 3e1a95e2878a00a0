"""Times as PostgreSQL sends them, read by the interpreter's own parser.

Django builds on psycopg's loader in Python, a regular expression and a time zone a value: 7 microseconds
of processor, and a list of runs has six times a row.  This takes half of one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.signals import connection_created
from psycopg.types.datetime import TimestamptzLoader


class Moment(TimestamptzLoader):
    """A time in UTC, which Django makes the zone of its connections; psycopg's words where it is beyond the calendar."""

    #: By it Django knows that a cursor needs no loader of its own.
    timezone = UTC

    def load(self, data: Any) -> datetime:
        """``2026-11-26 13:45:52.12+00`` as the datetime."""
        try:
            return datetime.fromisoformat(str(data, "ascii"))
        except ValueError:
            return super().load(data)


def read_quickly() -> None:
    """Have each connection that begins from now on read its times so."""
    connection_created.connect(_register, dispatch_uid="moments")


def _register(connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql" and connection.timezone == UTC:
        connection.connection.adapters.register_loader("timestamptz", Moment)
