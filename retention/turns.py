"""The next turn of each policy, for pages: what it would take is worked out once a minute at most, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from django.utils.timezone import now

from retention import policies, rules
from retention.models import RetentionPolicy

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: How old what is shown may be; a policy that was changed, or had its turn, is looked at anew.
FRESH = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a policy would take by what the registry knew at a moment, of how many; or why it refuses."""

    at: datetime
    runs: int
    size: int
    count: int
    refused: str
    #: The runs themselves, by their ids.
    takes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Turn:
    """A policy, its outlook, and when it has its turn: None while it is off."""

    policy: RetentionPolicy
    when: datetime | None
    about: str
    words: list[str]
    outlook: Outlook | None = None


#: Policies of which no run goes by two, with the values of all that they say.
Key = tuple[tuple[Any, ...], ...]


class Outlooks:
    """What this process worked out lately.  While one thread works it out anew, others are shown what was known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Key, dict[int, Outlook]] = {}

    def of(self, chain: Sequence[RetentionPolicy]) -> dict[int, Outlook]:
        """The outlooks of policies that have their turn one after the other."""
        if not chain:
            return {}
        key = tuple(tuple(getattr(policy, field.attname) for field in policy._meta.concrete_fields) for policy in chain)
        known = self._known.get(key)
        if fresh := self._fresh(key):
            return fresh
        if not self._lock.acquire(blocking=known is None) and known is not None:
            return known
        try:
            return self._fresh(key) or self._anew(key, chain)
        finally:
            self._lock.release()

    def _fresh(self, key: Key) -> dict[int, Outlook] | None:
        known = self._known.get(key)
        return known if known and all(now() - one.at < FRESH for one in known.values()) else None

    def _anew(self, key: Key, chain: Sequence[RetentionPolicy]) -> dict[int, Outlook]:
        at, taken, found = now(), set[int](), dict[int, Outlook]()
        for policy in chain:
            evaluated = policies.evaluate(policy, at, taken)
            takes = frozenset(row.id for row, _ in evaluated.going)
            taken |= takes
            found[policy.pk] = Outlook(at, len(takes), evaluated.size, evaluated.count, evaluated.refused, takes)
        old = [one for one, known in self._known.items() if any(at - it.at > FRESH for it in known.values())]
        self._known = {one: known for one, known in self._known.items() if one not in old} | {key: found}
        return found


#: Those of this process.
outlooks = Outlooks()


def before(policy: RetentionPolicy) -> set[int]:
    """The runs that those take whose turn comes earlier in the hour."""
    chain = policies.enabled() if policy.enabled else []
    found = outlooks.of(chain)
    return {run for one in takewhile(lambda one: one.pk != policy.pk, chain) for run in found[one.pk].takes}


def turn_of(policy: RetentionPolicy, at: datetime, outlook: Outlook | None = None) -> Turn:
    """Its next turn."""
    when = max(at, (policy.ran_at or at) + policies.EVERY) if policy.enabled else None
    return Turn(policy, when, policies.whose(policy), rules.in_words(policy), outlook)


def turns(user: User | AnonymousUser, *, on: bool = False) -> list[Turn]:
    """What each policy that this user may see, or each of these that is on, would take; no run goes by two that are on."""
    at, chain, seen = now(), policies.enabled(), list(policies.visible_to(user))
    found = outlooks.of(chain)
    if not on:
        for policy in seen:
            found = found | (outlooks.of([policy]) if not policy.enabled else {})
    return [turn_of(policy, at, found.get(policy.pk)) for policy in seen if policy.enabled or not on]
