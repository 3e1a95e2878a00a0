"""The notice that something has changed: ids and versions after commit, never state.

A receiver reads anew what it shows, as its user.  A notice may be lost or come twice; whoever shows
a run or job also looks for newer versions from time to time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from django.db import transaction
from django.dispatch import Signal

#: Sent with ``runs`` and ``jobs`` (id -> version) and ``sources`` (ids whose runs came, went or moved).
changed = Signal()


def tell(
    *, runs: Mapping[int, int] | None = None, jobs: Mapping[int, int] | None = None, sources: Collection[int] = ()
) -> None:
    """Send the notice when the present transaction is committed; nothing is sent where it is not."""
    if runs or jobs or sources:
        transaction.on_commit(partial(_send, dict(runs or {}), dict(jobs or {}), set(sources)), robust=True)


def _send(runs: dict[int, int], jobs: dict[int, int], sources: set[int]) -> None:
    changed.send(sender=None, runs=runs, jobs=jobs, sources=sources)
