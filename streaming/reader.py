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
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from runs.newer import Place
from runs.packing import binary
from streaming import tails
from streaming.access import Account, Subject
from streaming.asked import Asked, subject_of
from streaming.rendering import Fragment, Key
from streaming.tails import Packed, Tail

if TYPE_CHECKING:
    from streaming.hub import Hub

log = logging.getLogger(__name__)

SIGNED_OUT, FORBIDDEN, TOO_SLOW, FLOODED, TRY_LATER, BROKEN = 4401, 4403, 4408, 4429, 1013, 1011
#: Frames and bytes under way, bytes of the fragments of one frame.
WINDOW, BYTES, FRAME = 8, 4_000_000, 1_000_000
#: Seconds of silence, and until a keepalive.
PATIENCE, KEEPALIVE = 30.0, 20.0


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
        #: Charts and logs that it follows, up to where, and those that may have grown.
        self.charts: dict[int, dict[str, Place]] = {}
        self.tails: dict[Tail, int] = {}
        self.grown: set[Subject] = set()
        self.again: list[tuple[int, str]] = []
        self.gone: dict[tuple[str, int], None] = {}
        self.moved = False
        self.why = ""
        self.code = 0
        self.seq = 0
        #: When the last frame was sent (at first: long ago), and when anything was.
        self.sent_at, self.heard_at = float("-inf"), time.monotonic()
        self.due = 0.0
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
        if self.asked is not None or self._has_something():
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

    def lose(self, subject: Subject) -> None:
        """Say that a run or job is no longer there."""
        for key in self.keys.pop(subject, ()):
            self.shown.pop(key, None)
            self.waiting.pop(key, None)
            self.gone[key[0], key[1]] = None
        kind, pk = subject
        if kind == "run" and self.charts.pop(pk, None) is not None:
            self.gone["series", pk] = None
        for tail in [tail for tail in self.tails if subject == ("job", tail[0])]:
            del self.tails[tail]
            self.gone["tail", pk] = None
        self.woken.set()

    def follow_up(self, subject: Subject) -> None:
        """Say that a run or job has changed, so that its charts or logs may have grown."""
        kind, pk = subject
        if pk in self.charts if kind == "run" else any(job == pk for job, _ in self.tails):
            self.grown.add(subject)
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
        except Exception as error:
            log.warning("A socket is closed: %s", str(error).strip() or type(error).__name__, exc_info=True)
            self.leave(BROKEN)
        self.hub.part(self)
        with suppress(Exception):
            await self._send({"type": "websocket.close", "code": self.code})

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(self._patience()):
                await self.woken.wait()
        except TimeoutError:
            if self._patience() > 0:
                return  # it was answered meanwhile
            if self.under_way:
                self.leave(TOO_SLOW)
            else:
                self.heard_at = time.monotonic()
                await self._say({"type": "websocket.send", "text": f'{{"keepalive":{time.time():.3f}}}'})
            return
        self.woken.clear()
        if self.code:
            return
        if self.asked is not None:
            said, self.asked = self.asked, None
            await self.hub.subscribe(self, said)
        if self._has_something() and self._has_room():
            if (pause := self.sent_at + self.hub.rounds.gap(self) - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            await self._flush()

    def _patience(self) -> float:
        """Seconds that it may go on with nothing happening."""
        until = self.under_way[0][1] + PATIENCE if self.under_way else self.heard_at + KEEPALIVE
        return max(0.0, until - time.monotonic())

    def _has_something(self) -> bool:
        return bool(self.waiting or self.gone or self.moved or self.why or self.grown or self.again)

    def _has_room(self) -> bool:
        return len(self.under_way) < WINDOW and sum(size for *_, size in self.under_way) < BYTES

    async def _flush(self) -> None:
        """All that waits, in one frame; points in another one, of bytes."""
        if self.code:
            return
        grown, self.grown = self.grown, set()
        tails = [part for kind, pk in grown if kind == "job" for part in await self._lines(pk)]
        points = [part for kind, pk in grown if kind == "run" and (part := await self._points(pk))]
        frame = self._waiting() | ({"tail": tails} if tails else {})
        if frame:
            self.seq += 1
            text = msgspec.json.encode({"seq": self.seq, "now": time.time(), **frame}).decode()
            await self._pass({"type": "websocket.send", "text": text}, len(text))
        for series, body in points:
            self.seq += 1
            data = binary({"seq": self.seq, "now": time.time(), "series": series}, body)
            await self._pass({"type": "websocket.send", "bytes": data}, len(data))

    def _waiting(self) -> dict[str, Any]:
        """What was offered, taken."""
        frame: dict[str, Any] = {}
        if self.waiting:
            frame["fragments"] = self._fragments()
        if self.gone:
            frame["gone"] = [{"kind": kind, "id": pk} for kind, pk in self.gone]
            self.gone = {}
        if self.moved:
            frame["sources"], self.moved = True, False
        if self.why:
            frame["refused"], self.why = self.why, ""
        if self.again:
            frame["series"] = [{"run": run, "tag": tag, "refetch": True} for run, tag in self.again]
            self.again = []
        return frame

    def _fragments(self) -> list[Raw]:
        """Those that a frame holds; the others come with the next one."""
        taken, room = [], FRAME
        for key in list(self.waiting):
            if room <= 0:
                self.woken.set()
                break
            fragment = self.waiting.pop(key)
            taken.append(Raw(fragment.encoded))
            room -= len(fragment.encoded)
        return taken

    async def _points(self, run: int) -> Packed | None:
        """What the charts of a run have grown by; those that must be looked at anew are put down for it."""
        charts = self.charts.get(run, {})
        asked = tuple(charts.items())
        key = (run, self.hub.version_of(("run", run)), asked)
        found, packed = await self.hub.share(self.account.user, key, tails.points, run, asked)
        if charts is not self.charts.get(run):  # the page has turned to something else meanwhile
            return None
        for tag, place in found.items():
            if place is None:
                del charts[tag]  # until the page says where it stands then
                self.again.append((run, tag))
            else:
                charts[tag] = place
        return packed

    async def _lines(self, job: int) -> list[dict[str, Any]]:
        """What the logs of a job have grown by."""
        told = []
        for tail, line in [(tail, line) for tail, line in self.tails.items() if tail[0] == job]:
            key = (tail, self.hub.version_of(("job", job)), line)
            part, end = await self.hub.share(self.account.user, key, tails.lines, *tail, line)
            if self.tails.get(tail) == line and part:
                self.tails[tail] = end
                told.append(part)
                if len(part["lines"]) == tails.MOST_LINES:
                    self.grown.add(("job", job))
                    self.woken.set()
        return told

    async def _pass(self, message: dict[str, Any], size: int) -> None:
        """Send a frame that is to be acknowledged."""
        self.sent_at = self.heard_at = time.monotonic()
        self.under_way.append((self.seq, self.sent_at, size))
        await self._say(message)

    async def _say(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send(message)
        except TimeoutError:
            self.leave(TOO_SLOW)
        except Exception as error:  # daphne raises where the page has gone a moment ago
            log.debug("A page has gone: %s", error)
            self.leave(BROKEN)

    def watch(self, said: Asked) -> None:
        """Show something else from now on."""
        self.keys, self.shown, self.charts, self.tails, self.again = {}, {}, {}, {}, []
        self.lists = said.lists is True
        for chart in said.series or []:
            self.keys.setdefault(("run", chart.run), [])
            if chart.since is None:
                self.again.append((chart.run, chart.tag))
            else:
                self.charts.setdefault(chart.run, {})[chart.tag] = chart.since
        for tail in said.tail or []:
            self.keys.setdefault(("job", tail.job), [])
            self.tails[tail.job, tail.stream] = tail.line
        self.grown = {("run", run) for run in self.charts} | {("job", job) for job, _ in self.tails}
        for one in said.watch or []:
            key = (one.kind, one.id, one.spec)
            if key not in self.shown:
                self.keys.setdefault(subject_of(one.kind, one.id), []).append(key)
            self.shown[key] = one.version
        self.waiting = {key: one for key, one in self.waiting.items() if one.version > self.shown.get(key, one.version)}
