"""Many sockets that only listen: the browsers of fanout.py, in a process of their own.

    python -m benchmarks.listeners PORT PATH SAYS COOKIE...    one socket a cookie

Each acknowledges what it gets, as a page does.  A line on standard output says that all are open and
subscribed; when standard input ends one JSON object: for each socket [version, monotonic seconds] of every frame.
No library: parsing 5,000 frames a second is what the sockets of this process are for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import sys
import time
from functools import partial

VERSION = re.compile(rb'"version": ?(\d+)')
SEQ = re.compile(rb'"seq":(\d+)')
ZERO = bytes(4)
#: As static/js/live.js: frames of which one is answered, seconds after which the last one is.
FEW, SOON = 4, 0.25


class Listener(asyncio.Protocol):
    """A websocket's client: opens it, says what it shows, and notes each frame."""

    def __init__(self, port: int, path: str, cookie: str, says: bytes) -> None:
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nCookie: {cookie}\r\n\r\n"
        ).encode()
        self.says = says
        self.data = b""
        self.open = self.closed = False
        self.seen: list[tuple[int, float]] = []
        self.newest = self.answered = 0
        self.soon: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Take whole frames from what has come."""
        now = time.monotonic()
        self.data += data
        if not self.open:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self.open, self.data = True, rest
            self.say(self.says)
        while (frame := self._frame()) is not None:
            self._take(frame, now)

    def _frame(self) -> tuple[int, bytes] | None:
        if len(self.data) < 2:
            return None
        length, at = self.data[1] & 127, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(self.data) < 2 + size:
                return None
            length, at = int.from_bytes(self.data[2 : 2 + size], "big"), 2 + size
        if len(self.data) < at + length:
            return None
        kind, body = self.data[0] & 15, self.data[at : at + length]
        self.data = self.data[at + length :]
        return kind, body

    def _take(self, frame: tuple[int, bytes], now: float) -> None:
        kind, body = frame
        if kind == 8:
            self.closed = True
        elif kind == 9:
            self.transport.write(b"\x8a" + bytes([128 | len(body)]) + ZERO + body)
        elif versions := VERSION.findall(body):
            self.seen.append((min(map(int, versions)), now))
        if kind == 1 and (number := SEQ.search(body)):
            self.newest = int(number[1])
            if self.newest - self.answered >= FEW:
                self.acknowledge()
            elif self.soon is None:
                self.soon = asyncio.get_running_loop().call_later(SOON, self.acknowledge)

    def acknowledge(self) -> None:
        """Answer what has come."""
        if self.soon:
            self.soon.cancel()
        self.answered, self.soon = self.newest, None
        self.say(b'{"ack":%d}' % self.newest)

    def say(self, text: bytes) -> None:
        """One text frame; its mask is zero, which changes nothing."""
        head = bytes([128 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
        self.transport.write(b"\x81" + head + ZERO + text)

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended."""
        self.closed = True


async def listen(port: int, path: str, says: str, cookies: list[str]) -> None:
    """Open them all, wait until each shows something, then until the measurement is over."""
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    for cookie in cookies:
        _, one = await loop.create_connection(partial(Listener, port, path, cookie, says.encode()), "127.0.0.1", port)
        listeners.append(one)
    while not all(one.seen for one in listeners):
        assert not any(one.closed for one in listeners), "a socket was closed"
        await asyncio.sleep(0.05)
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps({"seen": [one.seen for one in listeners], "closed": sum(one.closed for one in listeners)}), flush=True)


if __name__ == "__main__":
    asyncio.run(listen(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
