"""The embedded PostgreSQL: made once, started, stopped. Callers hold `start.lock`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from trainmon.embedded import binaries, identity
from trainmon.embedded.identity import Identity
from trainmon.embedded.places import DATABASE, POSTGRES_PORT, USER, Places
from trainmon.embedded.rotation import LONGEST_LOG, make_room, part

# fsync and full_page_writes stay on: this database is the only copy of what people add.
TUNING = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "wal_level": "minimal",  # no replicas, and bulk copies into new tables skip the WAL
    "max_wal_senders": "0",
    "jit": "off",  # plans of many small partial indexes are slower compiled
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
READY_WITHIN = 120.0  # recovery after a crash replays at most max_wal_size
STOPS_WITHIN = 30.0


class StartFailed(Exception):
    """PostgreSQL did not start; the text holds the end of its log."""


@dataclass
class Postgres:
    """The server of one data directory."""

    places: Places
    options: dict[str, str] = field(default_factory=dict)

    def pid(self) -> int | None:
        """The postmaster's pid, where it runs on this data directory."""
        process = self._process()
        return process.pid if process else None

    def ready(self) -> bool:
        """Whether the postmaster runs and takes connections."""
        lines = self._pid_file()
        return self._process() is not None and len(lines) >= 8 and lines[7].strip() == "ready"

    def start(self, dies_with_parent: signal.Signals | None = None) -> subprocess.Popen[bytes] | None:
        """Run it and wait until it takes connections; None where it was running already."""
        if self._wait_until_ready():
            return None
        who = self._identity()
        self._make_folders(who)
        if not (self.places.data / "PG_VERSION").exists():
            self._initialise(who)
        self._check_version()
        self._remove_stale_pid_files()
        with self._open_log() as log:
            child = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                **who.popen_options(dies_with_parent),
            )
        if not self._wait_until_ready(child):
            raise StartFailed(f"PostgreSQL did not start. The end of its log:\n{self.log_tail()}")
        return child

    def command(self) -> list[str]:
        """The server's command line: all settings stand there, so an upgrade of trainmon changes them."""
        settings = TUNING | {"unix_socket_directories": _quoted(self.places.sockets), "port": str(POSTGRES_PORT)}
        settings |= self.options
        program = str(binaries.postgres_bin() / "postgres")
        return [program, "-D", str(self.places.data), *(f"--{name}={value}" for name, value in settings.items())]

    def stop(self) -> None:
        """Fast shutdown, then immediate, then kill: each only when the one before was not enough."""
        for sign, patience in ((signal.SIGINT, STOPS_WITHIN), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            process = self._process()
            if process is None:
                return
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                process.send_signal(sign)
                process.wait(patience)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the server's log."""
        try:
            text = (self.places.logs / "postgres.log").read_bytes()[-8000:].decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def _open_log(self) -> BinaryIO:
        """Its log, begun anew where it has grown long (`up` cuts it while it runs)."""
        path = self.places.logs / "postgres.log"
        if path.exists() and path.stat().st_size > LONGEST_LOG:
            make_room(path, max(1, sum(1 for _ in path.parent.glob("postgres.log.*"))))
            path.replace(part(path, 1))
        return path.open("ab")

    def _pid_file(self) -> list[str]:
        try:
            return (self.places.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _process(self) -> psutil.Process | None:
        """The process that postmaster.pid names, if it really is our server and not a later namesake."""
        lines = self._pid_file()
        try:
            process = psutil.Process(int(lines[0]))
            ours = str(self.places.data) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except (IndexError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def _identity(self) -> Identity:
        self.places.home.mkdir(parents=True, exist_ok=True)
        program = binaries.postgres_bin() / "postgres"
        return identity.choose(self.places.home, self.places.data, program)

    def _make_folders(self, who: Identity) -> None:
        """HOME's folders, the server's own ones belonging to it."""
        self.places.logs.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.places.data.parent, self.places.sockets):
            make_private(folder, who)

    def _initialise(self, who: Identity) -> None:
        """initdb and our database beside the final place, then one rename: never half a data directory."""
        for left in self.places.data.parent.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self.places.data.parent))
        who.give(fresh)
        folder = binaries.postgres_bin()
        wanted = [f"--username={USER}", "--auth=trust", "--encoding=UTF8", *_locale(folder)]
        _run([str(folder / "initdb"), f"--pgdata={fresh}", *wanted], who)
        single_user = [str(folder / "postgres"), "--single", "-D", str(fresh), "postgres"]
        _run(single_user, who, f"CREATE DATABASE {DATABASE};\n")
        fresh.rename(self.places.data)

    def _check_version(self) -> None:
        """Say clearly when the data are of another major version than the programs."""
        data = int((self.places.data / "PG_VERSION").read_text().strip())
        program = binaries.major_version(binaries.postgres_bin() / "postgres")
        if data != program:
            raise StartFailed(
                f"The database in {self.places.data} is of PostgreSQL {data}, the programs in "
                f"{binaries.postgres_bin()} are of {program}. Name a folder with PostgreSQL {data} by "
                f"TRAINMON_PG_BIN, make a backup with it and restore that into a new TRAINMON_HOME."
            )

    def _remove_stale_pid_files(self) -> None:
        """After a crash or a reboot the pid file may name a stranger, and PostgreSQL would not start.

        A file that names nobody is left to PostgreSQL, which also looks at the shared memory. Backends
        of a dead postmaster may still live for a moment: they go first.
        """
        lines = self._pid_file()
        if not lines:
            return
        data = os.path.realpath(self.places.data)
        strays = [process for process in psutil.process_iter() if _works_in(process, data)]
        for process in psutil.wait_procs(strays, timeout=5)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(strays, timeout=5)
        if lines[0].strip().isdigit() and _is_stranger(int(lines[0]), data):
            socket_lock = self.places.postgres_socket.name + ".lock"
            (self.places.data / "postmaster.pid").unlink(missing_ok=True)
            (self.places.sockets / socket_lock).unlink(missing_ok=True)

    def _wait_until_ready(self, child: subprocess.Popen[bytes] | None = None) -> bool:
        """Wait for a running server (one that is just stopping, too); False when none runs any more."""
        deadline = time.monotonic() + READY_WITHIN
        while not (self.ready() and self.accepts()):
            if self._process() is None and (child is None or child.poll() is not None):
                return False
            if time.monotonic() > deadline:
                raise StartFailed(f"PostgreSQL was not ready within {READY_WITHIN:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)
        return True

    def accepts(self) -> bool:
        """Whether it takes a connection: the pid file still says `ready` for a moment after a stop."""
        port = self.options.get("port", POSTGRES_PORT)
        where = make_conninfo(host=str(self.places.sockets), port=port, user=USER, dbname=DATABASE)
        try:
            psycopg.connect(where, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def make_private(folder: Path, who: Identity) -> None:
    """A 0700 folder of this identity; one that somebody else laid there first is refused."""
    try:
        folder.mkdir(mode=0o700)
        who.give(folder)
    except FileExistsError:
        found = folder.lstat()
        if found.st_uid not in (who.uid, os.geteuid()) or not folder.is_dir() or folder.is_symlink():
            raise StartFailed(f"{folder} exists and is not a folder of trainmon's own; remove it.") from None
        who.give(folder)
        folder.chmod(0o700)


def _quoted(folder: Path) -> str:
    """A folder as PostgreSQL's lists of folders take it, whatever its name holds."""
    return '"' + str(folder).replace('"', '""') + '"'


def _works_in(process: psutil.Process, data: str) -> bool:
    """Whether a process is one of this data directory's (it is PostgreSQL's working directory)."""
    try:
        return process.cwd() == data and process.name().startswith("postgres")
    except psutil.Error:
        return False


def _is_stranger(pid: int, data: str) -> bool:
    """Whether a living process is certainly not a PostgreSQL of this data directory."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # PostgreSQL's kill(pid, 0) would find it alive
            return True
        return not process.name().startswith("postgres") or process.cwd() != data
    except psutil.Error:  # gone, or not ours to look at: let PostgreSQL judge
        return False


def _locale(folder: Path) -> list[str]:
    """The same sort order and case rules everywhere: the built-in provider where it exists."""
    if binaries.major_version(folder / "postgres") >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--no-locale"]


def _environment() -> dict[str, str]:
    """Little: PG* variables of the user's would change what the programs do."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _run(argv: list[str], who: Identity, stdin: str = "") -> None:
    """One of the programs that make a data directory; dies with us."""
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
        **who.popen_options(signal.SIGKILL),
    )
    if done.returncode != 0:
        raise StartFailed(f"{Path(argv[0]).name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
