"""The scan: one pass over what may be a hostile tree, with find as the judge of the sums."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.readers import problems
from runs.readers import tree as trees
from runs.readers.tree import (
    Totals,
    Tree,
    walk,
)
from tests.runs.readers.planting import EVENTS, kinds, plant, scan


def found_by_find(root: Path) -> tuple[int, int]:
    command = ["find", str(root), "-type", "f", "-printf", "%s\n"]
    sizes = subprocess.run(command, capture_output=True, check=True).stdout.split()
    return len(sizes), sum(map(int, sizes))


def test_counts_and_sizes_are_finds(tmp_path: Path) -> None:
    plant(tmp_path, f"ds/run/{EVENTS}", "ds/run/checkpoint-20/model.bin", content=b"x" * 1000)
    plant(tmp_path, "ds/run/empty.txt", content=b"")
    os.link(tmp_path / "ds/run/checkpoint-20/model.bin", tmp_path / "ds/linked.bin")
    os.symlink("ds/linked.bin", tmp_path / "link")
    os.truncate(tmp_path / "ds/run/checkpoint-20/model.bin", 5_000_000)
    total = scan(tmp_path).top.total
    assert (total.files, total.size) == found_by_find(tmp_path)
    assert total.allocated < total.size  # sparse


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("ab/", min_size=1, max_size=8).filter(lambda t: t.strip("/")), max_size=12))
def test_any_tree_sums_to_what_find_says(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            plant(Path(folder), f"{name.strip('/')}/f{number}", content=b"x" * number)
        plant(Path(folder), "one")
        total = scan(Path(folder)).top.total
        assert (total.files, total.size) == found_by_find(Path(folder))


def test_each_directory_knows_its_own_files_and_its_subtrees_sum(tmp_path: Path) -> None:
    plant(tmp_path, "run/a", "run/deep/b", content=b"12345")
    os.utime(tmp_path / "run/a", ns=(1, 1000))
    os.utime(tmp_path / "run/deep/b", ns=(1, 2000))
    (run,) = scan(tmp_path).top.subdirs
    assert (run.own.files, run.own.size, run.own.newest_mtime_ns) == (1, 5, 1000)
    assert (run.total.files, run.total.size, run.total.newest_mtime_ns) == (2, 10, 2000)
    assert [directory.path for directory in run.walk()] == [b"run", b"run/deep"]


def test_a_file_carries_its_one_stat(tmp_path: Path) -> None:
    plant(tmp_path, "run/a", content=b"12345")
    (file,) = scan(tmp_path).top.subdirs[0].files
    expected = os.lstat(tmp_path / "run/a")
    assert (file.dev, file.ino, file.mtime_ns) == (expected.st_dev, expected.st_ino, expected.st_mtime_ns)
    assert (file.name, file.size, file.allocated) == (b"a", 5, expected.st_blocks * 512)


def test_files_are_stat_once_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, *(f"run/{number}" for number in range(5)))
    opened: list[bytes] = []
    real = os.open

    def noting(path: bytes, *rest: object, **more: object) -> int:
        opened.append(path)
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noting)
    scan(tmp_path)
    assert opened == [os.fsencode(tmp_path), b"run"]


def test_a_directory_without_files_has_no_newest_time(tmp_path: Path) -> None:
    plant(tmp_path, "run/")
    tree = scan(tmp_path)
    assert tree.top.total == Totals()
    assert tree.top.subdirs[0].entries == 0


def test_files_that_the_caller_does_not_keep_still_count(tmp_path: Path) -> None:
    plant(tmp_path, f"run/{EVENTS}", *(f"run/samples/{n}.png" for n in range(9)))
    tree = walk(os.fsencode(tmp_path), keep=lambda name: b"tfevents" in name)
    assert isinstance(tree, Tree)
    assert tree.top.total.files == 10
    assert sum(len(directory.files) for directory in tree.top.walk()) == 1


def test_the_trash_is_skipped_wherever_it_lies(tmp_path: Path) -> None:
    plant(tmp_path, ".trainmon-trash/old/x", "ds/.trainmon-trash/y", "ds/run/z")
    assert scan(tmp_path).top.total.files == 1


def test_progress_tells_the_files_so_far(tmp_path: Path) -> None:
    plant(tmp_path, "a/1", "a/2", "b/3")
    told: list[int] = []
    walk(os.fsencode(tmp_path), on_progress=told.append)
    assert told == [0, 2, 3]


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe run", b"line\nbreak", b"-rf", b"..x", b".hidden", b"\x1b[31m", b"n" * 255, b" ", b"a\\b"],
)
def test_any_name_that_the_kernel_takes_comes_back_as_its_bytes(tmp_path: Path, name: bytes) -> None:
    plant(tmp_path, name + b"/" + name)
    (directory,) = scan(tmp_path).top.subdirs
    assert directory.path == directory.name == name
    assert directory.files[0].name == name


def test_a_path_longer_than_open_takes_is_read_and_said_once(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(21):
        os.mkdir(b"d" * 240, dir_fd=descriptor)
        below = os.open(b"d" * 240, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open(EVENTS, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    tree = scan(tmp_path)
    assert tree.top.total.files == 1
    assert [problem.kind for problem in tree.problems] == [problems.LONG_PATH]
    assert max(len(d.path) for d in tree.top.walk()) > 5000


def test_levels_beyond_the_limit_are_not_seen_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "1/2/3/4/5/x")
    monkeypatch.setattr(trees, "MAX_DEPTH", 3)
    tree = scan(tmp_path)
    assert kinds(tree) == {b"1/2/3/4": problems.TOO_DEEP}
    assert not tree.saw(b"1/2/3/4/5")
    assert tree.saw(b"1/2/3/x")


def test_two_hundred_levels_are_read(tmp_path: Path) -> None:
    plant(tmp_path, "d/" * 200 + "x")
    tree = scan(tmp_path)
    assert tree.top.total.files == 1
    assert tree.problems == ()
