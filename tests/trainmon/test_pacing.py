"""P20: a client that does not read costs no memory, and is cut off in the end (real daphne, real sockets)."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.trainmon.machine import wait_until
from tests.trainmon.streams import PIECE, PIECES
from trainmon.embedded.programs import ROOT


@pytest.fixture
def patience() -> float:
    return 60


@pytest.fixture
def port(patience: float) -> Iterator[int]:
    """A server with the streaming application, and where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = ["--fd", str(listener.fileno()), "--application-close-timeout", "1", "tests.trainmon.streams:application"]
        command = [sys.executable, "-m", "daphne", *words]
        env = os.environ | {"PATIENCE": str(patience)}
        with subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=[listener.fileno()], stderr=subprocess.PIPE) as process:
            yield listener.getsockname()[1]
            process.terminate()
            process.communicate()


def said(port: int, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return int(answer.read())


def asking(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert re.match(rb"HTTP/1.[01] 200", client.recv(100))
    return client


def test_what_is_not_read_is_not_made(port: int):
    with asking(port) as client:
        time.sleep(1)
        assert said(port, "/sent") < 20
        total = 0
        while data := client.recv(1 << 20):
            total += len(data)
        assert total > len(PIECE) * PIECES - 100
    assert said(port, "/sent") == PIECES


def test_who_hangs_up_ends_the_stream(port: int):
    asking(port).close()
    deadline = time.monotonic() + 30
    while said(port, "/open") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert said(port, "/open") == 0
    assert said(port, "/sent") < 20


@pytest.mark.parametrize("patience", [0.5])
def test_who_never_reads_is_cut_off(port: int):
    with asking(port) as client:
        assert wait_until(lambda: said(port, "/open") == 0)
        assert said(port, "/sent") < 20
        total = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(1 << 20):
                total += len(data)
        assert total < len(PIECE) * PIECES / 2


def test_one_connection_carries_one_stream_after_another(port: int):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for path in ("/sent", "/", "/sent", "/"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (len(answer.read()) == len(PIECE) * PIECES) is (path == "/")
