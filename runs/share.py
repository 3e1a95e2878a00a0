"""Reading the runs of one source by several processes: each run by one of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from typing import Any

from django.db import connections

from runs import isolation
from runs.ingest import RUNS_TOGETHER, Gained, Work, ingest
from runs.lease import Lease

#: Small runs go to a process several at a time, up to this many bytes.
HANDFUL_BYTES = 8 * 1024 * 1024

_read: Any = None  # bytes read so far by this process's siblings and itself


def ingest_all(
    work: list[Work], sizes: dict[int, int], root: str, lease: Lease, workers: int, tell: Callable[[int, int], None],
    *, full: bool,
) -> Gained:
    """Read all these runs in ``workers`` processes; ``tell(bytes, runs)`` hears of progress.

    ``sizes``: bytes of each run, to share them out.  Call it in a process with a single
    thread that reads: the workers are forked.
    """
    context = multiprocessing.get_context("fork")
    counter = context.Value("q", 0)
    gained, told = Gained(), 0
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(counter, os.getpid())) as pool:
        waiting: set[Future[tuple[Gained, int]]] = {
            pool.submit(_ingest_some, some, root, lease, full) for some in _handfuls(work, sizes)
        }
        while waiting:
            done, waiting = wait(waiting, timeout=1.0)
            runs = 0
            for future in done:
                if future.exception() is not None:  # what waits would fail as well, file by file
                    pool.shutdown(wait=False, cancel_futures=True)
                more, count = future.result()
                gained.add(more)
                runs += count
            # silence of the workers must stay silence: it is what a hung mount is told by
            if runs or counter.value != told:
                amount, told = counter.value - told, counter.value
                tell(amount, runs)
    return gained


def _begin(counter: Any, parent: int) -> None:
    global _read
    _read = counter
    isolation.die_with(parent)


def _ingest_some(some: list[Work], root: str, lease: Lease, full: bool) -> tuple[Gained, int]:
    def count(amount: int, runs: int) -> None:
        with _read.get_lock():
            _read.value += amount

    gained = ingest(some, root, lease, count, full=full)
    connections.close_all()
    return gained, len(some)


def _handfuls(work: list[Work], sizes: dict[int, int]) -> list[list[Work]]:
    """Largest runs first, one at a time; small ones together."""
    handfuls: list[list[Work]] = []
    size = HANDFUL_BYTES
    for one in sorted(work, key=lambda one: -sizes[one[0]]):
        if size + sizes[one[0]] > HANDFUL_BYTES or len(handfuls[-1]) >= RUNS_TOGETHER:
            handfuls.append([])
            size = 0
        handfuls[-1].append(one)
        size += sizes[one[0]]
    return handfuls
