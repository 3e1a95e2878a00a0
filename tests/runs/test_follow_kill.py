"""Followers killed, stopped, doubled, and cut off from the database, while trainers append: in the end every
point and event is there once (P2)."""

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
from pathlib import Path

import pytest
from django.db import connection, transaction

from runs.lease import Lease, claim
from runs.models import LogFile, Run, Source
from runs.reconcile.compare import compare
from runs.sources import register
from tests.runs.following import Trainer, follower, following, until
from tests.runs.processes import sync_command
from tests.runs.test_sync_database import Server

pytestmark = pytest.mark.django_db(transaction=True)


def all_read(root: Path) -> bool:
    """Whether every file below the root is known and read to its end."""
    offsets = dict(LogFile.objects.filter(source__root=str(root)).values_list("path", "offset"))
    read = {bytes(path): offset for path, offset in offsets.items()}
    files = [path for path in root.rglob("*") if path.is_file()]
    return all(read.get(bytes(path.relative_to(root))) == path.stat().st_size for path in files)


def agrees(root: Path) -> None:
    """All that the files hold is in the registry, once: TensorBoard's reading of them says the same."""
    until(lambda: all_read(root), 60)
    runs = Run.objects.filter(source__root=str(root)).values_list("pk", flat=True)
    found = [compare(pk) for pk in runs]
    assert len(found) == 6
    assert [str(difference) for one in found for difference in one.differences] == []


def is_amid(source: Source) -> Callable[[], bool]:
    """Whether a follower holds the source now."""
    return lambda: Source.objects.filter(pk=source.pk).exclude(leased_by="").exists()


def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path):
    root, dice, amid = tmp_path / "logs", random.Random(), 0
    with Trainer(root) as trainer:
        source = register(f"t={root}")
        for _ in range(4):
            process = follower()
            until(lambda: Source.objects.get(pk=source.pk).last_synced is not None)
            until(is_amid(source))
            time.sleep(dice.uniform(0, 1.0))
            amid += is_amid(source)()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            Source.objects.filter(pk=source.pk).update(last_synced=None)
        with following():
            time.sleep(1)
            trainer.stop()
            agrees(root)
    print(f"{amid} of 4 kills came amid a read")


@pytest.mark.soak
def test_two_followers_and_a_sync_by_hand_share_the_work(tmp_path):
    root = tmp_path / "logs"
    with Trainer(root) as trainer:
        register(f"t={root}")
        with following(), following("--poll"):
            for _ in range(3):
                time.sleep(1.5)
                assert sync_command().returncode in (0, 1)  # 1: where a file was being written over just then
            trainer.stop()
            agrees(root)


@pytest.mark.soak
def test_a_follower_that_was_stopped_goes_on_where_others_have_come_meanwhile(tmp_path):
    root = tmp_path / "logs"
    with Trainer(root) as trainer:
        source = register(f"t={root}")
        with following() as process:
            until(lambda: LogFile.objects.filter(source=source, offset__gt=0).exists())
            for _ in range(4):
                until(is_amid(source))
                os.kill(process.pid, signal.SIGSTOP)
                # as if the claim's minute had passed: PostgreSQL has ended its transaction, another may claim the source
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                                   "WHERE datname = current_database() AND state = 'idle in transaction'")
                Source.objects.filter(pk=source.pk).update(leased_until="2020-01-01T00:00:00Z")
                assert sync_command().returncode in (0, 1)
                os.kill(process.pid, signal.SIGCONT)
                time.sleep(1)
            trainer.stop()
            agrees(root)


def test_a_transaction_that_is_stopped_ends_when_a_claim_would(tmp_path):
    (tmp_path / "logs").mkdir()
    lease = claim(register(f"t={tmp_path / 'logs'}").pk)
    assert isinstance(lease, Lease)
    with transaction.atomic(), connection.cursor() as cursor:
        lease.check()
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("1min",)
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.fixture
def server(with_tables: Callable[[Path], Path]) -> Iterator[Server]:
    """A PostgreSQL of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    folder.chmod(0o755)
    made = Server(folder / "home", with_tables)
    yield made
    made.end()
    shutil.rmtree(folder, ignore_errors=True)


AGREES = """
import sys
from pathlib import Path
import django
django.setup()
from tests.runs.test_follow_kill import agrees
agrees(Path(sys.argv[1]))
"""


@pytest.mark.soak
def test_a_database_that_crashes_again_and_again_is_waited_for(server, tmp_path):
    root, dice, said = tmp_path / "logs", random.Random(), tmp_path / "said"
    with Trainer(root) as trainer, said.open("wb") as out:
        server.manage("sync_runs", f"t={root}")
        process = subprocess.Popen([sys.executable, "manage.py", "sync_runs", "--watch"], env=server.environment(),
                                   stdout=out, stderr=out)
        try:
            for _ in range(3):
                time.sleep(dice.uniform(2, 4))
                server.crash()
                server.wait()
            trainer.stop()
            done = server.run([sys.executable, "-c", AGREES, str(root)])
            assert done.returncode == 0, done.stderr[-3000:]
            assert process.poll() is None
            assert "the database is away" in said.read_text() and "Traceback" not in said.read_text()
        finally:
            process.terminate()
            process.wait(10)
