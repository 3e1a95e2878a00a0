"""One id for all that a request, a task or a command leads to: its log lines, tasks and child processes.

It travels by header to and from browsers and scripts, by message header into Celery, by the environment
into child processes.  A trainer that is started with the variable may write it into its log: the job shows it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from uuid import uuid4

HEADER = "X-Correlation-ID"
VARIABLE = "TRAINMON_CORRELATION_ID"
VALID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

log = logging.getLogger(__name__)
_bound: ContextVar[str] = ContextVar("correlation_id", default="")


def is_valid(said: str) -> bool:
    """Whether somebody else's id can be taken as it is."""
    return VALID.fullmatch(said) is not None


def fresh() -> str:
    """An id that nobody has."""
    return uuid4().hex


def current() -> str:
    """The id of what is being done here: bound, else the one this process was started with, else its own."""
    return _bound.get() or _own()


def given() -> str:
    """The id that was bound here; "" where this process does what nobody asked it for."""
    return _bound.get()


@cache
def _own() -> str:
    said = os.environ.get(VARIABLE, "")
    return said if is_valid(said) else fresh()


@contextmanager
def bound(correlation_id: str) -> Iterator[None]:
    """What is done meanwhile, awaited or in threads that asgiref starts, carries this id."""
    before = _bound.set(correlation_id)
    try:
        yield
    finally:
        _bound.reset(before)


def bind(correlation_id: str) -> None:
    """The same without an end; "" for none."""
    _bound.set(correlation_id)


def taken(said: str | None) -> str:
    """The id that a caller gave, or a new one; an invalid one is replaced, and the log says so."""
    if said and is_valid(said):
        return said
    made = fresh()
    if said:
        with bound(made):
            log.warning("An invalid %s was replaced", HEADER,
                        extra={"event": "correlation.replaced", "context": {"said": said[:200]}})
    return made


def environment() -> dict[str, str]:
    """What a child process is told by its environment."""
    return {VARIABLE: current()}


def adopt(correlation_id: str) -> None:
    """In a child process: go on with the parent's id, and give it to children of its own."""
    os.environ[VARIABLE] = correlation_id
    bind(correlation_id)
