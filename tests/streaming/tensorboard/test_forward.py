"""The forwarder carries bytes both ways, holds up a writer whose reader is slow, and knows no address but its port."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.tensorboard.forward import Forwarder
from tests.streaming.tensorboard.boxes import until


class Ends:
    """A server on loopback and a forwarder before it."""

    def __init__(self, folder: Path) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.path = str(folder / "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(10)
        self.port: int | None = self.server.getsockname()[1]
        threading.Thread(target=Forwarder(self.listener, lambda: self.port).serve, daemon=True).start()

    def near(self) -> socket.socket:
        """A caller."""
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(60)
        caller.connect(self.path)
        return caller


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    yield ends
    ends.server.close()


def test_bytes_go_both_ways_and_each_end_is_told_of_the_other(ends):
    sent = os.urandom(3_000_000)
    with ends.near() as near:
        far, _ = ends.server.accept()
        threading.Thread(target=lambda: (near.sendall(sent), near.shutdown(socket.SHUT_WR))).start()
        with far, far.makefile("rb") as file:
            assert file.read() == sent
            far.sendall(b"answer")
        with near.makefile("rb") as file:
            assert file.read() == b"answer"


def test_a_slow_reader_holds_up_the_writer(ends):
    with ends.near() as near:
        far, _ = ends.server.accept()
        sent = 0
        far.settimeout(2)
        with far, pytest.raises(TimeoutError):
            while sent < 200_000_000:
                sent += far.send(bytes(100_000))
        assert sent < 20_000_000  # buffers of the kernel, and one of ours
        near.recv(1)


def test_while_nobody_listens_a_caller_is_let_go(ends):
    ends.port = None
    with ends.near() as near:
        assert near.recv(1) == b""


def test_a_caller_that_vanishes_ends_the_other_side(ends):
    near = ends.near()
    far, _ = ends.server.accept()
    near.close()
    far.settimeout(60)
    assert far.recv(1) == b""
    far.close()


def test_many_callers_after_one_another_leave_no_thread(ends):
    before = threading.active_count()
    for _ in range(50):
        with ends.near() as near:
            far, _ = ends.server.accept()
            far.close()
            assert near.recv(1) == b""
    assert until(lambda: threading.active_count() <= before + 1)
