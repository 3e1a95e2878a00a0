"""One TensorBoard and the sandbox around it, as a child of the supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from django.conf import settings

from runs import redact
from streaming.tensorboard import measured
from streaming.tensorboard.sandbox import Plan

PROGRAM = "streaming.tensorboard.sandbox"
#: Bytes of a log; where nobody else cuts it, it begins anew.
LONGEST_LOG = 64 * 1024 * 1024
TAIL = 30


@dataclass
class Child:
    """A sandbox that was started; it ends with us."""

    plan: Plan
    log: Path
    began: float = field(default_factory=time.monotonic)
    skip: int = 0

    def __post_init__(self) -> None:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.cut_log()
        try:
            self.skip = os.fstat(fd).st_size
            self.process = subprocess.Popen(
                [sys.executable, "-E", "-S", "-m", PROGRAM], stdin=subprocess.PIPE, stdout=fd, stderr=fd,
                cwd=settings.BASE_DIR, env=environment(), start_new_session=True)
        finally:
            os.close(fd)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError), self.process.stdin as told:  # one that ended at once is seen by its code
            told.write(json.dumps(asdict(self.plan)).encode())

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.began

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self.process.poll()

    @property
    def ending(self) -> str:
        """How it ended, for a person."""
        code = self.code or 0
        number = -code if code < 0 else code - 128
        if number in list(map(int, signal.Signals)):
            return f"was killed by {signal.Signals(number).name}"
        return f"ended with code {code}"

    def cut_log(self) -> None:
        """Begin a long log anew; who writes to it appends."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LONGEST_LOG:
                os.truncate(self.log, 0)

    def processes(self) -> list[measured.Process]:
        """All of it."""
        return list(measured.tree(self.process.pid))

    def tail(self) -> str:
        """What it said last, without secrets."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = self.skip if self.skip <= size else 0
            file.seek(max(begin, size - 16_000))
            lines = file.read().decode(errors="replace").replace("\0", "").splitlines()[-TAIL:]
            return redact.text("\n".join(lines))
        return ""

    def end(self, patience: float = 3.0) -> list[psutil.Process]:
        """It reads only, so there is nothing to be saved; with its first process all of the sandbox ends.

        What is left waits in the kernel, as for a file system that does not answer, and ends when it need not any more.
        """
        self.process.terminate()
        try:
            self.process.wait(patience)
            return []
        except subprocess.TimeoutExpired:
            below = list(self.below())
            self.process.kill()
            self.process.wait()
            return [process for process in psutil.wait_procs(below, timeout=0.5)[1] if lives(process)]

    def below(self) -> Iterator[psutil.Process]:
        """All of it but the outer process, to be known again."""
        for process in self.processes()[1:]:
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(process.pid)


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that its parent has not asked about has."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) and process.is_running()
    except psutil.Error:
        return False


def environment() -> dict[str, str]:
    """Nothing of ours but what finds it again."""
    kept = {name: os.environ[name] for name in ("TRAINMON_SUPERVISED", "LD_LIBRARY_PATH") if name in os.environ}
    own = {"PATH": "/usr/bin:/bin", "TRAINMON_HOME": str(settings.HOME), "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
    return kept | own


def end_orphans() -> None:
    """What an earlier supervisor of this data left: only where the kernel did not end it together with that one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if PROGRAM in process.cmdline() and process.environ().get("TRAINMON_HOME") == str(settings.HOME):
                found.append(process)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)
