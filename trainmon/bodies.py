"""No request's body takes more memory or disk than the largest that some view accepts.

A server stores a body before anything of ours runs: daphne (Twisted, below it) in a temporary file of any
size, for anybody.  Here what comes beyond LARGEST is passed over as it arrives; the view then sees a
body that is too large for it and says so (413), as it does for one a byte too long.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

#: More than a piece of a pushed file (runs/api/ingest.py) and than settings.DATA_UPLOAD_MAX_MEMORY_SIZE.
LARGEST = 9 * 1024 * 1024


class Bounded:
    """An ASGI application that is handed no more than LARGEST bytes of a body."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application
        if "daphne" in sys.modules:
            bound_daphne()

    async def __call__(self, scope: Message, receive: Receive, send: Any) -> None:
        """Run the application."""
        await self.application(scope, bounded(receive) if scope["type"] == "http" else receive, send)


def bounded(receive: Receive) -> Receive:
    """The same ``receive``; what is too much of a body it takes from the server and drops."""
    room = LARGEST

    async def less() -> Message:
        nonlocal room
        message = await receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")
            message["body"], room = body[:room], room - min(len(body), room)
        return message

    return less


def bound_daphne() -> None:
    """Twisted hands over each piece of a body as it comes, to be stored."""
    from daphne.http_protocol import WebRequest

    store = WebRequest.handleContentChunk
    if getattr(store, "bounded", False):
        return

    def less(self: Any, data: bytes) -> None:
        room = LARGEST - self.content.tell()
        if room > 0:
            store(self, data[:room])

    less.bounded = True  # type: ignore[attr-defined]
    WebRequest.handleContentChunk = less
