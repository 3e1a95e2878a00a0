"""A slow reader slows its own download down, and fills nobody's memory (real daphne, real sockets)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.trainmon.flood import PIECE, PIECES
from trainmon.embedded.programs import ROOT

MIB = 1 << 20


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


@pytest.fixture
def port(told: Path) -> Iterator[int]:
    """Where daphne serves the flood."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = [sys.executable, "-m", "daphne", "--fd", str(listener.fileno()), "tests.trainmon.flood:application"]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"FLOOD_TOLD": str(told)},
                                   pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(10)


def test_what_is_not_read_is_not_made(port: int, told: Path) -> None:
    """P20."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    read = len(answer.read(MIB))
    time.sleep(1)
    assert int(told.read_text()) < 24 * MIB  # what the kernel's buffers take of 100 MiB
    while piece := answer.read(MIB):
        read += len(piece)
    assert read == len(PIECE) * PIECES == int(told.read_text())


def test_a_reader_that_goes_away_ends_it_for_nobody_else(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    connection.getresponse().read(MIB)
    connection.close()
    again = HTTPConnection("127.0.0.1", port, timeout=30)
    again.request("GET", "/")
    assert len(again.getresponse().read()) == len(PIECE) * PIECES
