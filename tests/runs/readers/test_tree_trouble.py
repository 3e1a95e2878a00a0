"""The scan of a tree that is odd, hostile, closed or going away: values, never a way out."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runs.readers import problems
from runs.readers import tree as trees
from runs.readers.problems import Problem
from runs.readers.tree import (
    RootEmpty,
    RootMissing,
    RootNotDirectory,
    RootUnreadable,
    Tree,
    walk,
)
from tests.runs.readers.planting import EVENTS, kinds, plant, scan


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that another user may enter; pytest's own are 0700."""
    folder = Path(tempfile.mkdtemp(prefix="trainmon-tree-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(look: Callable[[], object]) -> object:
    """What ``look`` returns without root's rights, in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            os.write(writing, pickle.dumps(look()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


def test_a_symlink_is_reported_and_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, f"output/run/{EVENTS}")
    os.symlink("run", tmp_path / "output/latest")
    tree = scan(tmp_path)
    assert tree.problems == (Problem(b"output/latest", problems.SYMLINK, "not followed", b"run"),)
    assert tree.top.total.files == 1


@pytest.mark.parametrize("target", ["/etc", "../../etc", "../..", "/"])
def test_a_symlink_that_leaves_the_root_is_told_apart(tmp_path: Path, target: str) -> None:
    plant(tmp_path, "root/ds/")
    os.symlink(target, tmp_path / "root/ds/out")
    (problem,) = scan(tmp_path / "root").problems
    assert (problem.path, problem.kind, problem.target) == (b"ds/out", problems.LEAVES_ROOT, target.encode())


def test_an_absolute_symlink_into_a_root_that_is_a_symlink_stays_inside(tmp_path: Path) -> None:
    plant(tmp_path, "real/run/")
    os.symlink("real", tmp_path / "root")
    os.symlink(tmp_path / "real/run", tmp_path / "real/one")
    os.symlink(tmp_path / "root/run", tmp_path / "real/two")
    assert {problem.kind for problem in scan(tmp_path / "root").problems} == {problems.SYMLINK}


def test_a_loop_of_symlinks_ends(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/x")
    os.symlink("..", tmp_path / "a/b/up")
    os.symlink("self", tmp_path / "self")
    assert kinds(scan(tmp_path)) == {b"a/b/up": problems.SYMLINK, b"self": problems.SYMLINK}


def test_a_symlinked_event_file_is_not_read_as_a_file(tmp_path: Path) -> None:
    plant(tmp_path, "run/x")
    os.symlink("/etc/passwd", tmp_path / "run" / EVENTS)
    tree = scan(tmp_path)
    assert tree.top.total.files == 1
    assert tree.problems[0].kind == problems.LEAVES_ROOT


def test_a_fifo_named_as_an_event_file_does_not_hang_the_scan(tmp_path: Path) -> None:
    plant(tmp_path, "run/x")
    os.mkfifo(tmp_path / "run/events.out.tfevents.1")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "run/s"))
    tree = scan(tmp_path)
    assert tree.top.total.files == 1
    assert {p.path: p.detail for p in tree.problems} == {
        b"run/events.out.tfevents.1": "FIFO",
        b"run/s": "socket",
    }


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make a device")
def test_a_device_is_reported_and_never_opened(tmp_path: Path) -> None:
    plant(tmp_path, "run/")
    try:
        os.mknod(tmp_path / "run/events.out.tfevents.1", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no devices in this container")
    (problem,) = scan(tmp_path).problems
    assert (problem.kind, problem.detail) == (problems.SPECIAL, "character device")


def test_a_directory_that_we_may_not_read_is_a_problem_and_the_rest_is_read(public: Path) -> None:
    plant(public, "ds/closed/x", "ds/open/y")
    (public / "ds/closed").chmod(0)
    tree = as_nobody(lambda: walk(os.fsencode(public)))
    assert isinstance(tree, Tree)
    assert kinds(tree) == {b"ds/closed": problems.UNREADABLE}
    assert tree.top.total.files == 1
    assert not tree.saw(b"ds/closed/run") and tree.saw(b"ds/other")


def test_a_directory_that_lists_names_only_hides_its_files(public: Path) -> None:
    plant(public, "listed/x")
    (public / "listed").chmod(0o744)
    tree = as_nobody(lambda: walk(os.fsencode(public)))
    assert isinstance(tree, Tree)
    assert kinds(tree) == {b"listed/x": problems.UNREADABLE}
    assert not tree.saw(b"listed/x")


def test_directories_that_vanish_meanwhile_do_not_end_the_scan(tmp_path: Path) -> None:
    plant(tmp_path, "a/x", "b/y", "c/z")

    def vanish(_: int) -> None:
        shutil.rmtree(tmp_path / "b", ignore_errors=True)

    tree = walk(os.fsencode(tmp_path), on_progress=vanish)
    assert isinstance(tree, Tree)
    assert kinds(tree) == {b"b": problems.VANISHED}
    assert tree.top.total.files == 2
    assert tree.saw(b"b/y")  # it is gone: no doubt about that


def test_a_directory_deleted_under_our_hands_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "ds/run/x", "ds/other/y")
    real = trees._Pass._list

    def late(self: trees._Pass, descriptor: int, path: bytes) -> trees._Listing:
        if path == b"ds/run":
            shutil.rmtree(tmp_path / "ds/run")
        return real(self, descriptor, path)

    monkeypatch.setattr(trees._Pass, "_list", late)
    tree = scan(tmp_path)
    assert kinds(tree) == {b"ds/run": problems.VANISHED}
    assert [directory.path for directory in tree.top.walk()] == [b"", b"ds", b"ds/other"]


def test_a_file_that_vanishes_before_its_stat_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "run/a", "run/b")
    real = trees._Pass._entry

    def late(self: trees._Pass, entry: os.DirEntry[str], *rest: object) -> None:
        if entry.name == "b":
            (tmp_path / "run/b").unlink()
        real(self, entry, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trees._Pass, "_entry", late)
    tree = scan(tmp_path)
    assert kinds(tree) == {b"run/b": problems.VANISHED}
    assert tree.top.total.files == 1


def test_a_directory_swapped_for_a_symlink_is_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, "root/a/x", "root/b/y", "outside/secret")

    def swap(_: int) -> None:
        if not (tmp_path / "root/b").is_symlink():
            shutil.rmtree(tmp_path / "root/b")
            os.symlink("../outside", tmp_path / "root/b")

    tree = walk(os.fsencode(tmp_path / "root"), on_progress=swap)
    assert isinstance(tree, Tree)
    assert kinds(tree) == {b"b": problems.REPLACED}
    assert [directory.path for directory in tree.top.walk()] == [b"", b"a"]


@pytest.mark.parametrize("number, kind", [(5, problems.IO_ERROR), (116, problems.VANISHED), (36, problems.LONG_PATH)])
def test_an_error_of_the_file_system_hides_only_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    plant(tmp_path, "bad/x", "good/y")
    real = os.open

    def failing(path: bytes, *rest: object, **more: object) -> int:
        if path == b"bad":
            raise OSError(number, os.strerror(number))
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", failing)
    tree = scan(tmp_path)
    assert kinds(tree) == {b"bad": kind}
    assert tree.top.total.files == 1
    assert not tree.saw(b"bad/x")


def test_running_out_of_descriptors_is_no_finding_about_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "run/x")
    real = os.open

    def failing(path: bytes, *rest: object, **more: object) -> int:
        if path == b"run":
            raise OSError(24, "Too many open files")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(OSError, match="Too many open files"):
        walk(os.fsencode(tmp_path))


def test_another_file_system_below_the_root_is_read_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "mounted/run/x")
    real = os.fstat
    inode = os.stat(tmp_path / "mounted").st_ino
    deeper = os.stat(tmp_path / "mounted/run").st_ino

    def elsewhere(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino in (inode, deeper):
            return os.stat_result([*found[:2], found.st_dev + 1, *found[3:10]])
        return found

    monkeypatch.setattr(os, "fstat", elsewhere)
    tree = scan(tmp_path)
    assert kinds(tree) == {b"mounted": problems.MOUNT}
    assert tree.top.total.files == 1


def test_a_directory_that_is_its_own_ancestor_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a/again/x")
    real, outer = os.fstat, os.stat(tmp_path / "a")
    inner = os.stat(tmp_path / "a/again").st_ino
    monkeypatch.setattr(os, "fstat", lambda fd: outer if real(fd).st_ino == inner else real(fd))
    assert kinds(scan(tmp_path)) == {b"a/again": problems.LOOP}


def test_a_million_odd_entries_do_not_make_a_million_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "MAX_PROBLEMS", 3)
    for number in range(10):
        os.symlink("nowhere", tmp_path / f"link{number}")
    found = scan(tmp_path).problems
    assert len(found) == 4
    assert (found[-1].kind, found[-1].detail) == (problems.MORE, "7 more of them here")


def test_no_descriptor_is_left_open_whatever_happens(tmp_path: Path) -> None:
    plant(tmp_path, "a/b/c/x")
    before = open_descriptors()

    def stop(_: int) -> None:
        if open_descriptors() > before + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        walk(os.fsencode(tmp_path), on_progress=stop)
    assert open_descriptors() == before


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "nowhere")
    assert walk(root) == RootMissing(root)


def test_a_root_that_goes_while_it_is_read(tmp_path: Path) -> None:
    plant(tmp_path, "root/a/x")
    root = os.fsencode(tmp_path / "root")
    assert walk(root, on_progress=lambda _: shutil.rmtree(root, ignore_errors=True)) == RootMissing(root)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    plant(tmp_path, "file")
    root = os.fsencode(tmp_path / "file")
    assert walk(root) == RootNotDirectory(root)


def test_a_root_that_we_may_not_read(public: Path) -> None:
    root = os.fsencode(public)
    public.chmod(0o700)
    outcome = as_nobody(lambda: walk(root))
    assert isinstance(outcome, RootUnreadable)
    assert outcome.kind == problems.UNREADABLE


def test_an_empty_root_says_which_directory_it_is(tmp_path: Path) -> None:
    here = os.stat(tmp_path)
    assert walk(os.fsencode(tmp_path)) == RootEmpty(os.fsencode(tmp_path), here.st_dev, here.st_ino, False)


@pytest.mark.parametrize("left", ["lost+found/", ".trainmon-trash/1/x"])
def test_a_volume_whose_runs_were_deleted_is_a_tree_and_no_empty_mount_point(tmp_path: Path, left: str) -> None:
    plant(tmp_path, left)
    assert scan(tmp_path).top.total.files == 0


def test_a_root_may_be_a_symlink_as_the_admin_wrote_it(tmp_path: Path) -> None:
    plant(tmp_path, "real/run/x")
    os.symlink("real", tmp_path / "root")
    assert scan(tmp_path / "root").top.total.files == 1
