"""Volumes that want to be told: refreshed before a scan, committed after a cleanup (TRAINMON_VOLUMES).

Only the environment says what is done, never the database: whoever administers the site must not run
commands on its host.  No shell, a limit of time, and what a command says goes to the log, secrets masked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from django.conf import settings

from runs import audit, redact
from runs.readers.plain import plain

log = logging.getLogger(__name__)

KINDS = ("local", "command", "modal")
KEYS = {"kind", "refresh", "commit", "name", "timeout"}
#: Seconds that a volume may take, unless it says otherwise, and at most; between two beats.
TIMEOUT, LONGEST, BEAT = 60.0, 3600.0, 0.5
#: Bytes of what a command says that are kept: its end.
SAID = 4_000
#: Ours, and nobody's whom we start.
OWN = ("TRAINMON_", "DATABASE_URL", "REDIS_URL", "PGPASSWORD", "DJANGO_")
#: What is asked of Modal's client; in a process of its own, as its calls cannot be cut off.
MODAL = "import sys, modal; getattr(modal.Volume.from_name(sys.argv[2]), sys.argv[1])()"


class Failed(Exception):
    """A volume could not be refreshed or committed, and why."""


@dataclass(frozen=True, slots=True)
class Volume:
    """What is asked of the volume that is mounted at ``root``."""

    root: str
    kind: str
    refresh: tuple[str, ...] = ()
    commit: tuple[str, ...] = ()
    timeout: float = TIMEOUT


def read(said: Any) -> list[Volume]:
    """The volumes of the setting; ValueError names what is wrong with it."""
    if not isinstance(said, dict):
        raise ValueError('it is no JSON object, as in {"/volume": {"commit": ["/usr/bin/sync"]}}')
    return [_volume(root, one) for root, one in said.items()]


def _volume(root: str, said: Any) -> Volume:
    if not os.path.isabs(root):
        raise ValueError(f"{root!r} is no absolute path")
    if not isinstance(said, dict) or said.keys() - KEYS:
        raise ValueError(f"{root}: its keys are {', '.join(sorted(KEYS))}")
    kind, timeout = said.get("kind", "command"), said.get("timeout", TIMEOUT)
    if kind not in KINDS:
        raise ValueError(f"{root}: kind is one of {', '.join(KINDS)}")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= LONGEST:
        raise ValueError(f"{root}: timeout is a number of seconds from 1 to {LONGEST:.0f}")
    commands = {word: _argv(root, word, said.get(word, [])) for word in ("refresh", "commit")}
    if (kind == "command") != any(commands.values()):
        raise ValueError(f"{root}: commands (refresh, commit) belong to the kind command, which needs one of them")
    if kind == "modal":
        name = said.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{root}: a Modal volume has a name")
        commands = {word: (sys.executable, "-c", MODAL, deed, name) for word, deed in
                    (("refresh", "reload"), ("commit", "commit"))}
    return Volume(os.path.normpath(root), kind, **commands, timeout=float(timeout))


def _argv(root: str, word: str, said: Any) -> tuple[str, ...]:
    if not isinstance(said, list) or not all(isinstance(one, str) and "\0" not in one for one in said):
        raise ValueError(f"{root}: {word} is a list of words, a program and its arguments")
    if said and not os.path.isabs(said[0]):
        raise ValueError(f"{root}: {word}: {said[0]!r} is no absolute path of a program")
    return tuple(said)


def of(root: str) -> Volume | None:
    """The volume in which a folder lies; of several the nearest."""
    path = os.path.normpath(root)
    try:
        known = read(settings.TRAINMON_VOLUMES)
    except ValueError as wrong:
        raise Failed(f"TRAINMON_VOLUMES: {wrong}") from None
    holding = [one for one in known if path == one.root or path.startswith(one.root.rstrip("/") + "/")]
    return max(holding, key=lambda one: len(one.root), default=None)


def refresh(root: str, beat: Callable[[], None] = lambda: None) -> None:
    """Have a folder's volume show what others wrote; Failed says why it does not.  ``beat`` is called while it lasts."""
    volume = of(root)
    if volume is not None and volume.refresh:
        _ask(volume, "refresh", volume.refresh, beat)


def commit(roots: Iterable[str], by: str = "") -> list[str]:
    """Tell the volumes of these folders, each once, that something left them or came back; returns what failed.

    What was done stays done: a failure is logged and stands in the audit trail.
    """
    failures = []
    try:
        volumes = {volume.root: volume for root in roots if (volume := of(root)) is not None}
    except Failed as failed:
        log.error("no volume was committed: %s", failed, extra={"event": "volume.failed"})
        return [str(failed)]
    for volume in volumes.values():
        why = ""
        try:
            _commit(volume)
        except Failed as failed:
            why = str(failed)
            failures.append(f"{volume.root}: {why}")
        audit.record(None, "commit volume", by=by, volume=volume.root, way=volume.kind, failed=why or None)
    return failures


def _commit(volume: Volume) -> None:
    if volume.kind != "local":
        return _ask(volume, "commit", volume.commit) if volume.commit else None
    try:
        fd = os.open(volume.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise Failed(f"the folder cannot be synced: {error.strerror}") from None


def _ask(volume: Volume, what: str, argv: tuple[str, ...], beat: Callable[[], None] = lambda: None) -> None:
    if volume.kind == "modal" and find_spec("modal") is None:
        raise Failed("Modal's client is not installed: pip install 'modal~=1.6'")
    context = {"volume": volume.root, "what": what}
    try:
        said = run(argv, volume.timeout, beat)
    except Failed as failed:
        log.error("volume %s: %s failed: %s", volume.root, what, failed, extra={"event": "volume.failed", "context": context})
        raise
    log.info("volume %s: %s done", volume.root, what, extra={"event": "volume.told", "context": context | {"said": said}})


def run(argv: tuple[str, ...], timeout: float, beat: Callable[[], None] = lambda: None) -> str:
    """Run a command and return the end of what it said, secrets masked; Failed where it did not end well, or not in time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
                                 env=environment, start_new_session=True)
    except OSError as error:
        raise Failed(f"{argv[0]} cannot be run: {error.strerror}") from None
    heard = _Heard(child)
    try:
        ended = _waited(child, timeout, beat)
    finally:
        # all of its session: what it left behind would hold the volume, and us
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        said = heard.end()
    if not ended:
        raise Failed(f"{argv[0]} did not end within {timeout:g} s")
    if child.returncode:
        raise Failed(f"{argv[0]} ended with {child.returncode}" + (f": {said.splitlines()[-1][:500]}" if said else ""))
    return said


def _waited(child: subprocess.Popen[bytes], timeout: float, beat: Callable[[], None]) -> bool:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            child.wait(min(BEAT, max(0.01, until - time.monotonic())))
            return True
        except subprocess.TimeoutExpired:
            beat()
    return False


class _Heard:
    """Keeps the end of what a command says, however much it is."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self.pipe, self.said = child.stdout, b""
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while piece := os.read(self.pipe.fileno(), 65536):
            self.said = (self.said + piece)[-SAID:]

    def end(self) -> str:
        """What was heard; whoever left the session and still holds the pipe is not waited for."""
        self.thread.join(2)
        if not self.thread.is_alive():
            self.pipe.close()
        return redact.text(plain(self.said.decode(errors="replace"))).strip()
