"""sync_runs killed at any moment: the next sync gives exactly the registry of an undisturbed one (P2)."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command
from django.db import connection

from runs import ingest, share
from runs.models import Run, Source
from runs.scan import Options, Synced
from runs.sync import sync
from tests.runs.processes import sync_in_background
from tests.runs.trees import Registry, exchange, grown_tree, linked, registry, same, source_of, synced, varied_tree

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree, and what it is later."""
    folder = tmp_path_factory.mktemp("kill")
    return varied_tree(folder / "one", times=6), grown_tree(folder / "one", folder / "two")


@dataclass
class Kills:
    """Rounds of kills: where they landed."""

    trees: tuple[Path, Path]
    folder: Path
    dice: random.Random
    expected: dict[str, Registry] = field(default_factory=dict)
    lasted: dict[str, float] = field(default_factory=dict)
    amid: int = 0
    partly: int = 0

    def undisturbed(self) -> None:
        """What the registry must be in the end, and how long that takes."""
        one, two = self.trees
        root = linked(one, self.folder / "undisturbed")
        for stage in ("new", "grown"):
            began = time.monotonic()
            assert isinstance(sync(source_of(root).pk, Options(), isolate="fork"), Synced)
            self.lasted[stage] = time.monotonic() - began
            self.expected[stage] = registry(source_of(root))
            exchange(root, two)

    def round(self, number: int, *, real: bool) -> None:
        """Kill a sync at a random moment, sync again, compare."""
        stage, workers = ("new", "grown")[number % 2], (1, 2)[number // 2 % 2]
        root = linked(self.trees[0], self.folder / f"round{number}")
        source = source_of(root)
        if stage == "grown":
            synced(root)
            exchange(root, self.trees[1])
        before = registry(source)
        kill(source, workers, self.dice.uniform(0, self.lasted[stage]), real=real)
        left = registry(source)
        self.amid += bool(Source.objects.get(pk=source.pk).leased_by)
        self.partly += left not in (before, self.expected[stage])
        done = synced(root)
        assert same(registry(source), self.expected[stage]), f"round {number}, {workers} workers"
        assert not Source.objects.get(pk=source.pk).leased_by
        assert done.missing in (0, 1)
        Run.objects.filter(source=source).delete()
        shutil.rmtree(root)


def command(words: tuple[str, ...]) -> None:
    """sync_runs in a forked process: it starts in a tenth of the time."""
    os.setsid()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        call_command("sync_runs", *words)


def kill(source: Source, workers: int, after: float, *, real: bool) -> None:
    """Start sync_runs and kill it -9 this long after it has claimed the source; its children must end by themselves."""
    words = ("--source", str(source.pk), "--workers", str(workers))
    process: Any
    if real:
        process = sync_in_background(*words)
    else:
        process = multiprocessing.get_context("fork").Process(target=command, args=(words,))
        process.start()
    for _ in polling():
        if Source.objects.exclude(leased_by="").filter(pk=source.pk).exists() or not psutil.pid_exists(process.pid):
            break
    time.sleep(after)
    children = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    children += [child for child in descendants(process.pid) if child not in children]
    process.communicate() if real else process.join()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "children went on without their parent"


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def polling(seconds: float = 60.0) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(0.005)
    raise AssertionError("it took too long")


def test_six_kills_at_random_moments_leave_no_trace(trees, tmp_path, monkeypatch):
    # small batches, so that kills land between commits of the forked ones
    for module in (ingest, share):
        monkeypatch.setattr(module, "RUNS_TOGETHER", 2)
    kills = Kills(trees, tmp_path, random.Random())
    kills.undisturbed()
    number = 0
    while number < 6 or (kills.amid < 2 and number < 40):
        kills.round(number, real=number == 1)
        number += 1
    print(f"{kills.amid} of {number} kills came amid a sync, {kills.partly} left part of it")
    assert kills.amid >= 2


@pytest.mark.soak
def test_a_hundred_kills_of_real_processes_leave_no_trace(trees, tmp_path):
    kills = Kills(trees, tmp_path, random.Random())
    kills.undisturbed()
    for number in range(100):
        kills.round(number, real=True)
    print(f"{kills.amid} of 100 kills came amid a sync, {kills.partly} left part of it")
    assert kills.amid > 50 and kills.partly > 5


def test_a_sync_that_is_killed_again_and_again_still_arrives(trees, tmp_path):
    kills = Kills(trees, tmp_path, random.Random(4))
    kills.undisturbed()
    root = linked(trees[1], tmp_path / "again")
    expected = linked(trees[1], tmp_path / "fresh")
    for _ in range(4):
        kill(source_of(root), 2, kills.dice.uniform(0, kills.lasted["new"] / 2), real=False)
    synced(root)
    synced(expected)
    assert same(registry(source_of(root)), registry(source_of(expected)))


def test_a_claim_of_a_killed_process_is_free_at_once_although_nobody_buried_it(trees, tmp_path):
    root = linked(trees[0], tmp_path / "zombie")
    source = source_of(root)
    process = multiprocessing.get_context("fork").Process(
        target=command, args=(("--source", str(source.pk), "--workers", "1"),))
    process.start()
    for _ in polling():
        if Source.objects.exclude(leased_by="").filter(pk=source.pk).exists():
            break
    os.kill(process.pid, signal.SIGKILL)
    for _ in polling():
        if psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE:
            break
    began = time.monotonic()
    synced(root)
    assert time.monotonic() - began < 60
    process.join()
    connection.close()
