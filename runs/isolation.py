"""Work in a child process that can be given up: a hung mount blocks a thread for ever.

The child reports as it goes; where it has said nothing for its deadline it is killed, and
where even that does not end it (a process in an uninterruptible read) it is left behind: the
lease, checked in each transaction, keeps it from ever writing.  A child whose parent is gone
ends itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import psutil

from runs import correlation

log = logging.getLogger(__name__)
Method = Literal["fork", "forkserver"]


@dataclass(frozen=True, slots=True)
class Told:
    """The child reports on its way."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """The child's result."""

    value: Any


@dataclass(frozen=True, slots=True)
class Broken:
    """The child raised, died, or was given up."""

    why: str
    database: bool = False


@dataclass(frozen=True, slots=True)
class Quiet:
    """A second passed without a word: time for a heartbeat."""


Work = Callable[[Any, Callable[[Any], None]], Any]


def run(work: Work, argument: Any, *, deadline: float, method: Method) -> Generator[Told | Ended | Broken | Quiet]:
    """Run ``work(argument, tell)`` in a child; its words as they come, the last one its end.

    ``deadline``: seconds that it may say nothing.  ``work`` must be importable by name.
    ``method``: "fork" only where this process has a single thread.
    """
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["runs.child"])
    ours, theirs = context.Pipe()
    parent = os.getpid() if method == "fork" else 0
    told = (work, argument, theirs, ours, parent, correlation.current())
    child = context.Process(target=_child, args=told, daemon=False)
    child.start()
    theirs.close()
    done = False
    try:
        for word in _listen(ours, deadline):
            done = isinstance(word, Ended | Broken)
            yield word
    finally:
        ours.close()
        _end(child, 0.5 if done else 0.0)


def _listen(pipe: Connection, deadline: float) -> Iterator[Told | Ended | Broken | Quiet]:
    heard = time.monotonic()
    while True:
        try:
            if pipe.poll(1.0):
                message = pipe.recv()
                heard = time.monotonic()
                yield message
                if not isinstance(message, Told):
                    return
            elif time.monotonic() - heard > deadline:
                yield Broken(f"nothing was heard of it for {deadline:.0f} s: the file system may hang")
                return
            else:
                yield Quiet()
        except (EOFError, ConnectionResetError):
            yield Broken("its process was killed")
            return


def _end(child: Any, patience: float) -> None:
    """Wait a moment for a child that is done, kill one that is not, leave one that cannot die."""
    child.join(patience)
    if child.is_alive():
        # its own children first: a hung one could not see that its parent is gone
        with suppress(psutil.NoSuchProcess):
            for below in psutil.Process(child.pid).children(recursive=True):
                below.kill()
        child.kill()
        child.join(2)
        if child.is_alive():  # else multiprocessing waits for it when this process ends
            multiprocessing.process._children.discard(child)  # type: ignore[attr-defined]


def _child(work: Work, argument: Any, pipe: Connection, parents_end: Connection, parent: int, correlation_id: str) -> None:
    from django.db import InterfaceError, OperationalError, connections
    from psycopg import errors

    parents_end.close()
    correlation.adopt(correlation_id)
    die_with(parent or os.getppid())
    try:
        end: Ended | Broken = Ended(work(argument, lambda value: pipe.send(Told(value))))
    except (OperationalError, InterfaceError) as error:
        # a restart passes by itself, a full disk does not
        passing = not isinstance(error.__cause__, errors.DiskFull)
        end = Broken(f"the database failed: {error}".strip(), database=passing)
    except BrokenPipeError:  # whoever asked has ended
        end = Broken("nobody listens any more")
    except Exception as error:  # the parent tells it; nothing is swallowed
        log.exception("The child failed", extra={"event": "child.failed"})
        end = Broken(f"{type(error).__name__}: {error}")
    connections.close_all()
    try:
        pipe.send(end)
    except BrokenPipeError:
        pass
    pipe.close()


def die_with(parent: int) -> None:
    """End this process when the one that started it is gone (it gets another parent then)."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
