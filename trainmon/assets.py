"""The site's own scripts, styles and pictures, answered before Django is asked.

A page names two dozen of them.  Each took seven milliseconds of the processor as a request of Django's
(its tasks, its middleware, four changes of thread to read a file); from memory it takes less than one.
servestatic knows the files, their headers and what a browser has already; it offers servers to send a
file by its path, and that offer is taken here: daphne does not.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.http import HttpRequest, HttpResponse
from servestatic.asgi import FileServerASGI
from servestatic.middleware import ServeStaticMiddleware

from trainmon.headers import Policy, Security
from trainmon.pacing import Application, Message, Send

#: Bytes of a file that is kept in memory, and how many are.
SMALL, KEPT = 256 * 1024, 128
BY_PATH: dict[str, dict[str, Any]] = {"http.response.pathsend": {}}


class Assets:
    """An ASGI application that answers what lies under STATIC_URL itself."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.static = ServeStaticMiddleware(_nothing)
        bare: Any = Security(lambda request: Policy(lambda _: HttpResponse())(request))(HttpRequest())
        del bare["Content-Type"]
        self.headers = [(name.lower().encode(), value.encode()) for name, value in bare.items()]

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """A file, or what the application says."""
        found = await self._found(scope["path"])
        if found is None:
            await self.application(scope, receive, send)
        else:
            answer: Any = FileServerASGI(found)
            await answer({**scope, "extensions": BY_PATH}, receive, self._sending(send))

    async def _found(self, path: str) -> Any:
        if self.static.autorefresh and path.startswith(self.static.static_prefix):
            with suppress(SuspiciousFileOperation):
                return await asyncio.to_thread(self.static.find_file, path)
            return None
        return self.static.files.get(path)

    def _sending(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            elif message["type"] == "http.response.pathsend":
                message = {"type": "http.response.body", "body": await content(message["path"])}
            await send(message)
        return sent


async def content(path: str) -> bytes:
    """What a file holds; a small one is read once."""
    file = Path(path)
    stat = file.stat()
    return small(path, stat.st_mtime_ns) if stat.st_size <= SMALL else await asyncio.to_thread(file.read_bytes)


@lru_cache(maxsize=KEPT)
def small(path: str, _mtime_ns: int) -> bytes:
    """What a small file holds, as of its time."""
    return Path(path).read_bytes()


async def _nothing(_: HttpRequest) -> HttpResponse:
    return HttpResponse(status=404)
