from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retention import files
from retention.files import Gone, Refused, digest, listing, on_disk, open_folder, shown
from tests.retention.trees import let_all_in, plant


def listed(root: Path, path: bytes = b"run"):
    with open_folder(os.fspath(root), path) as fd:
        return listing(fd)


@pytest.mark.parametrize(
    "path",
    [
        b"", b".", b"..", b"run/..", b"run/.", b"/", b"/etc",
        b"run//a", b"run/", b"ru\0n", b".trainmon-trash", b"a/.trainmon-trash/b",
    ],
)
def test_a_path_that_is_not_plainly_below_the_root_is_refused(tmp_path, path):
    plant(tmp_path, {"run": {"a": {}}, ".trainmon-trash": {}, "a": {".trainmon-trash": {"b": {}}}})
    with pytest.raises(Refused), open_folder(os.fspath(tmp_path), path):
        pass


@pytest.mark.parametrize("path", [b"link", b"link/deep", b"run/file", b"run/inner", b"fifo", b"\xff\n"])
def test_neither_a_symlink_nor_a_file_nor_what_is_not_there_is_opened_as_a_folder(tmp_path, path):
    plant(tmp_path / "away", {"deep": {}})
    root = plant(tmp_path / "root", {"link": tmp_path / "away", "fifo": None, "run": {"file": "x", "inner": Path("..")}})
    with pytest.raises(Refused) as refused, open_folder(root.as_posix(), path):
        pass
    assert isinstance(refused.value, Gone) == (path == b"\xff\n")
    assert str(refused.value).isprintable()


def test_a_kernel_without_openat2_and_a_path_longer_than_it_takes_refuse_the_same(tmp_path, monkeypatch):
    plant(tmp_path, {"away": {"deep": {}}, "root": {"run": {"a": {"b": {"c": "x"}}}, "link": Path("../away")}})
    monkeypatch.setattr(files, "LONGEST", 6)
    for number in (files.SYS_OPENAT2, 10_000):  # a number that no system call has: ENOSYS
        monkeypatch.setattr(files, "SYS_OPENAT2", number)
        assert [entry.path for entry in listed(tmp_path / "root", b"run/a/b")] == [b"", b"c"]
        for path in (b"link/deep", b"run/a/b/c", b"run/a/none"):
            with pytest.raises(Refused):
                listed(tmp_path / "root", path)


def test_the_root_itself_may_be_a_link_because_an_admin_wrote_it(tmp_path):
    plant(tmp_path / "real", {"run": {"a": "x"}})
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert [entry.path for entry in listed(tmp_path / "root")] == [b"", b"a"]


def test_a_listing_names_every_kind_of_thing_and_follows_nothing(tmp_path):
    plant(tmp_path, {"run": {"a": {"x": "12345"}, "a-b": "", "link": Path("/etc"), "fifo": None, "empty": {}}})
    found = listed(tmp_path)
    assert [(entry.path, entry.kind) for entry in found] == [
        (b"", "folder"), (b"a", "folder"), (b"a-b", "file"), (b"a/x", "file"),
        (b"empty", "folder"), (b"fifo", "other"), (b"link", "other"),
    ]  # fmt: skip
    real = os.stat(tmp_path / "run/a/x")
    assert found[3].size == 5 and found[3].inode == real.st_ino and found[3].mtime_ns == real.st_mtime_ns


def test_a_tree_thousand_folders_deep_is_listed_with_few_descriptors(tmp_path):
    (tmp_path / "run").mkdir()
    fd = os.open(tmp_path / "run", os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    try:
        found = listed(tmp_path)
        assert len(found) == 1_201 and len(found[-1].path) == 2_399
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "run"], check=True)


def test_a_tree_with_more_paths_than_memory_should_hold_is_refused(tmp_path, monkeypatch):
    plant(tmp_path, {"run": {str(i): "" for i in range(100)}})
    monkeypatch.setattr(files, "MOST", 150)
    with pytest.raises(Refused, match="too much to list"):
        listed(tmp_path)


def test_a_folder_that_is_swapped_for_another_while_it_is_listed_is_refused(tmp_path, monkeypatch):
    run, real = plant(tmp_path, {"run": {"a": {"x": "1"}, "b": {}}}) / "run", files.below

    def swapping(fd: int, name: bytes) -> int:
        if name == b"a" and (run / "b").exists():
            (run / "a").rename(tmp_path / "a")
            (run / "b").rename(run / "a")
        return real(fd, name)

    monkeypatch.setattr(files, "below", swapping)
    with pytest.raises(Refused, match="'a' was replaced while it was read"):
        listed(tmp_path)


@pytest.mark.parametrize("change", ["grow", "touch", "chmod", "replace", "add", "remove"])
def test_every_change_of_a_tree_changes_its_digest(tmp_path, change):
    run = plant(tmp_path, {"run": {"a": {"x": "1", "y": "2"}}}) / "run"
    before = digest(listed(tmp_path))
    assert before == digest(reversed(listed(tmp_path)))
    x = run / "a/x"
    if change == "grow":
        with x.open("a") as file:
            file.write("more")
    elif change == "touch":
        os.utime(x, ns=(1, x.stat().st_mtime_ns + 1))
    elif change == "chmod":
        x.chmod(0o600)
    elif change == "replace":
        old = x.stat()
        (run / "a/new").write_text("1")
        os.utime(run / "a/new", ns=(old.st_atime_ns, old.st_mtime_ns))
        (run / "a/new").rename(x)
    elif change == "add":
        (run / "a/z").write_text("")
    else:
        (run / "a/y").unlink()
    assert digest(listed(tmp_path)) != before


def test_only_what_no_other_link_holds_counts_as_freed(tmp_path):
    run = plant(tmp_path, {"run": {"mine": b"x" * 5000, "shared": b"x" * 5000, "twice": b"x" * 9000}}) / "run"
    os.link(run / "shared", tmp_path / "elsewhere")
    os.link(run / "twice", run / "again")
    allocated = {name: (run / name).stat().st_blocks * 512 for name in ("mine", "twice")}
    assert on_disk(listed(tmp_path)) == sum(allocated.values()) > 0


MOUNTS = """
import sys
from retention.files import Refused, listing, open_folder
root = sys.argv[1]
for path in sys.argv[2:]:
    try:
        with open_folder(root, path.encode()) as fd:
            listing(fd)
        print("opened", path)
    except Refused as refused:
        print(refused)
"""


def in_a_mount_namespace(tmp_path: Path, mounts: str, program: str, *args: str) -> str:
    """What a program of ours prints where these mounts are; skipped where the kernel lets nobody mount."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    (tmp_path / "program.py").write_text(program)
    run = f'set -e; {mounts}; exec "$0" "$@"'
    told = subprocess.run(
        ["unshare", "-m", "sh", "-c", run, sys.executable, tmp_path / "program.py", *args],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_a_mount_point_is_refused_on_the_way_and_below_even_where_the_device_is_the_same(tmp_path):
    root = {"bound": {"run": {}}, "run": {"a": {"bound": {}}}, "tmpfs": {}, "plain": {}, "last": {"x": ""}}
    plant(tmp_path, {"root": root, "away": {"x": ""}})
    mounts = """mount --bind away root/bound; mount --bind away root/run/a/bound; mount -t tmpfs none root/tmpfs
        touch root/tmpfs/file; mount --bind root/tmpfs/file root/last/x"""
    told = in_a_mount_namespace(tmp_path, mounts, MOUNTS, "root", "bound", "run", "tmpfs", "plain", "last").splitlines()
    assert told.pop() == "'x' is a mount point: another file system begins there"
    assert told[0] == "'bound' is a mount point: another file system begins there"
    assert told[1] == "'a/bound' is a mount point: another file system begins there"
    assert told[2].startswith("'tmpfs' is a mount point") and told[3] == "opened plain"


def test_a_path_is_shown_without_anything_that_a_terminal_or_a_database_could_stumble_over():
    assert shown(b"a/\xff\x1b[31m\0\n\xe2\x80\xae'") == r"'a/\xff\x1b[31m\x00\n\u202e''"
    assert len(shown(b"x" * 10_000)) < 310


def test_a_folder_that_we_may_not_read_is_named_and_nothing_below_it_is_left_out_in_silence(tmp_path):
    plant(tmp_path, {"run": {"a": {"x": "1"}, "closed": {"x": ""}}})
    let_all_in(tmp_path)
    (tmp_path / "run/closed").chmod(0)
    told = as_nobody(lambda: listed(tmp_path))
    (tmp_path / "run/closed").chmod(0o755)
    assert told == "'closed' cannot be opened: Permission denied"


def as_nobody(work) -> str:
    """What an unprivileged process is told."""
    reading, writing = os.pipe()
    if not os.fork():
        try:
            if not os.geteuid():
                os.setuid(65534)
            work()
        except Refused as refused:
            os.write(writing, str(refused).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.wait()
    with open(reading) as told:
        return told.read()
