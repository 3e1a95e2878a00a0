"""/healthz, /readyz and /metrics, beside Django: no session, no host name, no line in the access log, nothing that waits.

Whoever asks by address (a container's probe, Prometheus) knows no host name of the site, and a site whose threads all
wait for a database that hangs must still say so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.timezone import now
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from trainmon.health import door
from trainmon.health.asking import Asked, in_thread
from trainmon.health.dependencies import VITAL, Dependencies
from trainmon.health.figures import Figures, figures
from trainmon.health.metrics import exposition
from trainmon.health.standing import State, Word, told, word
from trainmon.pacing import Application, Message, Send

log = logging.getLogger(__name__)

#: Seconds that the figures may take; without them the rest is told.
FIGURES = 5.0
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent, in one piece."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


class Probes:
    """An ASGI application that answers these three addresses itself, and hands all others on."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.dependencies = Dependencies()
        self.figures: Asked[Figures] = Asked(lambda: in_thread(figures, "health: figures"), FIGURES)
        self.answers: dict[str, Callable[[Message], Awaitable[Answer]]] = {
            "/healthz": self.live, "/readyz": self.ready, "/metrics": self.metrics,
        }

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Answer, or hand on."""
        answer = self.answers.get(scope["path"]) if scope["type"] == "http" else None
        if answer is None:
            await self.application(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _send(send, Answer(405, b"This is only read.\n", headers={"Allow": "GET, HEAD"}), scope)
        else:
            await _send(send, await answer(scope), scope)

    async def live(self, scope: Message) -> Answer:
        """The process lives and its event loop turns; nothing else is asked."""
        return Answer(200, b"ok\n")

    async def ready(self, scope: Message) -> Answer:
        """The word for everybody; the details for those who may know them."""
        found = await self.dependencies.look()
        how = word(found, VITAL)
        status = 503 if how == Word.UNREADY else 200
        everything = door.may_read(scope)
        # a session is looked up in the database: not where that hangs
        trainers = await door.trainers_of(scope) if not everything and found["database"].state == State.OK else None
        if not everything and trainers is None:
            return Answer(status, f"{how}\n".encode())
        said = {"state": how, "at": now(), "version": settings.VERSION, "dependencies": told(found, trainers)}
        return Answer(status, json.dumps(said, default=_said, indent=1).encode() + b"\n", "application/json")

    async def metrics(self, scope: Message) -> Answer:
        """For Prometheus; where nothing was set it is not there."""
        if door.is_shut():
            return Answer(404, b"Not found.\n")
        if not door.may_read(scope):
            return Answer(403, b"Not allowed: this needs the token, or an address that was named.\n")
        found = await self.dependencies.look()
        held = None
        if found["database"].state == State.OK:
            try:
                held = await self.figures.answer()
            except Exception as error:
                log.warning("Figures of the registry are missing from /metrics: %s", str(error).strip() or type(error).__name__)
        return Answer(200, exposition(word(found, VITAL), found, held), CONTENT_TYPE_PLAIN_0_0_4)


def _said(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def _send(send: Send, answer: Answer, scope: Message) -> None:
    told = {**HEADERS, "Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), **answer.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
