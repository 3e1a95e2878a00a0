"""The connections to TensorBoards: by the unix socket of a row, never by anything that a request says."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from streaming.tensorboard.headers import HOST

#: Seconds until it is reached, and without a byte of it: a histogram of thousands of runs takes long to put together.
CONNECTING, SILENCE = 5.0, 120.0
#: Connections to one TensorBoard: each is a thread there.
MOST = 64
#: Bytes of an answer in memory, where its reader is slow (twice as many at most); of one line and field of its head.
AHEAD, LONGEST_FIELD = 128 * 1024, 32 * 1024

_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, aiohttp.ClientSession]] = WeakKeyDictionary()


class Gone(Exception):
    """The TensorBoard was not reached, or it ended before it answered."""


class Late(Exception):
    """It said nothing for too long."""


class Unreadable(Exception):
    """What it said is no HTTP."""


def session(socket: str) -> aiohttp.ClientSession:
    """The connections to the TensorBoard behind this socket, kept between requests."""
    mine = _sessions.setdefault(asyncio.get_running_loop(), {})
    if socket not in mine:
        mine[socket] = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket, limit=MOST, keepalive_timeout=20),
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECTING, sock_read=SILENCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False, read_bufsize=AHEAD, max_line_size=LONGEST_FIELD, max_field_size=LONGEST_FIELD,
        )  # fmt: skip
    return mine[socket]


async def ask(
    socket: str, method: str, path: str, query: str, headers: dict[str, str], body: bytes | None
) -> aiohttp.ClientResponse:
    """The head of its answer."""
    address = URL.build(scheme="http", host=HOST, path=path, query_string=query, encoded=True)
    for once_more in (True, False):
        try:
            return await session(socket).request(method, address, headers=headers, data=body, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Gone from error
        except aiohttp.ServerTimeoutError as error:
            raise Late from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # a connection that was kept and had ended meanwhile: all that is asked are reads, so it is asked again
            if not once_more:
                raise Gone from error
        except (aiohttp.ClientError, ValueError) as error:
            raise Unreadable from error
    raise AssertionError


async def close() -> None:
    """Close all connections of this event loop."""
    for one in _sessions.pop(asyncio.get_running_loop(), {}).values():
        await one.close()
