"""What a running TensorBoard says of itself, asked through its own socket; the supervisor never waits for it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from runs.readers.plain import plain

#: Seconds until an answer goes on, seconds for all of it, and the most bytes of one.
PATIENCE, IN_ALL, LONGEST = 20.0, 60.0, 16 * 1024 * 1024


class NoAnswer(Exception):
    """It does not answer, or not with what it should."""


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        """To the socket, whatever the host's name."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path: str, address: str) -> Any:
    """The JSON at an address."""
    connection = Connection(path)
    try:
        connection.request("GET", address)
        answer = connection.getresponse()
        if answer.status != 200:
            raise NoAnswer(f"it answered {answer.status} {answer.reason}")
        return json.loads(answer.read(LONGEST))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error
    finally:
        connection.close()


class Question(threading.Thread):
    """A question asked beside everything else; ``answer`` or ``trouble`` once it is no longer alive."""

    def __init__(self, asking: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.asking, self.trouble = asking, ""
        self.answer: Any = None
        self.began = time.monotonic()
        self.start()

    @property
    def open(self) -> bool:
        """Whether an answer may yet come."""
        if self.is_alive() and time.monotonic() > self.began + IN_ALL:
            self.trouble = "its answer does not end"
        return self.is_alive() and not self.trouble

    def run(self) -> None:
        """Ask."""
        try:
            self.answer = self.asking()
        except NoAnswer as error:
            self.trouble = str(error)
        except Exception as error:  # whatever it answers, the thread's end must say so
            self.trouble = f"{type(error).__name__}: {error}"


def version(path: str, prefix: str) -> str:
    """Which TensorBoard it is."""
    said = ask(path, f"{prefix}/data/environment")
    return plain(str(said.get("version", ""))[:50]) if isinstance(said, dict) else ""


def runs_served(path: str, prefix: str) -> int:
    """How many runs it shows."""
    said = ask(path, f"{prefix}/data/runs")
    if not isinstance(said, list):
        raise NoAnswer("it answered no list of runs")
    return len(said)
