"""The socket of a page: who may open it, and how much it may say.

A plain ASGI application: Channels' consumers give each socket a subscription of its own on the bus, and
each message, acknowledgements too, a trip to another thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.http import parse_cookie

from streaming import access, asked, hub
from streaming.database import ask
from streaming.reader import FLOODED, SIGNED_OUT, TRY_LATER, Reader

log = logging.getLogger(__name__)

#: Messages at once and a second; a new subscription or a mistake weighs as much as several acknowledgements.
BURST, A_SECOND, WEIGHT = 200.0, 40.0, 10.0

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bucket:
    """How much a page may still say: filled up over time, emptied by its messages."""

    def __init__(self) -> None:
        self.left, self.at = BURST, time.monotonic()

    def take(self, weight: float) -> bool:
        """Whether a message of this weight is still borne."""
        now = time.monotonic()
        self.left = min(BURST, self.left + (now - self.at) * A_SECOND) - weight
        self.at = now
        return self.left >= 0


async def live(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """/ws/live/: docs/api.md, "Live"."""
    await receive()  # websocket.connect
    # before it is known who it is: who is refused learns why only once the socket is open, and where hundreds
    # of pages come back at once daphne would turn away those that wait for more than five seconds
    await send({"type": "websocket.accept"})
    account = await _account(scope)
    if isinstance(account, int):
        return await send({"type": "websocket.close", "code": account})
    here = hub.start()
    reader = Reader(here, account, send)
    if refused := here.full(account.user):
        return await send({"type": "websocket.close", "code": refused})
    here.join(reader)
    running = asyncio.create_task(reader.run())
    bucket = Bucket()
    try:
        while (message := await receive())["type"] == "websocket.receive":
            _hear(reader, bucket, message.get("text") or "")
    finally:
        here.part(reader)
        running.cancel()


async def _account(scope: dict[str, Any]) -> access.Account | int:
    """Whose session the cookie is of, or the code to close with."""
    cookies = "; ".join(value.decode("latin1") for name, value in scope["headers"] if name == b"cookie")
    try:
        found = await ask(access.signed_in, parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, ""))
    except Exception as error:
        log.warning("A socket was not let in: %s", error)
        return TRY_LATER
    return found or SIGNED_OUT


def _hear(reader: Reader, bucket: Bucket, text: str) -> None:
    """Take note of what the page says; nothing here waits, so that a flood is seen at once."""
    try:
        said = asked.read(text)
    except ValueError as error:
        if bucket.take(WEIGHT):
            reader.refuse(str(error))
        else:
            reader.leave(FLOODED)
        return
    if bucket.take(WEIGHT + said.entries / 50 if said.subscribes else 1.0):
        reader.hear(said)
    else:
        reader.leave(FLOODED)
