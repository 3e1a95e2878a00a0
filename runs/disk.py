"""Reading a disk that may not answer: a few threads wait for it, never the site.

A read from a dead network mount blocks its thread for ever.  These few threads may hang;
whoever asks then is told so after TIMEOUT, and every other page goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from runs.streamed import let_go

THREADS, TIMEOUT = 4, 10.0
T = TypeVar("T")

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="disk")


class Silent(OSError):
    """The disk has not answered in time."""


def ask(work: Callable[[], T]) -> T:
    """What ``work`` returns, which reads a disk and no database; nobody holds a connection meanwhile."""
    let_go()
    future: Future[T] = _pool.submit(work)
    try:
        return future.result(TIMEOUT)
    except TimeoutError:
        future.cancel()
        raise Silent("the disk does not answer") from None


async def ask_async(work: Callable[[], T]) -> T:
    """The same where an event loop must go on."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(_pool.submit(work)), TIMEOUT)
    except TimeoutError:
        raise Silent("the disk does not answer") from None
