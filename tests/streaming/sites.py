"""Real sites (daphne) and a real bus (Valkey) in processes of their own, and pages that listen to them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from runs import signals
from runs.models import Run
from tests.runs.conftest import signed_in
from tests.runs.processes import ROOT, environment
from trainmon.embedded import binaries, valkey
from trainmon.embedded.places import Places


@dataclass
class Site:
    """A daphne on the test's database."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def valkey_running(home: Path) -> Iterator[str]:
    """A Valkey of the test's own; its address."""
    places = Places(home)
    places.sockets.mkdir(parents=True, exist_ok=True)
    program = binaries.valkey_server()
    assert program is not None
    process = subprocess.Popen(valkey.command(program, places), stdout=subprocess.DEVNULL)
    try:
        until(lambda: valkey.answers(places))
        yield f"unix://{places.valkey_socket}"
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def site_running(folder: Path, redis: str = "", application: str = "trainmon.asgi", **env: str) -> Iterator[Site]:
    """A site; without ``redis`` it has no bus that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), f"{application}:application"]
    given = {"TRAINMON_SECRET_KEY": settings.SECRET_KEY, "TRAINMON_HOME": str(folder / "home"), "REDIS_URL": redis, **env}
    log = folder / f"site-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(**given), stdout=out, stderr=out)
    try:
        until(lambda: _answers(port), 120)
        yield Site(port, process, log)
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Any, seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)


@dataclass
class Page:
    """The socket of a page that acknowledges what it gets."""

    socket: ClientConnection
    acknowledges: bool = True
    seen: dict[tuple[str, int], int] = field(default_factory=dict)

    def say(self, **said: Any) -> None:
        self.socket.send(json.dumps(said))

    def frame(self, seconds: float = 40) -> dict[str, Any]:
        """The next frame that is no keepalive."""
        while True:
            got = self.socket.recv(seconds)
            assert isinstance(got, str)
            frame = json.loads(got)
            if "keepalive" not in frame:
                break
        if self.acknowledges:
            self.say(ack=frame["seq"])
        self.seen |= {(one["kind"], one["id"]): one["version"] for one in frame.get("fragments", [])}
        return frame

    def until(self, kind: str, pk: int, version: int, seconds: float = 40) -> str:
        """The HTML of the first fragment of at least this version."""
        end = time.monotonic() + seconds
        while True:
            frame = self.frame(max(0.01, end - time.monotonic()))
            for one in frame.get("fragments", []):
                if (one["kind"], one["id"]) == (kind, pk) and one["version"] >= version:
                    return one.get("html") or one["data"]

    def quiet(self, seconds: float) -> None:
        """Nothing comes for so long."""
        try:
            frame = self.frame(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"{frame} came")

    def closed(self, seconds: float = 30) -> int:
        """The code it is closed with."""
        end = time.monotonic() + seconds
        try:
            while True:
                self.socket.recv(max(0.01, end - time.monotonic()))
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code


def cookie_of(user: User) -> str:
    """The cookie of a fresh session."""
    return f"{settings.SESSION_COOKIE_NAME}={signed_in(user).cookies[settings.SESSION_COOKIE_NAME].value}"


@contextmanager
def page(site: Site, user: User | None = None, *, cookie: str = "", origin: str | None = "", **kind: Any) -> Iterator[Page]:
    """A page's socket; of this user, from the site's own origin unless another is given."""
    cookie = cookie or (cookie_of(user) if user else "")
    with connect(
        f"ws://127.0.0.1:{site.port}/ws/live/", additional_headers={"Cookie": cookie} if cookie else {},
        origin=site.url if origin == "" else origin, compression=None, max_size=None, **kind,
    ) as opened:  # fmt: skip
        yield Page(opened)


def change(run: Run, *, told: bool = True, **fields: Any) -> int:
    """Change a run as a writer does; its version now."""
    from django.db import transaction

    with transaction.atomic():
        row = Run.objects.select_for_update().get(pk=run.pk)
        for name, value in fields.items():
            setattr(row, name, value)
        row.version += 1
        row.save()
        if told:
            signals.tell(runs={row.pk: row.version})
    return row.version


