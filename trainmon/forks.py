"""Database connections after a fork: a child must not speak on its parent's sockets."""

from __future__ import annotations

import os

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

# Kept for ever: a destructor would say goodbye to the server, or stop threads, for the parent.
_parents: list[object] = []


def forget_connections() -> None:
    """Begin without connections; the parent's stay open and untouched."""
    for alias in connections:
        if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
            _parents.append(connections[alias])
            del connections[alias]
    _parents.extend(DatabaseWrapper._connection_pools.values())  # type: ignore[attr-defined]
    DatabaseWrapper._connection_pools.clear()  # type: ignore[attr-defined]
    for conf in connections.settings.values():
        conf["OPTIONS"].pop("pool", None)  # a child does one thing: one connection, and no threads of a pool


def forget_connections_in_children() -> None:
    """Have every forked child (multiprocessing's, too) begin so."""
    os.register_at_fork(after_in_child=forget_connections)
