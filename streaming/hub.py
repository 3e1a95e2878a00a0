"""The hub of a process: knows what its pages show, hears what has changed, and has it rendered (rounds.py) and offered.

A notice is only a hint.  Every 2 s the hub asks by itself for newer versions of what is shown, every
5 s whether its readers are still signed in and may still see it.  All state lives on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from channels.layers import get_channel_layer

from streaming import access, publish
from streaming.access import Account, Known, Person, Subject
from streaming.database import ask
from streaming.reader import FLOODED, FORBIDDEN, SIGNED_OUT, TRY_LATER
from streaming.rendering import Fragment, Key
from streaming.rounds import RETRY, Rounds

if TYPE_CHECKING:
    from streaming.asked import Asked
    from streaming.reader import Reader

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between two looks for newer versions, and for who may still see what.
POLL, RECHECK = 2.0, 5.0
#: Answers (points, log lines) that are kept for the other readers of the same.
SHARED = 64
#: Sockets of one process, and of one user; fragments that the pages of one user show together.
MOST, MOST_OF_ONE, MOST_SHOWN = 4000, 200, 10_000


class Member(Protocol):
    """Whoever is told: the socket of a page, a stream."""

    account: Account
    lists: bool
    keys: dict[Subject, list[Key]]
    shown: dict[Key, int]
    #: When (the loop's time) its next frame may be rendered; what is rendered sooner would be old when it is sent.
    due: float

    def subjects(self) -> set[Subject]:
        """The runs and jobs that it shows."""

    def offer(self, key: Key, fragment: Fragment) -> None:
        """A fragment is there."""

    def lose_one(self, key: Key) -> None:
        """A fragment has nothing to show any more."""

    def lose(self, subject: Subject) -> None:
        """A run or job is no longer there."""

    def follow_up(self, subject: Subject) -> None:
        """A run or job has changed."""

    def stir(self) -> None:
        """Runs came, went or moved."""

    def leave(self, code: int) -> None:
        """It may stay no longer."""


class Hub:
    """One a process and event loop; it runs while somebody reads."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.readers: set[Member] = set()
        self.watching: dict[Subject, set[Member]] = {}
        self.known: dict[Subject, Known] = {}
        self.people: dict[int, Person] = {}
        self.rounds = Rounds(self)
        self.rechecking, self.listening = asyncio.Event(), asyncio.Event()
        #: Cleared while it is known that rights have changed and not yet whose: nothing is offered then.
        self.judged = asyncio.Event()
        self.judged.set()
        self.shared: dict[Hashable, asyncio.Task[Any]] = {}
        #: The pages of one user ask one after the other: however many they are, others have their turn between.
        self.turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.newest_run: int | None = None
        #: Sources of which came a notice, and that none of the readers was known to see.
        self.unplaced: set[int] = set()
        self.tasks: list[asyncio.Task[None]] = []

    # its life

    def begin(self) -> None:
        """Listen, look and serve from now on."""
        for what in (self._listen, self.rounds.run, self._look, self._recheck):
            self.tasks.append(self.loop.create_task(self._ever(what)))

    def end(self) -> None:
        """Nobody reads any more."""
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()

    async def _ever(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Go on after whatever fails: the database or the bus may be away for a while."""
        while True:
            try:
                await what()
            except Exception as error:
                log.warning("Live pages wait: %s", str(error).strip() or type(error).__name__, exc_info=log.isEnabledFor(10))
                await asyncio.sleep(RETRY)

    def full(self, user: int) -> int:
        """The code to close a further socket with; 0: there is room."""
        if len(self.readers) >= MOST:
            return TRY_LATER
        return FLOODED if Counter(reader.account.user for reader in self.readers)[user] >= MOST_OF_ONE else 0

    def join(self, reader: Member) -> None:
        """Take in a reader."""
        self.readers.add(reader)

    def part(self, reader: Member) -> None:
        """Forget a reader; with the last one the hub ends."""
        if reader in self.readers:
            self.readers.discard(reader)
            self._unwatch(reader, reader.subjects())
            stop_if_idle(self)

    def _unwatch(self, reader: Member, subjects: Iterable[Subject]) -> None:
        for subject in subjects:
            if readers := self.watching.get(subject):
                readers.discard(reader)
                if not readers:
                    del self.watching[subject]
                    self.forget(subject)

    def forget(self, subject: Subject) -> None:
        """Keep nothing of what nobody shows any more."""
        if subject not in self.watching:
            self.known.pop(subject, None)
            self.rounds.forget(subject)

    # what it hears

    def hear_soon(self, runs: dict[int, int], jobs: dict[int, int], sources: set[int]) -> None:
        """Hear a notice; from any thread."""
        self._soon(self.hear, runs, jobs, sources)

    def recheck_soon(self) -> None:
        """Look at once who may see what; from any thread."""
        self._soon(self._doubt)

    def _doubt(self) -> None:
        self.judged.clear()
        self.rechecking.set()

    def _soon(self, what: Callable[..., object], *said: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(what, *said)
        except RuntimeError:  # the loop has ended
            pass

    def hear(self, runs: Mapping[int, int], jobs: Mapping[int, int], sources: Iterable[int]) -> None:
        """Take note of newer versions of what is shown."""
        for kind, versions in (("run", runs), ("job", jobs)):
            for pk, version in versions.items():
                if (known := self.known.get((kind, pk))) and version > known.version:
                    self._newer((kind, pk), known._replace(version=version))
        if moved := set(sources):
            self._stir(moved)
            self.unplaced |= moved.difference(*(one.sources for one in self.people.values()))
            if self.unplaced:  # a new source, maybe: who sees it is asked now
                self.rechecking.set()

    def _newer(self, subject: Subject, known: Known) -> None:
        self.known[subject] = known
        self.rounds.soil(subject)

    def _stir(self, sources: set[int]) -> None:
        for reader in self.readers:
            seen = self.people.get(reader.account.user)
            if reader.lists and seen and not seen.sources.isdisjoint(sources):
                reader.stir()

    async def _listen(self) -> None:
        layer = get_channel_layer()
        if layer is None or publish.in_process():
            self.listening.set()  # its own publisher tells it directly, and there is no other
            await asyncio.Event().wait()
        assert layer is not None
        channel = await layer.new_channel()
        await layer.group_add(publish.GROUP, channel)
        self.listening.set()
        while True:
            said = await layer.receive(channel)
            self.hear(dict(said["runs"]), dict(said["jobs"]), said["sources"])

    # what it asks by itself

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            shown = list(self.watching)
            runs, jobs = ({pk for kind, pk in shown if kind == one} for one in ("run", "job"))
            found = await ask(access.versions, runs, jobs)
            for subject in shown:
                if subject not in self.watching:
                    continue
                if subject not in found:
                    self.vanish(subject)
                elif (known := self.known.get(subject)) is None or found[subject].version > known.version:
                    self._newer(subject, found[subject])
                else:
                    self.known[subject] = found[subject]._replace(version=known.version)
            if any(reader.lists for reader in self.readers):
                self.newest_run, sources = await ask(access.newest_runs, self.newest_run)
                self._stir(sources)

    def vanish(self, subject: Subject) -> None:
        for reader in self.watching.pop(subject, set()):
            reader.lose(subject)
        self.forget(subject)

    async def _recheck(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RECHECK):
                    await self.rechecking.wait()
            except TimeoutError:
                pass
            self.rechecking.clear()
            readers = list(self.readers)
            there, people = await ask(access.standing, {reader.account for reader in readers})
            self.people = people
            unplaced, self.unplaced = self.unplaced, set()
            self._stir(unplaced)
            for reader in readers:
                self._judge(reader, reader.account in there)
            if not self.rechecking.is_set():
                self.judged.set()

    def _judge(self, reader: Member, there: bool) -> None:
        """End a socket whose user has gone, or may not see any more what it shows."""
        if not there:
            reader.leave(SIGNED_OUT)
        elif not all(self.may_see(reader, subject) for subject in reader.subjects()):
            reader.leave(FORBIDDEN)

    def may_see(self, reader: Member, subject: Subject) -> bool:
        known, seen = self.known.get(subject), self.people.get(reader.account.user)
        return seen is not None and (known is None or known.source in seen.sources)

    # what it tells

    async def follow(self, reader: Member, runs: set[int], jobs: set[int]) -> set[Subject]:
        """Tell a reader of changes of those of these runs and jobs that its user may see; which these are."""
        try:  # what changes between this look and the first notice heard would be missed until the next poll
            async with asyncio.timeout(0.5):
                await self.listening.wait()
        except TimeoutError:
            pass
        async with self.turns[reader.account.user]:
            seen, found = await ask(access.look_up, reader.account.user, runs, jobs)
        if seen is None:
            reader.leave(SIGNED_OUT)
        if seen is None or reader not in self.readers:
            return set()
        self.people[reader.account.user] = seen
        for subject, known in found.items():
            self.watching.setdefault(subject, set()).add(reader)
            if subject not in self.known or known.version > self.known[subject].version:
                self.known[subject] = known
        return set(found)

    async def subscribe(self, reader: Reader, said: Asked) -> None:
        """Have a reader told of what its page shows from now on, beginning with what is newer than the page."""
        before = reader.subjects()
        others = (one for one in self.readers if one is not reader and one.account.user == reader.account.user)
        if sum(len(one.shown) for one in others) + len(said.watch or ()) > MOST_SHOWN:
            return reader.refuse(f"Your pages show {MOST_SHOWN:,} things together, which is the most: close some of them.")
        seen = await self.follow(reader, *said.subjects())
        if reader not in self.readers:
            return
        reader.watch(said)
        self._unwatch(reader, before - seen)
        for subject in reader.subjects():
            if subject not in seen:
                reader.lose(subject)
            elif any(reader.shown[key] < self.known[subject].version for key in reader.keys[subject]):
                self.rounds.soil(subject, now=True)

    def version_of(self, subject: Subject) -> int:
        """The newest version that is known of a run or job."""
        return self.known[subject].version if subject in self.known else -1

    async def share(self, user: int, key: Hashable, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer to a question that many readers ask at the same time, asked once."""
        if (task := self._asked(key)) is not None:
            return await asyncio.shield(task)
        async with self.turns[user]:
            task = self._asked(key)
            if task is None:
                task = self.shared[key] = self.loop.create_task(ask(question, *args, **kwargs))
                while len(self.shared) > SHARED:
                    self.shared.pop(next(iter(self.shared)))
            return await asyncio.shield(task)

    def _asked(self, key: Hashable) -> asyncio.Task[Any] | None:
        """The question of others, unless it failed."""
        task = self.shared.get(key)
        return None if task is None or (task.done() and (task.cancelled() or task.exception())) else task

_hub: Hub | None = None


def start() -> Hub:
    """The hub of this process, begun where there is none; on the event loop."""
    global _hub
    if _hub is None or _hub.loop is not asyncio.get_running_loop():
        _hub = publish.here = Hub()
        _hub.begin()
    return _hub


def stop_if_idle(hub: Hub) -> None:
    """End a hub that nobody reads from."""
    global _hub
    if not hub.readers:
        hub.end()
        if _hub is hub:
            _hub = publish.here = None
