"""The database goes away, or its disk is full, amid a sync: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.runs.processes import ROOT, argv
from tests.runs.readers.event_bytes import record, simple
from tests.runs.trees import WALL, copy, settle, varied_tree
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres

KEEPER = """
import sys, time
from pathlib import Path
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres, StartFailed
children = []
while True:
    try:
        children.append(Postgres(Places(Path(sys.argv[1])), {"fsync": "off"}).start())
    except StartFailed:
        pass
    time.sleep(0.2)
"""
SAME = """
import sys
import django
django.setup()
from runs.models import Source
from tests.runs.trees import registry, same
one, two = (registry(Source.objects.get(root=root)) for root in sys.argv[1:])
assert one["runs"] and same(one, two)
"""


class Server:
    """A PostgreSQL of the test's own with our tables, on a small disk where ``disk`` says its bytes."""

    def __init__(self, home: Path, with_tables: Callable[[Path], Path], disk: int = 0) -> None:
        self.home, self.places = home, Places(home)
        self.postgres = Postgres(self.places)
        self.url = f"postgresql://trainmon@:5432/trainmon?host={str(self.places.sockets).replace('/', '%2F')}"
        keeper = [sys.executable, "-c", KEEPER, str(home)]
        if disk:
            made, folder = with_tables(home.with_name("made")) / "postgres", self.places.data.parent
            folder.mkdir(parents=True)
            mounted = f'mount -t tmpfs -o size={disk},mode=755 small {folder} && cp -a {made}/. {folder} && exec "$@"'
            keeper = ["unshare", "--mount", "sh", "-c", mounted, "sh", *keeper]
        else:
            with_tables(home)
        self.keeper = subprocess.Popen(keeper, cwd=ROOT, start_new_session=True)
        self.wait()

    def wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.address, connect_timeout=2).close()
                return
            time.sleep(0.1)
        raise AssertionError(self.postgres.log_tail())

    @property
    def address(self) -> str:
        return f"host={self.places.sockets} user=trainmon dbname=trainmon"

    @property
    def disk(self) -> Path:
        """Its small disk, as seen from here."""
        return Path(f"/proc/{self.keeper.pid}/root{self.places.data.parent}")

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TRAINMON_"))}
        return kept | {"DATABASE_URL": self.url, "TRAINMON_SECRET_KEY": "x" * 50,
                       "DJANGO_SETTINGS_MODULE": "trainmon.settings"}

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=120)

    def manage(self, *words: str) -> None:
        done = self.run([sys.executable, "manage.py", *words])
        assert done.returncode == 0, done.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(argv(*words), cwd=ROOT, env=self.environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def same(self, one: Path, two: Path) -> None:
        """Both sources have the same registry."""
        done = self.run([sys.executable, "-c", SAME, str(one), str(two)])
        assert done.returncode == 0, done.stderr[-3000:]

    def claimed(self) -> bool:
        with psycopg.connect(self.address) as connection:
            found = connection.execute("SELECT count(*) FROM runs_source WHERE leased_by <> ''").fetchone()
        return bool(found and found[0])

    def crash(self) -> None:
        """An immediate shutdown: no goodbye, recovery at the next start, which the keeper sees to."""
        pid = self.postgres.pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)

    def end(self) -> None:
        processes = [*psutil.Process(self.keeper.pid).children(recursive=True)]
        pid = self.postgres.pid()
        processes += [psutil.Process(pid)] if pid else []
        self.keeper.kill()
        self.keeper.wait()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT)
        psutil.wait_procs(processes, timeout=10)


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(home: Path, with_tables: Callable[[Path], Path]) -> Iterator[Server]:
    made = Server(home, with_tables)
    yield made
    made.end()


def test_a_database_that_restarts_amid_a_sync_costs_a_moment_and_no_point(server, tmp_path):
    dice, crashed = random.Random(), 0
    for workers in "12":
        root = varied_tree(tmp_path / f"one{workers}", times=4)
        equal = copy(root, tmp_path / f"two{workers}")
        process = server.start(f"a{workers}={root}", "--workers", workers)
        until = time.monotonic() + 60
        while process.poll() is None and not server.claimed() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(dice.uniform(0.05, 0.3))
        crashed += process.poll() is None
        server.crash()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1 and "Traceback" not in err, err
        server.wait()
        for path, slug in ((root, f"a{workers}"), (equal, f"b{workers}")):
            again = server.run(argv(f"{slug}={path}"))
            assert again.returncode == 1 and "Traceback" not in again.stderr, again.stderr  # the damaged runs
        server.same(root, equal)
    assert crashed


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_under_the_database_is_said_and_loses_nothing(home, with_tables, tmp_path):
    root = tmp_path / "logs"
    dice = random.Random(1)
    written = b"".join(record(step, WALL + dice.random() * 1e6, simple("loss", dice.random())) for step in range(20_000))
    for run in range(12):
        (root / f"run{run}").mkdir(parents=True)
        (root / f"run{run}" / "events.out.tfevents.1700000000.host.1.0").write_bytes(written)
    settle(root, 86_400)
    equal = copy(root, tmp_path / "equal")
    server = Server(home, with_tables, disk=300 << 20)
    try:
        free = shutil.disk_usage(server.disk).free
        with (server.disk / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free - (2 << 20))
        full = server.run(argv(f"a={root}", "--workers", "1"))
        assert full.returncode == 1, full.stdout + full.stderr
        assert "the database failed" in full.stderr, full.stderr
        (server.disk / "ballast").unlink()
        server.wait()
        again = server.run(argv(f"a={root}"))
        assert (again.returncode, again.stderr) == (0, ""), again.stderr
        assert server.run(argv(f"b={equal}")).returncode == 0
        server.same(root, equal)
    finally:
        server.end()
