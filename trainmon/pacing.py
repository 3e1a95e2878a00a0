"""No answer is made faster than its reader takes it.

ASGI's ``send`` is meant to wait for a slow reader.  daphne's does not: it keeps what the
socket does not take, so that a download of gigabytes would lie in memory.  Twisted, below
it, tells a producer when to pause; here ``send`` listens to that.  A reader that takes nothing
for PATIENCE seconds is cut off: it would hold its cursor or file open for ever.  Other
servers wait by themselves and are left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]
Send = Callable[[Message], Awaitable[None]]

PATIENCE = 60.0
#: Bytes of what a page says at once over a socket, in one frame or several, and of a message that is sent to it.
LONGEST_SAID, LONGEST_MESSAGE = 256 * 1024, 16 * 1024 * 1024
#: Pings of a socket that are answered at once, and each second: browsers send none, proxies a few a minute.
PINGS, PINGS_A_SECOND = 20.0, 1.0


class Pace:
    """A push producer in Twisted's sense: told to pause while the socket's buffer is full."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.gone = False

    def pauseProducing(self) -> None:
        """The buffer is full."""
        self.open.clear()

    def resumeProducing(self) -> None:
        """It has been sent."""
        self.open.set()

    def stopProducing(self) -> None:
        """The reader is gone."""
        self.gone = True
        self.open.set()


class Paced:
    """An ASGI application whose streams wait for their readers."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Run the application; a stream under daphne gets a ``send`` that waits, a socket bounded messages."""
        protocol: Any = next(iter(getattr(send, "args", ())), None)
        if (server := getattr(protocol, "server", None)) is not None:
            # daphne takes it from a header of anybody's: /x/admin/ would be /admin/, past a proxy that guards that path
            scope["root_path"] = server.root_path
        if scope["type"] == "websocket":
            bound(send)
        await self.application(scope, receive, waiting(send) if scope["type"] == "http" else send)


def bound(send: Send) -> None:
    """Bound what comes over a socket of daphne's: each bit of it lies in memory before anything of ours is called."""
    protocol: Any = next(iter(getattr(send, "args", ())), None)
    if hasattr(protocol, "maxMessagePayloadSize"):
        protocol.maxMessagePayloadSize = LONGEST_MESSAGE  # of what is sent; what comes is told apart below
        _bound_all(type(protocol))


def _bound_all(protocols: Any) -> None:
    """Once for all sockets.

    Its one limit counts for both directions: a message in fragments, never ended, could hold as much as our longest
    one, times the sockets of a user.  And each ping is answered, whether or not somebody reads.
    """
    if getattr(protocols, "bounded", False):
        return
    begin, ping = protocols.onMessageFrameBegin, protocols.onPing

    def begun(self: Any, length: int) -> None:
        self.maxMessagePayloadSize = LONGEST_SAID
        try:
            begin(self, length)
        finally:
            self.maxMessagePayloadSize = LONGEST_MESSAGE

    def pinged(self: Any, payload: bytes) -> None:
        left, at = getattr(self, "pings", (PINGS, 0.0))
        now = time.monotonic()
        left = min(PINGS, left + (now - at) * PINGS_A_SECOND) - 1
        self.pings = left, now
        if left < 0:
            self.dropConnection(abort=True)
        else:
            ping(self, payload)

    protocols.onMessageFrameBegin, protocols.onPing, protocols.bounded = begun, pinged, True


def waiting(send: Send) -> Send:
    """The same ``send``, waiting where daphne's request can tell a producer to pause."""
    request: Any = next(iter(getattr(send, "args", ())), None)
    if not hasattr(request, "registerProducer"):
        return send
    pace = Pace()
    registered = False

    async def paced(message: Message) -> None:
        nonlocal registered
        streams = message["type"] == "http.response.body" and message.get("more_body", False)
        if streams and not registered and request.channel is not None:
            request.registerProducer(pace, True)
            registered = True
        elif not streams and registered and request.channel is not None:
            request.unregisterProducer()
            registered = False
            pace.open.set()
        await send(message)
        try:
            async with asyncio.timeout(PATIENCE):
                await pace.open.wait()
        except TimeoutError:
            if request.channel is not None:
                request.channel.forceAbortClient()
            pace.stopProducing()
        if pace.gone:  # Django then ends the response, and with it its file and connection
            raise asyncio.CancelledError

    # whoever must cut a connection finds it as in daphne's own send
    paced.args = send.args  # type: ignore[attr-defined]
    return paced
