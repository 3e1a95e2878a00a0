"""What a proxy stands before: a real TensorBoard with real event files, and servers that answer as they are told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
from django.contrib.auth.models import User
from django.utils.timezone import now
from tensorboardX import SummaryWriter

from benchmarks.tensorboard import started
from runs.models import Trainer
from streaming.models import TensorBoard
from tests.streaming.sites import Site, cookie_of

#: What a connection to a server is answered by, once for each.
Behave = Callable[[socket.socket], None]


def event_files(root: Path) -> None:
    """Two runs with all that the tabs show."""
    for name in ("data/first", "data/second"):
        with SummaryWriter(str(root / name)) as writer:
            for step in range(20):
                writer.add_scalar("loss", 1 / (step + 1), step)
            writer.add_text("notes", "a *word*", 1)
            writer.add_image("sample", np.full((3, 8, 8), 200, np.uint8), 1)
            writer.add_histogram("weights", np.arange(100.0), 1)
            writer.add_hparams({"lr": 0.1}, {"score": 1.0}, name="hparams")


@contextmanager
def tensorboard_running(root: Path, path: Path, slug: str) -> Iterator[None]:
    """A TensorBoard, reached by this unix socket only through a forwarder, as in its namespace."""
    with started(root, "--path_prefix", f"/tensorboard/{slug}", "--reload_interval", "1") as (_, address):
        port = int(address.rpartition(":")[2])
        with serving(path, lambda caller: forward(caller, port)):
            yield


@contextmanager
def serving(path: Path, behave: Behave) -> Iterator[None]:
    """A server on a unix socket; its threads end with their connections."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(100)
        threading.Thread(target=_accept, args=(listener, behave), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            path.unlink()


def _accept(listener: socket.socket, behave: Behave) -> None:
    def behaving(caller: socket.socket) -> None:
        with closing(caller):
            try:
                behave(caller)
            except OSError:
                pass  # the other end is gone

    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=behaving, args=(caller,), daemon=True).start()


def forward(caller: socket.socket, port: int) -> None:
    """Carry bytes to a port and back."""
    with socket.create_connection(("127.0.0.1", port)) as there:
        upwards = threading.Thread(target=_pump, args=(caller, there), daemon=True)
        upwards.start()
        _pump(there, caller)
        caller.shutdown(socket.SHUT_RDWR)
        upwards.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def asked(caller: socket.socket) -> bytes:
    """The head of a request and what came with it."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = caller.recv(65536)
        if not more:
            break
        said += more
    return said


def make_board(trainer: Trainer, path: Path | str, **fields: object) -> TensorBoard:
    """The row of a TensorBoard that runs behind this socket."""
    given = {"state": TensorBoard.State.RUNNING, "socket": str(path), "since": now(), "seen": now()} | fields
    return TensorBoard.objects.update_or_create(trainer=trainer, defaults=given)[0]


def get(site: Site, path: str, who: User | str | None = None, method: str = "GET", body: bytes | None = None,
        **headers: str) -> tuple[HTTPResponse, bytes]:  # fmt: skip
    """An answer of the site, to a user's page or a token's script."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(who, User):
        named["Cookie"] = cookie_of(who)
    elif who:
        named["Authorization"] = f"Bearer {who}"
    with closing(HTTPConnection("127.0.0.1", site.port, timeout=60)) as client:
        client.request(method, path, body, named)
        answer = client.getresponse()
        return answer, answer.read()


def raw(site: Site, said: bytes, most: int = 10_000_000) -> bytes:
    """What comes back for these very bytes, until the connection ends or it is silent."""
    with ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
        client.sendall(said)
        heard = b""
        try:
            while len(heard) < most and (more := client.recv(65536)):
                heard += more
        except OSError:
            pass
        return heard
