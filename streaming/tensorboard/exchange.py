"""One request to a TensorBoard and its answer, carried as they come.

It and what it stands on (aiohttp: 7 MB) are loaded by the first TensorBoard that is opened, not by each web process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from streaming.tensorboard import upstream
from streaming.tensorboard.admission import Admitted
from streaming.tensorboard.caller import Caller, cut, say
from streaming.tensorboard.headers import downwards, upwards
from streaming.tensorboard.routes import Refusal

log = logging.getLogger(__name__)

#: Bytes of what is asked: a question about a thousand runs has some 100 kB.
LARGEST = 1024 * 1024
#: An answer up to here is handed on in one piece.
SMALL = 64 * 1024
#: Seconds after which it is looked again whether its reader may have the rest of a long one.
ADMIT_EVERY = 5.0
Admit = Callable[[], Awaitable[Admitted | None]]


class Exchange:
    """One request, carried to a TensorBoard and back."""

    def __init__(self, scope: Any, caller: Caller, send: Any, socket: str, admit: Admit) -> None:
        self.scope, self.caller, self.send, self.socket, self.admit = scope, caller, send, socket, admit
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
        """Piece by piece: the next one is read when the last has gone on its way, and whoever may no longer gets no more."""
        looked = time.monotonic()
        try:
            async for piece in answer.content.iter_any():
                if time.monotonic() > looked + ADMIT_EVERY:
                    looked = time.monotonic()
                    if await self.admit() is None:
                        return cut(self.send)
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("A TensorBoard ended in the middle of an answer: %s", error)
            cut(self.send)
