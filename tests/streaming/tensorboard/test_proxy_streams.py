"""Bytes on their way through the proxy: at the pace of the slower side, whole or cut, and never gathered (P20)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.contrib.auth.models import User

from runs.models import Trainer
from runs.roles import fill_roles
from streaming.database import ask as database_ask
from streaming.models import TensorBoard
from streaming.tensorboard import admission, exchange, upstream
from streaming.tensorboard.proxy import Proxy
from streaming.tensorboard.turns import AT_ONCE, IN_ALL, Full, Turns
from tests.streaming.sites import Site, cookie_of, until
from tests.streaming.tensorboard.behind import Behave, asked, get, make_board, serving

PATH = "/tensorboard/lora/data/runs"
MIB = 1024 * 1024
database = pytest.mark.django_db(transaction=True)


@pytest.fixture
def path(tmp_path: Path, lora: Trainer) -> Path:
    fill_roles()
    make_board(lora, tmp_path / "s")
    return tmp_path / "s"


@contextmanager
def behaving(path: Path, head: bytes, *pieces: bytes) -> Iterator[None]:
    """A server that says this, whatever it is asked, and hangs up."""

    def behave(caller: socket.socket) -> None:
        if asked(caller):
            caller.sendall(b"".join((head, *pieces)))

    with serving(path, behave):
        yield


def endless(sent: list[int], size: int) -> Behave:
    """Says so many bytes as fast as it can, and counts them."""

    def behave(caller: socket.socket) -> None:
        if not asked(caller):
            return
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(MIB)
        try:
            while sum(sent) < size:
                caller.sendall(piece)
                sent.append(len(piece))
        except OSError:
            sent.append(-1)
            raise

    return behave


@database
@pytest.mark.parametrize("head", [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n",
])  # fmt: skip
def test_an_answer_that_breaks_off_is_no_whole_one(deaf: Site, path: Path, alice: User, head: bytes) -> None:
    with behaving(path, head, bytes(150_000)), pytest.raises((HTTPException, OSError)):
        get(deaf, PATH, alice)


@database
def test_one_that_ends_before_it_answers_is_waited_for(deaf: Site, path: Path, alice: User) -> None:
    for head in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"):
        with behaving(path, head):
            answer, said = get(deaf, PATH, alice, Accept="text/html")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), head
            assert b"TensorBoard starts" in said
            post = get(deaf, "/tensorboard/lora/data/plugin/timeseries/timeSeries", alice, "POST", b"x", Origin=deaf.url)
            assert post[0].status == 503
    assert get(deaf, PATH, alice)[0].status == 503  # and nobody listens any more


@database
def test_one_that_begins_to_run_is_open_at_once(deaf: Site, path: Path, alice: User) -> None:
    with behaving(path, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        for state, status in (("starting", 503), ("running", 200)):
            TensorBoard.objects.update(state=state)
            assert get(deaf, PATH, alice)[0].status == status


@database
def test_what_is_no_http_is_told_as_such(deaf: Site, path: Path, alice: User) -> None:
    for head in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"):  # fmt: skip
        with behaving(path, head):
            assert get(deaf, PATH, alice)[0].status == 502, head[:50]


@database
def test_an_unchanged_answer_and_a_part_pass_as_they_are(deaf: Site, path: Path, alice: User) -> None:
    with behaving(path, b'HTTP/1.1 304 NOT MODIFIED\r\nETag: "e"\r\nContent-Type: text/plain\r\n\r\n'):
        answer, said = get(deaf, PATH, alice, If_None_Match='"e"')
        assert (answer.status, answer.headers["ETag"], said) == (304, '"e"', b"")
    with behaving(path, b"HTTP/1.1 206 PARTIAL\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab"):
        answer, said = get(deaf, PATH, alice, Range="bytes=0-1")
        assert (answer.status, answer.headers["Content-Range"], said) == (206, "bytes 0-1/9", b"ab")


@contextmanager
def asking(site: Site, who: User) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as client:
        client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: {cookie_of(who)}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        yield client


@database
def test_who_does_not_read_costs_no_memory_and_who_goes_ends_it(deaf: Site, path: Path, alice: User) -> None:
    sent: list[int] = []
    with serving(path, endless(sent, 500 * MIB)):
        before = rss(deaf)
        with asking(deaf, alice):
            time.sleep(2)
            assert 0 < sum(sent) < 30 * MIB  # the sockets' buffers and ours
            assert rss(deaf) - before < 30 * MIB
        until(lambda: sent[-1] == -1)


def rss(site: Site) -> int:
    return psutil.Process(site.process.pid).memory_info().rss


@database
@pytest.mark.parametrize("size", [30 * MIB, pytest.param(500 * MIB, marks=pytest.mark.soak)])
def test_a_large_answer_is_never_gathered(deaf: Site, path: Path, alice: User, size: int) -> None:
    with serving(path, endless([], size)), closing(HTTPConnection("127.0.0.1", deaf.port, timeout=60)) as client:
        client.request("GET", PATH, headers={"Cookie": cookie_of(alice)})
        answer = client.getresponse()
        before, most, got = rss(deaf), 0, 0
        while piece := answer.read(MIB):
            got += len(piece)
            most = max(most, rss(deaf))
    assert got == size
    assert most - before < 12 * MIB


# How much at once


async def test_a_user_has_so_many_turns_and_the_others_their_own() -> None:
    turns, inside, most = Turns(), 0, 0

    async def one(user: int) -> None:
        nonlocal inside, most
        async with turns.turn(user):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(one(1) for _ in range(IN_ALL)))
    assert most == AT_ONCE
    waiting = [asyncio.ensure_future(one(1)) for _ in range(IN_ALL)]
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await one(1)
    await one(2)
    await asyncio.gather(*waiting)


@pytest.fixture
def cookie(alice: User) -> str:
    return cookie_of(alice)


async def ask(application: Any, cookie: str, send: Any) -> None:
    """A request, in this process."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard.put_nowait({"type": "http.request", "body": b""})
    headers = [(b"host", b"testserver"), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "headers": headers,
             "client": ["127.0.0.1", 1]}  # fmt: skip
    await application(scope, heard.get, send)


async def call(application: Any, cookie: str) -> dict[str, Any]:
    """The start of its answer."""
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await ask(application, cookie, send)
    return said[0] | {"headers": dict(said[0]["headers"])}


@database
async def test_who_may_no_longer_gets_no_more_of_a_long_answer(path: Path, cookie: str, alice: User, monkeypatch: Any) -> None:
    monkeypatch.setattr(exchange, "ADMIT_EVERY", 0.0)
    monkeypatch.setattr(admission, "KEPT", 0.0)
    got: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        got.append(len(message.get("body", b"")))
        if len(got) == 5:
            await database_ask(User.objects.filter(pk=alice.pk).update, is_active=False)

    with serving(path, endless([], 50 * MIB)), pytest.raises(asyncio.CancelledError):
        await ask(Proxy(None), cookie, send)
    await upstream.close()
    assert len(got) == 5


@database
async def test_more_than_a_person_asks_is_put_off(path: Path, cookie: str, settings: Any) -> None:
    settings.TRAINMON_TB_RATE = 3
    limited = Proxy(None)
    with behaving(path, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        answers = [await call(limited, cookie) for _ in range(4)]
    await upstream.close()
    assert [one["status"] for one in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[3]["headers"][b"retry-after"]) <= 20


@database
async def test_one_that_says_nothing_is_not_waited_for_for_ever(path: Path, cookie: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(upstream, "SILENCE", 0.3)
    silent = threading.Event()
    with serving(path, lambda _: silent.wait(10) and None):
        assert (await call(Proxy(None), cookie))["status"] == 504
    silent.set()
    await upstream.close()
