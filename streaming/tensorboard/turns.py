"""How much of a TensorBoard one user asks at once: each request is a thread there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Requests of one user that are under way, and with those that wait for their turn.
AT_ONCE, IN_ALL = 16, 200


class Full(Exception):
    """Too many wait already."""


class Turns:
    """A line for each user who asks something now."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def turn(self, user: int) -> AsyncIterator[None]:
        """Wait for one's turn and have it."""
        gate, there = self._lines.setdefault(user, (asyncio.Semaphore(AT_ONCE), []))
        if len(there) >= IN_ALL:
            raise Full
        there.append(None)
        try:
            async with gate:
                yield
        finally:
            there.pop()
            if not there:
                self._lines.pop(user, None)
