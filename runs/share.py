"""Reading the runs of one source by several processes: each run by one of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from typing import Any

from django.db import connections

from runs import beside, isolation
from runs.ingest import Gained, ingest
from runs.lease import Lease
from runs.readers.found import FoundRun

#: Small runs go to a process several at a time, up to this many bytes.
HANDFUL_BYTES = 8 * 1024 * 1024

_read: Any = None  # bytes read so far by this process's siblings and itself


def ingest_all(
    lease: Lease, root: str, work: list[tuple[int, FoundRun]], workers: int, tell: Callable[[int, int], None],
    *, full: bool,
) -> Gained:
    """Read all these runs in ``workers`` processes; ``tell(bytes, runs)`` hears of progress.

    Call it in a process with a single thread that reads: the workers are forked.
    """
    context = multiprocessing.get_context("fork")
    counter = context.Value("q", 0)
    gained, told = Gained(), 0
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(counter, os.getpid())) as pool:
        waiting: set[Future[tuple[Gained, int]]] = {
            pool.submit(_ingest_some, lease, root, [(pk, found.sidecars) for pk, found in some], full)
            for some in _handfuls(work)
        }
        while waiting:
            done, waiting = wait(waiting, timeout=1.0)
            runs = 0
            for future in done:
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


def _ingest_some(
    lease: Lease, root: str, runs: list[tuple[int, tuple[bytes, ...]]], full: bool
) -> tuple[Gained, int]:
    def count(amount: int) -> None:
        with _read.get_lock():
            _read.value += amount

    gained = Gained()
    for run_id, sidecars in runs:
        beside.read(run_id, root, sidecars, lease)
        gained.add(ingest(run_id, lease, count, full=full))
    connections.close_all()
    return gained, len(runs)


def _handfuls(work: list[tuple[int, FoundRun]]) -> list[list[tuple[int, FoundRun]]]:
    """Largest runs first, one at a time; small ones together."""
    handfuls: list[list[tuple[int, FoundRun]]] = []
    size = HANDFUL_BYTES
    for one in sorted(work, key=lambda item: -item[1].size):
        if size + one[1].size > HANDFUL_BYTES or len(handfuls[-1]) >= 200:
            handfuls.append([])
            size = 0
        handfuls[-1].append(one)
        size += one[1].size
    return handfuls
