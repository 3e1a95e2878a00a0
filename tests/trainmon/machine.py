"""Real processes on data directories of their own, and what is left of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
OURS = ("TRAINMON_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "LOGS", "HOST", "PORT", "PYTEST")


def environment(home: Path, **more: str) -> dict[str, str]:
    """This machine's variables less trainmon's own."""
    return {k: v for k, v in os.environ.items() if not k.startswith(OURS)} | {"TRAINMON_HOME": str(home)} | more


def manage(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    argv = [sys.executable, "manage.py", *words]
    return subprocess.run(
        argv, cwd=ROOT, env=environment(home, **env), capture_output=True, text=True, timeout=120, check=False
    )


def spawn(argv: list[str], home: Path, output: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start a program, its output going to a file (a pipe would be held open by what it leaves behind)."""
    with output.open("wb") as file:
        return subprocess.Popen(
            argv, cwd=ROOT, env=environment(home, **env), stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )


def manage_in_background(home: Path, *words: str, output: Path, **env: str) -> subprocess.Popen[bytes]:
    """Start one command."""
    return spawn([sys.executable, "manage.py", *words], home, output, **env)


def asking(home: Path, question: str = "select 40 + 2", then: str = "") -> list[str]:
    """A small program that uses the database as manage.py does, without Django: it starts in a fifth of the time."""
    code = f"""
import sys
from pathlib import Path
import psycopg
from trainmon.embedded.ensure import ensure
from trainmon.embedded.places import Places
home = Path({str(home)!r})
ensure(home)
where = dict(host=str(Places(home).sockets), user="trainmon", dbname="trainmon", autocommit=True)
answer = psycopg.connect(**where).execute({question!r})
print("said", answer.fetchone()[0] if answer.description else "nothing", flush=True)
{then}
"""
    return [sys.executable, "-c", code]


def ask(home: Path, question: str = "select 40 + 2", **env: str) -> subprocess.CompletedProcess[str]:
    """One short use of the database."""
    return subprocess.run(
        asking(home, question), cwd=ROOT, env=environment(home, **env), capture_output=True, text=True, timeout=120
    )


@contextmanager
def holding(home: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that uses the database until it is killed."""
    output = folder / f"holder-{time.monotonic_ns()}"
    holder = spawn(asking(home, then="import time; time.sleep(300)"), home, output)
    try:
        assert wait_until(lambda: "said" in output.read_text()), output.read_text()
        yield holder
    finally:
        holder.kill()
        holder.wait()


def living(home: Path) -> list[psutil.Process]:
    """Every process of a data directory, but this one."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [process.environ().get(name) for name in ("TRAINMON_HOME", "TRAINMON_SUPERVISED")]
            mine = str(home) in told or any(str(home) in word for word in process.cmdline())
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(true: Callable[[], object], within: float = 120.0) -> bool:
    """Ask until it is true."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def at_rest(seconds: float) -> float:
    """How long what takes so many seconds where nothing else runs may take on this machine now."""
    return seconds * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))


def end_all(home: Path) -> None:
    """After a test, whatever it did."""
    for process in living(home):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue


def as_user(uid: int, argv: list[str]) -> list[str]:
    """A command line that runs a program as an ordinary user, who may lack the way to this Python.

    Directories closed to that user (such as /root) are covered, in a mount namespace of its own, by
    ones that hold only what is needed.
    """
    switch = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *argv]
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT}
    closed = {top for path in needed if (top := _first_closed(path))}
    if not closed:
        return switch
    stage = Path(tempfile.gettempdir()) / "trainmon-tests-stage"  # a mount point: what is mounted is ours alone
    stage.mkdir(exist_ok=True)
    kept = [path for path in needed if _first_closed(path)]
    lines = ["set -e", f"mount -t tmpfs stage {stage}"]
    for number, path in enumerate(kept):
        lines += [f"mkdir {stage}/{number}", f"mount --bind {shlex.quote(str(path))} {stage}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 cover {shlex.quote(str(top))}" for top in closed]
    for number, path in enumerate(kept):
        lines += [f"mkdir -p {shlex.quote(str(path))}", f"mount --bind {stage}/{number} {shlex.quote(str(path))}"]
    lines.append("exec " + shlex.join(switch))
    return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]


def _first_closed(path: Path) -> Path | None:
    """The topmost directory on the way that others may not enter."""
    for folder in [*reversed(path.parents), path]:
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
