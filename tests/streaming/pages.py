"""Pages in this process: their sockets are tasks of the test's own event loop."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User

from streaming import hub
from streaming.database import ask
from streaming.routing import sockets
from tests.streaming.sites import cookie_of


class Near:
    """A page's socket; it acknowledges what it gets."""

    def __init__(self, cookie: str, origin: str = "http://testserver", host: str = "testserver") -> None:
        headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
        if origin:
            headers.append((b"origin", origin.encode()))
        self.socket = WebsocketCommunicator(sockets, "/ws/live/", headers=headers)

    async def open(self) -> Near:
        connected, _ = await self.socket.connect(timeout=30)
        assert connected
        return self

    async def say(self, **said: Any) -> None:
        await self.socket.send_to(text_data=json.dumps(said))

    async def frame(self, seconds: float = 30, *, acknowledge: bool = True) -> dict[str, Any]:
        """The next frame; of a binary one its header, the columns in place."""
        got = await self.socket.receive_from(timeout=seconds)
        frame = json.loads(got) if isinstance(got, str) else unpacked(got)
        if acknowledge and "seq" in frame:
            await self.say(ack=frame["seq"])
        return frame

    async def quiet(self, seconds: float) -> bool:
        return await self.socket.receive_nothing(seconds, 0.05)

    async def closed(self, seconds: float = 30) -> int:
        """The code it is closed with."""
        async with asyncio.timeout(seconds):
            while (message := await self.socket.receive_output(seconds))["type"] != "websocket.close":
                pass
        return message["code"]

    async def leave(self) -> None:
        await self.socket.disconnect(timeout=30)


async def taken_in(pages: int = 1) -> None:
    """Until the hub knows what so many pages show: what changes then is news to them."""
    here = hub.start()
    async with asyncio.timeout(30):
        while sum(bool(one.keys or one.lists) for one in here.readers) < pages:
            await asyncio.sleep(0.01)


async def near(user: User) -> Near:
    cookie = await ask(cookie_of, user)
    return await Near(cookie).open()


def unpacked(data: bytes) -> dict[str, Any]:
    """A binary frame's header, its columns as lists."""
    magic, length = struct.unpack_from("<4sI", data)
    assert magic == b"TMS1"
    head = json.loads(data[8 : 8 + length])
    for one in head["series"]:
        for name, (at, count) in one["line"].items():
            one["line"][name] = list(struct.unpack_from(f"<{count}d", data, 8 + length + at))
    return head
