"""Each request and socket has a correlation id, which its answer names, and a line in the access log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from django.utils.deprecation import MiddlewareMixin

from runs import correlation
from trainmon.health import process
from trainmon.pacing import Application, Message, Send

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

log = logging.getLogger("trainmon.access")
NAME = correlation.HEADER.lower().encode()
#: Parameters of a query that the log keeps.
MOST_PARAMETERS = 50


class Correlated:
    """An ASGI application whose every answer names the id of its request, whoever made the answer."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Run the application with the caller's id, or a new one, bound."""
        if scope["type"] not in ("http", "websocket"):
            await self.application(scope, receive, send)
            return
        said = next((value.decode("latin-1") for name, value in scope["headers"] if name == NAME), None)
        taken = correlation.taken(said)
        others = [(name, value) for name, value in scope["headers"] if name != NAME]
        seen = Seen(scope, taken)
        if scope["type"] == "websocket":
            _shake_hands(send, taken)
        with correlation.bound(taken):
            try:
                await self.application({**scope, "headers": [*others, (NAME, taken.encode())]}, receive, seen.passing(send))
            finally:
                seen.tell()


def _shake_hands(send: Send, correlation_id: str) -> None:
    """daphne leaves out the headers of a handshake's answer, a refusal has none in ASGI; its protocol takes them in both."""
    protocol: Any = next(iter(getattr(send, "args", ())), None)
    if hasattr(protocol, "sendHttpErrorResponse"):
        accept, refuse = protocol.serverAccept, protocol.sendHttpErrorResponse
        header = (correlation.HEADER, correlation_id)
        protocol.serverAccept = lambda subprotocol=None: accept((subprotocol, dict([header])))
        protocol.sendHttpErrorResponse = lambda code, reason, more=None: refuse(code, reason, [*(more or ()), header])


class Seen:
    """What passes of one answer, for the access log."""

    def __init__(self, scope: Message, correlation_id: str) -> None:
        self.scope, self.id = scope, correlation_id
        self.began = time.monotonic()
        self.status: int | None = None
        self.size = 0
        #: A connection that lives for long: a socket that was let in, a stream.
        self.kind = ""

    def passing(self, send: Send) -> Send:
        """The same ``send``, which looks and adds the header."""
        async def passed(message: Message) -> None:
            match message["type"]:
                case "http.response.start":
                    self.status = message["status"]
                    self._name(message)
                    if any(value.startswith(b"text/event-stream") for _, value in message.get("headers", ())):
                        self._open("stream")
                case "http.response.body":
                    self.size += len(message.get("body", b""))
                case "websocket.accept":
                    self._name(message)
                    self._open("websocket")
                    self._line("socket.opened", "open")
                case "websocket.close":
                    self.status = message.get("code", 1000)
            await send(message)
        # daphne's own protocol is reached through its send (pacing, the longest message of a socket)
        passed.args = getattr(send, "args", ())  # type: ignore[attr-defined]
        return passed

    def _open(self, kind: str) -> None:
        self.kind = kind
        process.opened.labels(kind).inc()

    def _name(self, message: Message) -> None:
        headers = [*message.get("headers", ())]
        if not any(name.lower() == NAME for name, _ in headers):
            message["headers"] = [*headers, (NAME, self.id.encode())]

    def tell(self) -> None:
        """The line of the access log, and the counters: an answer without a status was broken off."""
        if self.kind:
            process.opened.labels(self.kind).dec()
        if self.scope["type"] == "http":
            seconds = time.monotonic() - self.began
            process.answered(self.scope["path"], self.scope["method"], self.status, seconds, stream=bool(self.kind))
        status = "broken off" if self.status is None else str(self.status)
        if self.scope["type"] == "websocket":
            self._line("socket.closed", f"closed {self.status or ''}".strip(), status=self.status)
        else:
            self._line("http.request", status, status=self.status, bytes=self.size)

    def _line(self, event: str, outcome: str, **more: Any) -> None:
        ms = round((time.monotonic() - self.began) * 1000, 1)
        scope, method = self.scope, self.scope.get("method", "WEBSOCKET")
        context: dict[str, Any] = {"method": method, "path": scope["path"], "ms": ms, **more}
        if query := scope.get("query_string"):
            # by name, so that a secret is known by it however it is spelt
            context["query"] = dict(_pairs(query))
        if client := scope.get("client"):
            context["client"] = client[0]
        log.info("%s %s %s in %s ms", method, scope["path"], outcome, ms, extra={"event": event, "context": context})


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query[:4096].decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return [("", f"{len(query)} bytes")]
    return [(name[:100], value[:200]) for name, value in pairs]


class Correlation(MiddlewareMixin):
    """The same for a request that did not come through ASGI: the test client."""

    def __call__(self, request: HttpRequest) -> Any:
        """Synchronous."""
        if self.async_mode:
            return self.__acall__(request)
        with correlation.bound(_id(request)):
            return _named(self.get_response(request))  # type: ignore[arg-type]

    async def __acall__(self, request: HttpRequest) -> Any:
        """Without a change of thread."""
        with correlation.bound(_id(request)):
            return _named(await self.get_response(request))  # type: ignore[misc]


def _id(request: HttpRequest) -> str:
    return correlation.taken(request.headers.get(correlation.HEADER))


def _named(answer: HttpResponseBase) -> HttpResponseBase:
    answer[correlation.HEADER] = correlation.current()
    return answer
