"""A TensorBoard behind our login: an ASGI application beside Django.

It looks who asks (admission.py) and whether TensorBoard may be asked that (routes.py), then carries bytes both ways
as they come, at the pace of the slower side (exchange.py).  What it does not carry Django answers: sign-in,
refusals, and the pages of a TensorBoard that is not there (pages.py).
"""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import Any

from django.conf import settings

from runs.api.rates import Buckets
from streaming.tensorboard.admission import Admissions, Admitted
from streaming.tensorboard.caller import Caller, is_asked_as_us, is_from_here, say, too_many
from streaming.tensorboard.routes import ADDRESS, Refusal, refuse
from streaming.tensorboard.turns import Full, Turns


class Proxy:
    """The TensorBoards below /tensorboard/; all else is the site's."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.admissions, self.turns, self.rates = Admissions(), Turns(), Buckets()
        self.ready = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        address = ADDRESS.fullmatch(scope.get("raw_path") or scope["path"].encode(errors="replace"))
        if address is None or not is_asked_as_us(scope):
            return await self.site(scope, receive, send)
        slug = address[1].decode()
        admitted = await self.admissions.admit(scope, slug)
        if admitted is None:
            return await self.site(scope, receive, send)
        if refusal := self._refusal(scope, admitted, address[2]):
            return await say(send, refusal)
        caller = Caller(receive)
        if not self.ready:  # beside the loop: aiohttp takes its time, and others are answered meanwhile
            await asyncio.to_thread(import_module, "streaming.tensorboard.exchange")
            self.ready = True
        from streaming.tensorboard import upstream
        from streaming.tensorboard.exchange import Exchange

        try:
            async with self.turns.turn(admitted.user):
                exchange = Exchange(scope, caller, send, admitted.socket, lambda: self.admissions.admit(scope, slug))
                await exchange.carry(address[0].decode(), slug)
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
