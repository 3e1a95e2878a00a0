"""Rounds of rendering: what has changed and is shown somewhere is rendered once, and offered to each page that shows it.

A round holds what is due: a run ten times a second, a job twice, and nothing sooner than one of its pages may be sent
a frame.  Who asks for much waits for another round, so that nobody else does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from streaming.access import Subject
from streaming.database import ask
from streaming.rendering import Fragment, Key, render

if TYPE_CHECKING:
    from streaming.hub import Hub, Member

#: Seconds between two fragments of one run, and of one that a job moves.
PACE, JOB_PACE = 0.1, 0.5
#: Seconds until what failed is tried again.
RETRY = 1.0
#: Seconds, at most, between two rounds of rendering.
REST = 0.05
#: Work of one round of rendering: a fragment weighs 1, a kind and spec for its queries more.
ROUND, A_SPEC = 300, 10


class Rounds:
    """What one hub has rendered, and what is to be rendered when."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.rendered: dict[Subject, dict[Key, Fragment]] = {}
        self.dirty: dict[Subject, float] = {}
        self.not_before: dict[Subject, float] = {}
        self.woken = asyncio.Event()

    def forget(self, subject: Subject) -> None:
        """Keep nothing of what nobody shows any more."""
        for held in (self.rendered, self.dirty, self.not_before):
            held.pop(subject, None)

    def soil(self, subject: Subject, now: bool = False) -> None:
        """Have a run or job rendered, when its time has come: as soon as one of those that show it takes a frame again."""
        soonest = min((reader.due for reader in self.hub.watching.get(subject, ())), default=0.0)
        self.dirty[subject] = 0.0 if now else max(soonest, self.not_before.get(subject, 0.0))
        self.woken.set()

    async def run(self) -> None:
        """One round after the other, for ever."""
        while True:
            await self.woken.wait()
            self.woken.clear()
            now = self.hub.loop.time()
            due = [subject for subject, at in self.dirty.items() if at <= now]
            for subject in due:
                del self.dirty[subject]
                known = self.hub.known.get(subject)
                self.not_before[subject] = now + (JOB_PACE if known and known.paced else PACE)
            self._engage(due, now)
            if due:
                try:
                    await self._serve(due)
                except BaseException:
                    self.dirty.update(dict.fromkeys(due, now + RETRY))
                    self.woken.set()
                    raise
                # subscriptions and looks have their turn, too
                await asyncio.sleep(min(REST, self.hub.loop.time() - now))
            if self.dirty:
                self.hub.loop.call_at(min(self.dirty.values()), self.woken.set)

    def _engage(self, subjects: list[Subject], now: float) -> None:
        """Those that show what is rendered now get a frame of it: the next one is rendered for when they can be sent one."""
        for reader in {reader for subject in subjects for reader in self.hub.watching.get(subject, ())}:
            if reader.due <= now:
                reader.due = now + self.gap(reader)

    def gap(self, reader: Member) -> float:
        """Seconds between two frames: a page of one job, its run or both hears of all that is theirs twice a second."""
        shown = reader.subjects()
        alone = 0 < len(shown) == len({kind for kind, _ in shown})
        paced = alone and all(known.paced for one in shown if (known := self.hub.known.get(one)))
        return JOB_PACE if paced else PACE

    async def _serve(self, subjects: list[Subject]) -> None:
        """Render what changed, each once, and offer it to those that show it."""
        wanted: dict[tuple[str, str], set[int]] = {}
        keys = {
            subject: {key for reader in self.hub.watching.get(subject, ()) for key in reader.keys.get(subject, ())}
            for subject in subjects
        }
        late = self._late(keys)
        for subject in subjects:
            if not keys[subject].isdisjoint(late):
                keys[subject] -= late
                self.soil(subject, now=True)
            for kind, pk, spec in keys[subject]:
                wanted.setdefault((kind, spec), set()).add(pk)
        held = {key: one.version for subject in subjects for key, one in self.rendered.get(subject, {}).items()}
        found, fresh = await ask(render, subjects, wanted, held)
        await self.hub.judged.wait()
        for subject in subjects:
            if subject not in self.hub.watching:
                continue
            if subject not in found:
                self.hub.vanish(subject)
                continue
            self.hub.known[subject] = found[subject]
            old = self.rendered.get(subject, {})
            version = found[subject].version
            current = {key: one for key in keys[subject]
                       if (one := fresh.get(key, old.get(key))) is not None and one.version >= version}  # fmt: skip
            self.rendered[subject] = current
            for reader in list(self.hub.watching[subject]):
                self._offer(reader, subject, keys[subject], current)

    def _late(self, keys: Mapping[Subject, set[Key]]) -> set[Key]:
        """Of these fragments those that wait for another round, so that who asks for much keeps nobody waiting.

        First come those of users who wait for few.
        """
        named = {(kind, spec) for some in keys.values() for kind, _, spec in some}
        if sum(map(len, keys.values())) + A_SPEC * len(named) <= ROUND:
            return set()
        waiting: Counter[int] = Counter()
        users: dict[Key, set[int]] = {}
        for subject in keys:
            held, version = self.rendered.get(subject, {}), self.hub.version_of(subject)
            for reader in self.hub.watching.get(subject, ()):
                for key in reader.keys.get(subject, ()):
                    if key in reader.shown and (key not in held or held[key].version < version):
                        waiting[reader.account.user] += 1
                        users.setdefault(key, set()).add(reader.account.user)
        work = 0
        specs: set[tuple[str, str]] = set()
        late: set[Key] = set()
        for key in sorted(users, key=lambda key: min(waiting[user] for user in users[key])):
            kind, _, spec = key
            work += 1 + A_SPEC * ((kind, spec) not in specs)
            specs.add((kind, spec))
            if work > ROUND:
                late.add(key)
        return late

    def _offer(self, reader: Member, subject: Subject, rendered: set[Key], current: Mapping[Key, Fragment]) -> None:
        if not self.hub.may_see(reader, subject):
            self.hub.rechecking.set()
            return
        for key in reader.keys.get(subject, ()):
            if key in current:
                reader.offer(key, current[key])
            elif key in rendered:  # still a row, but nothing to show any more
                reader.lose_one(key)
        reader.follow_up(subject)
