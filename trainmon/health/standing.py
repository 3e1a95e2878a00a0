"""What is known of a dependency: how it stands, why, and since when."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils.timezone import now

from runs import redact

log = logging.getLogger(__name__)


class State(StrEnum):
    """How a dependency stands."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Word(StrEnum):
    """How trainmon stands, in the one word that everybody may know."""

    READY = "ready"
    DEGRADED = "degraded"
    UNREADY = "unready"


@dataclass(frozen=True, slots=True)
class Part:
    """One of several of a kind, which belongs to a trainer: not everybody may know of it."""

    trainer: int
    name: str
    state: str
    reason: str = ""
    since: datetime | None = None
    ok: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How one dependency stands, and its parts."""

    state: State
    reason: str = ""
    since: datetime | None = None
    parts: tuple[Part, ...] = ()
    #: How many wait, where there is a queue.
    waiting: int | None = None


@dataclass
class Known:
    """How each dependency stood when it was last looked at: tells since when, and logs each change once."""

    last: dict[str, Standing] = field(default_factory=dict)

    def take(self, name: str, found: Standing) -> Standing:
        """The same standing, with its begin: what its data say, else when this process saw it change."""
        before = self.last.get(name)
        same = before is not None and before.state == found.state
        since = found.since or (before.since if before and same else now())
        found = self.last[name] = replace(found, since=since, reason=redact.text(found.reason))
        if not same and (before is not None or found.state != State.OK):
            context = {"dependency": name, "state": str(found.state), "reason": found.reason}
            level = logging.INFO if found.state == State.OK else logging.WARNING
            log.log(level, "%s: %s%s", name, found.state, f" ({found.reason})" if found.reason else "",
                    extra={"event": "health.changed", "context": context})
        return found


def word(found: dict[str, Standing], vital: Collection[str]) -> Word:
    """Unready only without what no page can be served without."""
    if any(found[name].state != State.OK for name in vital):
        return Word.UNREADY
    return Word.READY if all(one.state == State.OK for one in found.values()) else Word.DEGRADED


def told(found: dict[str, Standing], trainers: Collection[int] | None) -> dict[str, Any]:
    """The details, of these trainers only; None: of all."""
    return {
        name: {
            "state": one.state, "reason": one.reason, "since": one.since,
            **({} if one.waiting is None else {"waiting": one.waiting}),
            **({"parts": [
                {"name": part.name, "ok": part.ok, "state": part.state, "reason": redact.text(part.reason), "since": part.since}
                for part in one.parts if trainers is None or part.trainer in trainers
            ]} if one.parts else {}),
        }
        for name, one in found.items()
    }  # fmt: skip
