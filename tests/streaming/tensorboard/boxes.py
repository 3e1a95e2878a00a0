"""Sandboxes as a test starts them: with what shall run in them, as root or as an ordinary user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from streaming.tensorboard import kernel, sandbox
from streaming.tensorboard.sandbox import Plan

#: Nobody's number on any machine that runs tests.
ORDINARY = 23456
AS_ROOT = os.geteuid() == 0


def until(condition: Callable[[], object], within: float = 120.0) -> bool:
    """Wait for a condition, and say whether it came."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Box:
    """A sandbox, and the folder in which all of a test lies."""

    folder: Path
    pid: int
    output: Path
    code: int | None = None

    def said(self) -> str:
        """What was printed in it."""
        return self.output.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether it is over."""
        if self.code is None and (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(found[1])
        return self.code is not None

    def end(self) -> int:
        """Its exit code, once it is over."""
        assert until(self.ended), self.said()
        assert self.code is not None
        return self.code


def as_user(uid: int, step: Callable[[], None]) -> int:
    """A fork that does something as another user, then ends: its process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if os.geteuid() == 0 and uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else /proc/self stays root's until the next program
        step()
    finally:
        os._exit(99)


def answered_as(uid: int, step: Callable[[], object]) -> str:
    """What a step returns as another user, or the name of its exception."""
    ours, theirs = os.pipe()

    def answer() -> None:
        try:
            said = str(step())
        except OSError as error:
            said = type(error).__name__
        os.write(theirs, said.encode())
        os._exit(0)

    pid = as_user(uid, answer)
    os.close(theirs)
    os.waitpid(pid, 0)
    with os.fdopen(ours) as file:
        return file.read()


@contextmanager
def folder_of(uid: int) -> Iterator[Path]:
    """A folder that everybody may enter and this user owns."""
    with tempfile.TemporaryDirectory(prefix="tb-") as name:
        os.chown(name, uid or os.geteuid(), -1)
        os.chmod(name, 0o755)
        yield Path(name)


def open_box(folder: Path, uid: int, script: str, before: Callable[[], None] = lambda: None, **more: object) -> Box:
    """A shell script in a sandbox that shows ``folder``/logs."""
    (logs := folder / "logs").mkdir(exist_ok=True)
    (run := folder / "run").mkdir(mode=0o700, exist_ok=True)
    output = folder / "output"
    output.touch()
    for path in (logs, run, output):
        os.chown(path, uid or os.geteuid(), -1)
    words = {"argv": ["/bin/sh", "-c", script], "shown": [], "hidden": [], "logs": {"": str(logs)}} | more
    plan = Plan(parent=os.getpid(), folder=str(run), **words)  # type: ignore[arg-type]

    def step() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        fd = os.open(output, os.O_WRONLY | os.O_APPEND)
        read, write = os.pipe()
        os.write(write, json.dumps(asdict(plan)).encode())
        os.close(write)
        for given, number in ((read, 0), (fd, 1), (fd, 2)):
            os.dup2(given, number)
        os.closerange(3, 256)
        before()
        os.execve(python(), [python(), "-E", "-S", "-m", "streaming.tensorboard.sandbox"], {"PYTHONPATH": str(ROOT)})

    return Box(folder, as_user(uid, step), output)


ROOT = Path(sandbox.__file__).resolve().parents[2]


def python() -> str:
    """A Python that every user can run."""
    question = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(name, os.X_OK) and subprocess.run([name, "-c", question]).returncode == 0:
            return name
    return os.path.realpath("/proc/self/exe")


def below(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
