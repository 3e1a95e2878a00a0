"""One reader: what a page shows, what waits to be sent to it, and how fast it takes it.

What waits is bounded by what the page shows: of each fragment only the newest is kept, and points and
log lines are fetched when there is room for them.  A page acknowledges each frame; with WINDOW frames
or BYTES under way nothing more is sent, and one that is silent for PATIENCE seconds is let go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from streaming.access import Account, Subject
from streaming.asked import Asked, subject

if TYPE_CHECKING:
    from streaming.hub import Hub

log = logging.getLogger(__name__)

SIGNED_OUT, FORBIDDEN, TOO_SLOW, FLOODED, TRY_LATER, BROKEN = 4401, 4403, 4408, 4429, 1013, 1011
#: Frames and bytes under way, seconds between two frames, of silence, and until a keepalive.
WINDOW, BYTES, GAP, PATIENCE, KEEPALIVE = 8, 4_000_000, 0.1, 30.0, 20.0

#: A fragment as a page asks for it: kind, id, spec.
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a page shows of a run or job at a version, as JSON."""

    version: int
    encoded: bytes


class Reader:
    """A page's socket, as the hub sees it."""

    def __init__(self, hub: Hub, account: Account, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self.hub, self.account, self._send = hub, account, send
        self.woken = asyncio.Event()
        self.asked: Asked | None = None
        #: What it shows: by what it is of, and the version that it has.
        self.keys: dict[Subject, list[Key]] = {}
        self.shown: dict[Key, int] = {}
        self.lists = False
        self.waiting: dict[Key, Fragment] = {}
        self.gone: dict[tuple[str, int], None] = {}
        self.moved = False
        self.why = ""
        self.code = 0
        self.seq = 0
        self.sent_at = -GAP
        #: Frames under way: number, when sent, bytes.
        self.under_way: deque[tuple[int, float, int]] = deque()

    def subjects(self) -> set[Subject]:
        """The runs and jobs that the page shows."""
        return set(self.keys)

    # what others tell it; none of this waits

    def hear(self, said: Asked) -> None:
        """Take a message of the page."""
        if isinstance(said.ack, int):
            while self.under_way and self.under_way[0][0] <= said.ack:
                self.under_way.popleft()
        if said.subscribes:
            self.asked = said  # the newest counts
        self.woken.set()

    def offer(self, key: Key, fragment: Fragment) -> None:
        """Have a fragment sent, unless the page has it or newer."""
        if fragment.version > self.shown.get(key, fragment.version):
            self.waiting[key] = fragment
            self.shown[key] = fragment.version
            self.woken.set()

    def lose_one(self, key: Key) -> None:
        """Say that a fragment has nothing to show any more."""
        if self.shown.pop(key, None) is not None:
            self.waiting.pop(key, None)
            self.gone[key[0], key[1]] = None
            self.woken.set()

    def lose(self, what: Subject) -> None:
        """Say that a run or job is no longer there."""
        for key in self.keys.pop(what, ()):
            self.shown.pop(key, None)
            self.waiting.pop(key, None)
            self.gone[key[0], key[1]] = None
        self.woken.set()

    def stir(self) -> None:
        """Say that runs came, went or moved in a source that the user sees."""
        self.moved = True
        self.woken.set()

    def refuse(self, why: str) -> None:
        """Say what was wrong with a message."""
        self.why = why[:1000]
        self.woken.set()

    def leave(self, code: int) -> None:
        """End the socket with this code."""
        self.code = self.code or code
        self.woken.set()

    # what it does in a task of its own

    async def run(self) -> None:
        """Send what waits, until the socket ends."""
        try:
            while not self.code:
                await self._turn()
        except Exception:
            log.exception("A socket broke")
            self.leave(BROKEN)
        self.hub.part(self)
        await self._send({"type": "websocket.close", "code": self.code})

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self._patience()):
                await self.woken.wait()
        except TimeoutError:
            if self.under_way:
                self.leave(TOO_SLOW)
            else:
                await self._say({"keepalive": time.time()})
            return
        self.woken.clear()
        if self.code:
            return
        if self.asked is not None:
            said, self.asked = self.asked, None
            await self.hub.subscribe(self, said)
        if self._has_something() and self._has_room():
            await asyncio.sleep(self.sent_at + GAP - time.monotonic())
            await self._flush()

    def _patience(self) -> float:
        """Seconds that it may go on with nothing happening."""
        if self.under_way:
            return max(0.0, self.under_way[0][1] + PATIENCE - time.monotonic())
        return KEEPALIVE

    def _has_something(self) -> bool:
        return bool(self.waiting or self.gone or self.moved or self.why)

    def _has_room(self) -> bool:
        return len(self.under_way) < WINDOW and sum(size for *_, size in self.under_way) < BYTES

    async def _flush(self) -> None:
        """One frame with all that waits."""
        if self.code:
            return
        frame: dict[str, Any] = {"now": time.time()}
        if self.waiting:
            frame["fragments"] = [Raw(one.encoded) for one in self.waiting.values()]
            self.waiting = {}
        if self.gone:
            frame["gone"] = [{"kind": kind, "id": pk} for kind, pk in self.gone]
            self.gone = {}
        if self.moved:
            frame["sources"], self.moved = True, False
        if self.why:
            frame["refused"], self.why = self.why, ""
        self.seq += 1
        await self._say({"seq": self.seq, **frame}, counts=True)

    async def _say(self, frame: dict[str, Any], *, counts: bool = False) -> None:
        text = msgspec.json.encode(frame)
        self.sent_at = time.monotonic()
        if counts:
            self.under_way.append((self.seq, self.sent_at, len(text)))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send({"type": "websocket.send", "text": text.decode()})
        except TimeoutError:
            self.leave(TOO_SLOW)

    def watch(self, said: Asked) -> None:
        """Show something else from now on."""
        self.keys, self.shown = {}, {}
        self.lists = said.lists is True
        for one in said.watch or []:
            key = (one.kind, one.id, one.spec)
            if key not in self.shown:
                self.keys.setdefault(subject(one.kind, one.id), []).append(key)
            self.shown[key] = one.version
        self.waiting = {key: one for key, one in self.waiting.items() if one.version > self.shown.get(key, one.version)}
