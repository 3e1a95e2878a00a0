"""Which programs `up` runs, each with its command line and environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from trainmon.embedded import binaries, identity, valkey
from trainmon.embedded.children import Program
from trainmon.embedded.identity import Identity
from trainmon.embedded.places import SUPERVISED, Places
from trainmon.embedded.postgres import make_private

ROOT = Path(__file__).resolve().parents[2]
# Connections each: the web's threads and the worker's; PostgreSQL takes 100 in all.
WEB_POOL, WORKER_POOL = 10, 8

#: Each thread would else keep memory of its own that it has freed (20 MB of the site's after long series).
#: The Dockerfile says the same.
MALLOC = {"MALLOC_ARENA_MAX": "2"}
#: What each process says of itself: not inherited.
OWN = {"TRAINMON_SERVICE", "TRAINMON_CORRELATION_ID"}


@dataclass(frozen=True)
class Programs:
    """The children of one data directory."""

    places: Places

    def python(self, name: str, *words: str, pool: int = 0, pass_fds: tuple[int, ...] = ()) -> Program:
        """A program of ours in this same Python, as the user that we are."""
        outer = {name: value for name, value in os.environ.items() if name not in OWN}
        env = MALLOC | outer | {
            SUPERVISED: str(self.places.home),
            "TRAINMON_HOME": str(self.places.home),
            "TRAINMON_DB_POOL": str(pool),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        }
        who = Identity(os.geteuid(), os.getegid())
        return Program(name, [sys.executable, *words], self.places.logs, env, ROOT, who, pass_fds)

    def web(self, listener: int) -> Program:
        """The site, on a socket that we keep open across its restarts."""
        words = ["-m", "trainmon.web", "-v", "0", "--fd", str(listener), "--application-close-timeout", "5"]
        return self.python("web", *words, pool=WEB_POOL, pass_fds=(listener,))

    def follower(self) -> Program:
        """What reads the logs as they grow; each of its threads asks for a connection while it needs one."""
        return self.python("follower", "manage.py", "sync_runs", "--watch")

    def tensorboards(self) -> Program:
        """What keeps a TensorBoard for each trainer; those end with it."""
        return self.python("tensorboards", "manage.py", "tensorboards")

    def demo(self) -> Program:
        """A small training to watch; it ends by itself."""
        return replace(self.python("demo", "manage.py", "demo", "--live"), once=True)

    def worker(self) -> Program:
        """The Celery worker (pool and concurrency stand in settings), who is the janitor, too.

        One process more would take 105 MB; a cleanup holds one of its threads, the others sync meanwhile.
        """
        words = ["--without-gossip", "--without-mingle", "--queues=celery,janitor"]
        return self.python("worker", *celery("worker"), *words, pool=WORKER_POOL)

    def beat(self) -> Program:
        """The Celery clock; its schedule stands in settings, so its file is only a cache."""
        schedule = self.places.home / "beat-schedule"
        return self.python("beat", *celery("beat"), "--pidfile=", f"--schedule={schedule}")

    def valkey(self) -> Program | None:
        """The bus, as the same unprivileged user as PostgreSQL; None where there is no program for it."""
        program = binaries.valkey_server()
        if program is None:
            return None
        who = identity.choose(self.places.home, self.places.data, program)
        self.places.logs.mkdir(mode=0o700, exist_ok=True)
        make_private(self.places.sockets, who)
        env = {"PATH": os.environ.get("PATH", ""), SUPERVISED: str(self.places.home)}
        return Program("valkey", valkey.command(program, self.places), self.places.logs, env, Path("/"), who)


def celery(what: str) -> list[str]:
    """A command line of Celery's."""
    return ["-m", "celery", "--quiet", "-A", "trainmon", what]
