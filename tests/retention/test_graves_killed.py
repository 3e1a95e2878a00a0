"""Burying, bringing back and purging killed at each step (SIGKILL, a process of their own), over random trees."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from retention.files import Refused, digest, listing, on_disk, open_folder
from retention.graves import bury, exhume, forget, purge
from tests.retention.killing import killed
from tests.retention.trees import plant, seen, strangers

RUN = {"events": b"x" * 9000, "ckpt": {"model": b"y" * 5000, "deep": {"a": "b"}, "fifo": None}, "latest": Path("ckpt/model")}
NAMES = some.text("ab\udcff\n.-", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
LEAVES = some.one_of(some.binary(max_size=5000), some.none(), some.sampled_from([Path("/etc"), Path(".."), Path("gone")]))
THINGS = some.recursive(LEAVES, lambda below: some.dictionaries(NAMES, below, max_size=4), max_leaves=12)
TREES = some.dictionaries(NAMES, THINGS, max_size=5)


@contextmanager
def planted(run: dict = RUN) -> Iterator[tuple[str, str]]:
    """A root with a run and what must never change; what was confirmed of the run."""
    with tempfile.TemporaryDirectory() as folder:
        root = plant(Path(folder) / "root", {"data": {"run": run, "other": {"events": "z", "link": Path("../run")}}}).as_posix()
        others = untouched(root)
        yield root, listed(root)[0]
        assert untouched(root) == others


def untouched(root: str) -> tuple:
    return seen(Path(root, "data/other")), sorted(set(os.listdir(Path(root).parent)) - {".trainmon-trash"})


def listed(root: str) -> tuple[str, list]:
    with open_folder(root, b"data/run") as fd:
        return digest(found := listing(fd)), found


def in_place(root: str) -> dict:
    return seen(Path(root, "data/run"))


def in_trash(root: str, name: str = "one") -> dict:
    return seen(Path(root).parent / ".trainmon-trash" / name)


def whole_somewhere(root: str, run: dict) -> bool:
    """In its place or in the trash, never in both, never half."""
    return sorted([in_place(root), in_trash(root)], key=len) == [{}, run]


def test_a_burial_killed_at_any_step_leaves_the_run_whole_and_is_finished_by_asking_again():
    for step in count(1):
        with planted() as (root, expected):
            run = in_place(root)
            ended = not killed(lambda: bury(root, b"data/run", "one", expected), step)
            assert whole_somewhere(root, run)
            bury(root, b"data/run", "one", expected)
            assert in_trash(root) == run and strangers(root, ["one"]) == []
        if ended:
            break
    assert step > 20


def test_a_return_killed_at_any_step_leaves_the_run_whole_and_is_finished_by_asking_again():
    for step in count(1):
        with planted() as (root, expected):
            run = in_place(root)
            bury(root, b"data/run", "one", expected)
            ended = not killed(lambda: exhume(root, "one", b"data/run"), step)
            assert whole_somewhere(root, run)
            exhume(root, "one", b"data/run")
            assert in_place(root) == run
            if not killed(lambda: forget(root, "one"), step):
                assert strangers(root, []) == []
            forget(root, "one")
            assert strangers(root, []) == []
        if ended:
            break
    assert step > 8


def test_a_purge_killed_at_any_step_is_marked_so_and_frees_the_same_when_it_is_asked_again():
    for step in count(1):
        with planted() as (root, expected):
            frees, run = on_disk(listed(root)[1]), in_place(root)
            bury(root, b"data/run", "one", expected)
            ended = not killed(lambda: purge(root, "one"), step)
            if in_trash(root) != run:
                assert in_trash(root) == {}
                with pytest.raises(Refused):
                    exhume(root, "one", b"data/run")
            assert purge(root, "one") == frees
            assert not in_place(root) and strangers(root, ["one"]) == [] == [*in_trash(root), *in_trash(root, "one.purging")]
        if ended:
            break
    assert step > 15


@settings(max_examples=12, deadline=None)
@given(run=TREES, deaths=some.tuples(some.integers(1, 30), some.integers(1, 20), some.integers(1, 40)))
def test_any_tree_survives_any_three_deaths(run, deaths):
    with planted(run) as (root, expected):
        before, frees = in_place(root), on_disk(listed(root)[1])
        killed(lambda: bury(root, b"data/run", "one", expected), deaths[0])
        assert whole_somewhere(root, before)
        bury(root, b"data/run", "one", expected)
        killed(lambda: exhume(root, "one", b"data/run"), deaths[1])
        assert whole_somewhere(root, before)
        exhume(root, "one", b"data/run")
        assert in_place(root) == before
        forget(root, "one")
        bury(root, b"data/run", "two", listed(root)[0])
        killed(lambda: purge(root, "two"), deaths[2])
        assert purge(root, "two") == frees
        assert strangers(root, ["two"]) == [] and not in_place(root) and not in_trash(root, "two")


def test_nothing_is_lost_while_somebody_writes_into_the_run():
    with planted() as (root, _):
        pid, deadline = writer(Path(root, "data/run")), time.monotonic() + 0.4
        try:
            for turn in count():
                if time.monotonic() > deadline:
                    break
                with suppress(Refused):
                    bury(root, b"data/run", f"run-{turn}", listed(root)[0])
                    exhume(root, f"run-{turn}", b"data/run")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        names = sorted(int(name) for name in os.listdir(Path(root, "data/run")) if name.isdigit())
        assert names == list(range(len(names)))


def writer(folder: Path) -> int:
    """A process that makes numbered files in a folder, wherever it is moved."""
    pid = os.fork()
    if not pid:
        fd = os.open(folder, os.O_RDONLY)
        for number in count():
            os.close(os.open(str(number), os.O_WRONLY | os.O_CREAT, dir_fd=fd))
            time.sleep(0.001)
    return pid
