"""The other end of a proxied request: what it sends, whether it is still there, and words for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from streaming.routing import may_ask
from streaming.tensorboard.headers import NOTHING_RUNS, OURS
from streaming.tensorboard.routes import Refusal


class Caller:
    """Who waits for an answer."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._watch: asyncio.Future[None] | None = None
        self.said_all = self.gone = False

    async def _next(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        elif not message.get("more_body", False):
            self.said_all = True
        return message

    async def body(self, most: int) -> bytes | None:
        """All that it sends; None: more than ``most``."""
        pieces: list[bytes] = []
        size = 0
        while not self.said_all and size <= most:
            message = await self._next()
            if self.gone:
                raise asyncio.CancelledError
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
        return b"".join(pieces) if size <= most else None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is done meanwhile ends when it goes."""
        work = asyncio.current_task()

        async def until_gone() -> None:
            while not self.gone:
                await self._next()
            if work:
                work.cancel()

        self._watch = asyncio.ensure_future(until_gone())
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """It may go now: servers tell of the end of an answer as of a caller who went."""
        if self._watch:
            self._watch.cancel()

    async def again(self) -> Any:
        """For another application, which knows nothing of what was taken here."""
        if self.said_all:
            self.said_all = False
            return {"type": "http.request", "body": b"", "more_body": False}
        return await self._receive()


def named(scope: Mapping[str, Any], name: bytes) -> list[str]:
    """The values of a header."""
    return [value.decode("latin-1") for one, value in scope["headers"] if one == name]


def is_asked_as_us(scope: Mapping[str, Any]) -> bool:
    """Whether the request names a host that is ours, or none, as HTTP/1.0 may: browsers name one."""
    hosts = named(scope, b"host")
    return not hosts or len(hosts) == 1 and validate_host(split_domain_port(hosts[0])[0], settings.ALLOWED_HOSTS)


def is_from_here(scope: Mapping[str, Any]) -> bool:
    """Whether one of our own pages sent this: a browser says so of whatever is no plain link."""
    origins, sites = named(scope, b"origin"), named(scope, b"sec-fetch-site")
    if any(site != "same-origin" for site in sites) or not (origins or sites):
        return False
    host = "".join(named(scope, b"host"))
    return all(may_ask(origin, host) for origin in origins)


async def say(send: Any, refusal: Refusal) -> None:
    """A few words in place of TensorBoard's."""
    words = refusal.words.encode()
    own = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(words)).encode()),
           (b"cache-control", b"private, no-store"))  # fmt: skip
    headers = [*own, *refusal.headers, NOTHING_RUNS, *OURS]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": words})


def too_many(wait: float) -> Refusal:
    """Come back later."""
    seconds = max(1, math.ceil(wait))
    words = f"That is more than a person asks of TensorBoard: go on in {seconds} s. An administrator can raise TRAINMON_TB_RATE."
    return Refusal(429, words, ((b"retry-after", str(seconds).encode()),))


def cut(send: Any) -> None:
    """End the connection, so that nobody takes half an answer for a whole one."""
    request: Any = next(iter(getattr(send, "args", ())), None)
    if getattr(request, "channel", None) is not None:
        request.channel.forceAbortClient()  # daphne would end it as if all were well
    raise asyncio.CancelledError
