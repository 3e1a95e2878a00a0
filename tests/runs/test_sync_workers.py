"""Any number of syncs on one source at once: nothing is lost and nothing is read twice (P2)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.db import connections
from django.utils.timezone import now

from runs import share, tasks
from runs.lease import Busy, Lease, LeaseLost, claim
from runs.models import Run, Source
from runs.scan import Synced
from runs.tasks import sync_source as task
from tests.runs import factories
from tests.runs.processes import ROOT, environment, sync_command, sync_in_background
from tests.runs.trees import copy, registry, same, settle, source_of, synced, varied_tree, write

pytestmark = pytest.mark.django_db(transaction=True)


class Writer(threading.Thread):
    """Trainers at work: appends to every file of a tree until all of them are whole."""

    def __init__(self, root: Path, pieces: int = 12) -> None:
        super().__init__()
        dice = random.Random(1)
        self.whole = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
        self.cuts = {path: sorted(dice.randrange(len(data)) for _ in range(pieces)) + [len(data)]
                     for path, data in self.whole.items()}
        for path, data in self.whole.items():
            path.write_bytes(data[: self.cuts[path][0]])

    def run(self) -> None:
        for before, after in zip(range(12), range(1, 13), strict=True):
            for path, data in self.whole.items():
                with path.open("ab") as file:
                    file.write(data[self.cuts[path][before] : self.cuts[path][after]])
            time.sleep(0.2)


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    return varied_tree(tmp_path / "growing", times=2)


def undisturbed(root: Path) -> dict[str, object]:
    """The registry of one sync of an equal tree."""
    equal = copy(root, root.with_name("undisturbed"))
    assert isinstance(synced(equal), Synced)
    return registry(source_of(equal))


def final(root: Path) -> None:
    """All is written: one more sync, and compare."""
    settle(root, 3.0)
    synced(root)
    assert same(registry(source_of(root)), undisturbed(root))


def test_two_sync_runs_at_once_while_trainers_write_give_the_registry_of_one(growing):
    source = source_of(growing)
    writer = Writer(growing)
    writer.start()
    began = [sync_in_background("--source", str(source.pk), "--workers", workers) for workers in "12"]
    for process in began:
        said = process.communicate(timeout=120)
        assert process.returncode in (0, 1), said
        assert "Traceback" not in said[1], said[1]
    writer.join()
    final(growing)


MANY_THREADS = """
import sys, threading, time
import runs.child
from runs.scan import Options
from runs.sync import sync
said = []
def work():
    until = time.monotonic() + 4
    while time.monotonic() < until:
        said.append(type(sync(int(sys.argv[1]), Options(workers=2))).__name__)
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(*said)
"""


def test_syncs_of_many_threads_neither_lose_nor_repeat(growing):
    source = source_of(growing)
    writer = Writer(growing)
    writer.start()
    done = subprocess.run([sys.executable, "-c", MANY_THREADS, str(source.pk)], cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=90)
    writer.join()
    assert set(done.stdout.split()) == {"Synced", "Busy"}, done.stdout + done.stderr
    final(growing)


def test_a_task_that_finds_the_source_claimed_returns_at_once(growing):
    source = source_of(growing)
    lease = claim(source.pk)
    assert isinstance(lease, Lease)
    assert task(source.pk) == "Busy"
    lease.release()
    assert not Run.objects.exists()


def test_sync_runs_waits_for_what_others_have_claimed(growing):
    source = source_of(growing)
    lease = claim(source.pk)
    assert isinstance(lease, Lease)
    process = sync_in_background("--source", str(source.pk))
    time.sleep(4)
    assert process.poll() is None and not Run.objects.exists()
    lease.release()
    process.communicate(timeout=60)
    assert process.returncode == 1  # the damaged run
    assert Run.objects.count() > 5


def test_a_claim_that_was_not_renewed_goes_to_the_next_and_its_first_holder_is_stopped(growing):
    source = source_of(growing)
    first = claim(source.pk)
    assert isinstance(first, Lease)
    assert isinstance(claim(source.pk), Busy)
    Source.objects.update(leased_until=now() - timedelta(seconds=1))
    second = claim(source.pk)
    assert isinstance(second, Lease)
    with pytest.raises(LeaseLost):
        first.check()
    assert not first.renew()
    first.release()
    second.check()


def test_only_one_of_many_claims_at_once_succeeds(growing):
    source = source_of(growing)
    found: list[object] = []

    def work() -> None:
        found.append(claim(source.pk))
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Lease) for one in found) == 1


def stopped_child(process, source: Source) -> psutil.Process:
    """Stop the child of a sync that has claimed this source: to its parent a file system that hangs."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        children = psutil.Process(process.pid).children()
        if children and Source.objects.exclude(leased_by="").filter(pk=source.pk).exists():
            os.kill(children[0].pid, signal.SIGSTOP)
            return children[0]
    raise AssertionError("no child was seen")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_source_that_hangs_is_given_up_and_the_others_are_synced(tmp_path, workers):
    hung, fine = varied_tree(tmp_path / "a", times=3), tmp_path / "b"
    write(fine / "run")
    sources = [source_of(hung, "a"), source_of(fine, "b")]
    process = sync_in_background("--workers", workers, TRAINMON_SCAN_DEADLINE="5")
    child = stopped_child(process, sources[0])
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1, out + err
    assert "nothing was heard of it for 5 s" in err
    assert Source.objects.get(pk=sources[0].pk).status == "error"
    assert Source.objects.get(pk=sources[1].pk).status == "ok"
    assert Run.objects.get(source=sources[1]).point_count == 40
    assert not psutil.pid_exists(child.pid)
    assert isinstance(synced(hung, "a"), Synced)


@pytest.mark.soak
def test_a_worker_that_hangs_is_given_up_with_its_siblings(tmp_path):
    root = varied_tree(tmp_path / "a", times=30)
    source = source_of(root, "a")
    process = sync_in_background("--workers", "2", TRAINMON_SCAN_DEADLINE="2")
    until, workers = time.monotonic() + 60, []
    while time.monotonic() < until and not workers and process.poll() is None:
        workers = [one for child in psutil.Process(process.pid).children() for one in child.children()]
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    out, err = process.communicate(timeout=60)
    assert workers and "nothing was heard of it" in err, out + err
    assert not psutil.wait_procs(workers, timeout=10)[1]
    synced(root, "a")
    assert same(registry(source), undisturbed(root))


def test_nothing_is_written_on_the_log_volume(tmp_path):
    root = varied_tree(tmp_path / "logs", times=2)
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_size) for path in root.rglob("*")}
    trace = tmp_path / "trace"
    done = sync_command(f"t={root}", "--workers", "2", before=[
        "strace", "-f", "-qq", "-y", "-o", str(trace), "-e",
        "trace=open,openat,mmap,flock,fcntl,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,chmod,fchmod,"
        "fchmodat,utimensat,link,linkat,symlink,symlinkat,truncate,ftruncate,creat,write,pwrite64,setxattr,fsetxattr"])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_size)
            for path in root.rglob("*")} == before
    touching = [line for line in trace.read_text(errors="replace").splitlines() if f"{root}" in line]
    opened = [line for line in touching if "open" in line.split("(")[0]]
    assert any("tfevents" in line for line in opened)
    assert all("O_RDONLY" in line for line in opened)
    others = [line for line in touching if line not in opened and "F_SETLK" not in line and "fcntl" in line]
    assert not [line for line in touching if line not in opened and line not in others and " write(" not in line]
    assert not [line for line in touching if "F_SETLK" in line or "F_OFD_SETLK" in line or "F_SETLEASE" in line]


def test_readers_stop_when_their_source_was_taken(tmp_path, monkeypatch):
    calls = tmp_path / "calls"

    def lost(*_, **__):
        with calls.open("a") as file:
            file.write("x")
        time.sleep(0.3)
        raise LeaseLost("gone")

    monkeypatch.setattr(share, "ingest", lost)
    monkeypatch.setattr(share, "HANDFUL_BYTES", 1)
    runs = range(1, 31)
    with pytest.raises(LeaseLost):
        share.ingest_all([(pk, None) for pk in runs], dict.fromkeys(runs, 10), "/", Lease(1, "x"), 2, lambda *_: None, full=False)
    assert len(calls.read_text()) < 20


UNKILLABLE = """
import multiprocessing.process, time
from runs import isolation
isolation.die_with = lambda parent: None
multiprocessing.process.BaseProcess.kill = lambda self: None
def hang(argument, tell): time.sleep(90)
print(list(isolation.run(hang, None, deadline=2, method="fork"))[-1].why)
"""


def test_a_child_that_cannot_be_killed_does_not_keep_its_command_from_ending():
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", UNKILLABLE], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and "nothing was heard" in process.stdout.readline()
    process.wait(60)
    assert time.monotonic() - began < 60


def test_the_source_that_waits_longest_is_queued_first(monkeypatch):
    ages = {slug: factories.make_source(factories.make_trainer(slug), last_synced=at).pk for slug, at in [
        ("a", factories.at(2e9)), ("b", factories.at(1e9)), ("c", None)]}
    queued: list[int] = []
    monkeypatch.setattr(tasks.sync_source, "apply_async", lambda given, **_: queued.extend(given))
    tasks.sync_all()
    assert queued == [ages["c"], ages["b"], ages["a"]]
