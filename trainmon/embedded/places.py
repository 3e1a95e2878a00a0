"""Where things lie under TRAINMON_HOME. Knows paths only: nothing is created or started here."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

# A unix socket's address holds 108 bytes (104 on macOS); PostgreSQL reports a longer one badly.
LONGEST_SOCKET_PATH = 100
POSTGRES_PORT = 5432
DATABASE = USER = "trainmon"
# In the environment of what `up` runs: the data directory that it looks after. The next `up` finds by it what a killed
# one left (where PDEATHSIG is missing), and whoever bears it leaves the starting of servers to its supervisor.
SUPERVISED = "TRAINMON_SUPERVISED"


@dataclass(frozen=True)
class Places:
    """The files and folders of one data directory."""

    home: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "postgres" / "data"

    @property
    def sockets(self) -> Path:
        """The 0700 folder of the sockets: under HOME, or under /tmp where that path would be too long."""
        folder = self.home / "run"
        longest = folder / f".s.PGSQL.{POSTGRES_PORT}"
        # libpq reads a comma in a host as the next host.
        if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH and "," not in str(folder):
            return folder
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()).resolve() / f"trainmon-{digest}"

    @property
    def postgres_socket(self) -> Path:
        """The socket that PostgreSQL listens on."""
        return self.sockets / f".s.PGSQL.{POSTGRES_PORT}"

    @property
    def valkey_socket(self) -> Path:
        """The socket that Valkey listens on."""
        return self.sockets / "valkey.sock"

    @property
    def logs(self) -> Path:
        """Trainmon's own logs, one file a child."""
        return self.home / "log"

    @property
    def old_logs(self) -> list[Path]:
        """Folders with the logs of earlier sessions of `up`, the oldest first."""
        return sorted(path for path in (self.logs / "archive").glob("*_*") if path.is_dir())

    @property
    def backups(self) -> Path:
        """Where `manage.py backup` writes when it is given no path."""
        return self.home / "backups"

    @property
    def start_lock(self) -> Path:
        """Held exclusively while a server is being started or stopped."""
        return self.home / "start.lock"

    @property
    def lease(self) -> Path:
        """Held shared by every process that uses the embedded database."""
        return self.home / "lease"

    @property
    def watcher_lock(self) -> Path:
        """Held by the one process that stops PostgreSQL: a watcher (its pid is the text), or `manage.py up`."""
        return self.home / "watcher.lock"

    @property
    def up_lock(self) -> Path:
        """Held by `manage.py up`; its text says who that is."""
        return self.home / "up.lock"
