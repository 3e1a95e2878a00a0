"""A TensorBoard behind our login: an ASGI application beside Django.

It looks who asks (admission.py) and whether TensorBoard may be asked that (routes.py), then carries bytes both ways
as they come, at the pace of the slower side.  What it does not carry Django answers: sign-in, refusals, and the pages
of a TensorBoard that is not there (pages.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import aiohttp
from django.conf import settings

from runs.api.rates import Buckets
from streaming.tensorboard import upstream
from streaming.tensorboard.admission import Admissions, Admitted
from streaming.tensorboard.caller import Caller, cut, is_asked_as_us, is_from_here, say, too_many
from streaming.tensorboard.headers import downwards, upwards
from streaming.tensorboard.routes import ADDRESS, Refusal, refuse
from streaming.tensorboard.turns import Full, Turns

log = logging.getLogger(__name__)

#: Bytes of what is asked: a question about a thousand runs has some 100 kB.
LARGEST = 1024 * 1024
#: An answer up to here is handed on in one piece.
SMALL = 64 * 1024


class Proxy:
    """The TensorBoards below /tensorboard/; all else is the site's."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.admissions, self.turns, self.rates = Admissions(), Turns(), Buckets()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        address = ADDRESS.fullmatch(scope.get("raw_path") or scope["path"].encode(errors="replace"))
        if address is None or not is_asked_as_us(scope):
            return await self.site(scope, receive, send)
        admitted = await self.admissions.admit(scope, address[1].decode())
        if admitted is None:
            return await self.site(scope, receive, send)
        if refusal := self._refusal(scope, admitted, address[2]):
            return await say(send, refusal)
        caller = Caller(receive)
        try:
            async with self.turns.turn(admitted.user):
                await Exchange(scope, caller, send, admitted.socket).carry(address[0].decode(), address[1].decode())
        except Full:
            await say(send, too_many(2))
        except upstream.Gone:
            self.admissions.forget()
            await self.site(scope, caller.again, send)
        except asyncio.CancelledError:
            if not caller.gone:
                raise

    def _refusal(self, scope: Any, admitted: Admitted, rest: bytes) -> Refusal | None:
        per_minute: int = settings.TRAINMON_TB_RATE
        if per_minute and (wait := self.rates.take(str(admitted.user), per_minute, time.monotonic())):
            return too_many(wait)
        refusal = refuse(scope["method"], rest, scope.get("query_string", b""))
        if refusal is None and scope["method"] == "POST" and not admitted.by_token and not is_from_here(scope):
            return Refusal(403, "Only a page of this site, or a script with a token, may ask this.")
        return refusal


class Exchange:
    """One request, carried to a TensorBoard and back."""

    def __init__(self, scope: Any, caller: Caller, send: Any, socket: str) -> None:
        self.scope, self.caller, self.send, self.socket = scope, caller, send, socket
        self.method: str = scope["method"]

    async def carry(self, path: str, slug: str) -> None:
        """Ask, and hand on what is answered; Gone: nothing was, and nothing was handed on."""
        body = await self.caller.body(LARGEST) if self.method == "POST" else None
        if body is None and self.method == "POST":
            return await say(self.send, Refusal(413, f"At most {LARGEST} bytes may be asked at once."))
        headers, query = upwards(self.scope["headers"]), self.scope.get("query_string", b"").decode()
        try:
            with self.caller.watched():
                answer = await upstream.ask(self.socket, self.method, path, query, headers, body)
                try:
                    await self._hand_on(answer, downwards(answer.raw_headers, f"/tensorboard/{slug}", path))
                finally:
                    answer.close()  # where it was read to its end, its connection is kept all the same
        except upstream.Late:
            await say(self.send, Refusal(504, f"TensorBoard said nothing for {upstream.SILENCE:.0f} s."))
        except upstream.Unreadable as error:
            log.warning("The TensorBoard of %s said what cannot be read: %s", slug, error.__cause__)
            await say(self.send, Refusal(502, "TensorBoard said something that cannot be read."))

    async def _hand_on(self, answer: aiohttp.ClientResponse, headers: list[tuple[bytes, bytes]]) -> None:
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        size = answer.content_length
        whole = b""
        if self.method == "HEAD" or size is not None and size <= SMALL:
            try:
                whole = await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise upstream.Gone from error
            await self.send(start)
        else:
            await self.send(start)
            await self._stream(answer)
        self.caller.leave()
        await self.send({"type": "http.response.body", "body": whole})

    async def _stream(self, answer: aiohttp.ClientResponse) -> None:
        """Piece by piece: the next one is read when the last has gone on its way."""
        try:
            async for piece in answer.content.iter_any():
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("A TensorBoard ended in the middle of an answer: %s", error)
            cut(self.send)
