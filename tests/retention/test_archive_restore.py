from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from retention import archive, unpacking
from retention.files import Refused, closing, listing, open_folder
from retention.unpacking import restore
from tests.retention.archives import a_file, a_folder, folder, forge, pack
from tests.retention.test_archive import ROOT
from tests.retention.test_files import in_a_mount_namespace
from tests.retention.trees import plant, seen

TREE = {"a": {"x": "12345", "deep": {"er": b"\0" * 600}}, "a-b": "beside", "empty": {}, "nothing": ""}


def rooted(tmp_path: Path, things: dict | None = None) -> str:
    plant(tmp_path / "root/run", TREE if things is None else things)
    return os.fspath(tmp_path / "root")


def whole(path: str | bytes) -> dict[bytes, tuple]:
    """Kind, mode, mtime and digest of all there is, the top folder's included; not the inodes."""
    found = {where: (what[0], what[2], what[3]) for where, what in seen(os.fsencode(path)).items()}
    return found | {b"": (found[b""][0], os.stat(path).st_mtime_ns)} if found else {}


def trash(tmp_path: Path) -> list[str]:
    return [name for name in os.listdir(tmp_path / ".trainmon-trash") if name.startswith("restore-")]


def test_a_run_comes_back_as_it_was_into_another_place_and_its_old_one(tmp_path):
    root = rooted(tmp_path)
    os.chmod(tmp_path / "root/run/a", 0o2550)
    os.chmod(tmp_path / "root/run/a/x", 0o440)
    os.utime(tmp_path / "root/run/empty", ns=(0, 1_600_000_000_123_456_789))
    os.utime(tmp_path / "root/run", ns=(0, 1_500_000_000_987_654_321))
    before, told = whole(root + "/run"), []
    written = pack(Path(root), folder(tmp_path))
    found = restore(folder(tmp_path), "one", root, b"new/place/run", written.manifest_sha256, told.append)
    assert whole(root + "/new/place/run") == before and found == written and sum(told) == written.content
    os.rename(root + "/run", tmp_path / "away")
    restore(folder(tmp_path), "one", root, b"run", written.manifest_sha256)
    assert whole(root + "/run") == before and trash(tmp_path) == []
    assert os.stat(root + "/new/place").st_mode & 0o777 == 0o755


def a_tree(dice: random.Random, folder: bytes, depth: int = 0) -> None:
    """Files and folders as nobody would name them, of any mode and time."""
    os.mkdir(folder)
    for _ in range(dice.randrange(7)):
        name = bytes(dice.choice(b"ab\xff\xc3\xa4.-\n\\ \x01%") for _ in range(dice.choice([1, 3, 9, 120, 255])))
        path = folder + b"/" + name
        if name in (b".", b"..") or os.path.lexists(path):
            continue
        if depth < 4 and dice.random() < 0.4:
            a_tree(dice, path, depth + 1)
        else:
            with open(path, "wb") as file:
                file.write(dice.randbytes(dice.choice([0, 1, 511, 512, 513, 70_000])))
                os.fchmod(file.fileno(), dice.randrange(0o1000))
            os.utime(path, ns=(0, dice.randrange(-(10**18), 4 * 10**18)))
    os.chmod(folder, dice.randrange(0o1000) | 0o500)
    os.utime(folder, ns=(0, dice.randrange(4 * 10**18)))


def comes_back(tmp_path: Path, seed: int) -> None:
    (tmp_path / "root").mkdir()
    root = os.fspath(tmp_path / "root")
    a_tree(random.Random(seed), os.fsencode(root) + b"/run")
    before = whole(root + "/run")
    written = pack(Path(root), folder(tmp_path))
    os.rename(root + "/run", tmp_path / "away")
    restore(folder(tmp_path), "one", root, b"run", written.manifest_sha256)
    assert whole(root + "/run") == before
    assert archive.verify(folder(tmp_path), "one") == written and trash(tmp_path) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_random_run_is_the_same_by_content_mode_and_mtime_after_its_restore(tmp_path, seed):
    comes_back(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 110))
def test_a_hundred_random_runs_are_the_same_after_their_restore(tmp_path, seed):
    comes_back(tmp_path, seed)


def test_a_tree_that_is_deeper_than_any_path_may_be_long_comes_back(tmp_path):
    (tmp_path / "root").mkdir()
    root = os.fspath(tmp_path / "root")
    fd = os.open(root, os.O_RDONLY)
    for name in ["run", *["d" * 100] * 60]:
        os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    pack(Path(root), folder(tmp_path))
    restore(folder(tmp_path), "one", root, b"back")
    with open_folder(root, b"run") as run, open_folder(root, b"back") as back:
        same = [[(entry.path, entry.kind, entry.mode, entry.mtime_ns) for entry in listing(fd)] for fd in (run, back)]
    assert same[0] == same[1] and len(same[0]) == 62


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_who_is_not_root_restores_folders_that_nobody_may_enter():
    """As nobody, in a folder of their own (that of the other tests is root's)."""
    script = """
import os, sys
from pathlib import Path
from retention import unpacking
from retention.files import Refused, listing, open_folder
from retention.unpacking import restore
from tests.retention.archives import a_file, a_folder, folder, forge
os.chmod(sys.argv[1], 0o777); os.setgid(65534); os.setuid(65534)
top = Path(sys.argv[1]) / "mine"
top.mkdir(); (top / "root").mkdir()
forge(top / "archive", [a_folder(mode=0o500), a_folder(b"in", 0), a_file(b"in/x", b"kept", mode=0)], contents={b"in/x": b"kept"})
restore(folder(top), "one", str(top / "root"), b"run")
print(oct(os.stat(top / "root/run").st_mode), oct(os.stat(top / "root/run/in").st_mode))
kept = unpacking.make_folders
def late(root, above):
    kept(root, above)
    (top / "root/other").mkdir()
unpacking.make_folders = late
try:
    restore(folder(top), "one", str(top / "root"), b"other")
except Refused as refused:
    print(refused)
print([name for name in os.listdir(top / ".trainmon-trash") if name.startswith("restore-")])
"""
    with tempfile.TemporaryDirectory() as top:
        told = subprocess.run([sys.executable, "-c", script, top], cwd=ROOT, capture_output=True, text=True)
    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        "0o40500 0o40000", "something lies at 'other' by now; nothing is ever restored over it", "[]"]  # fmt: skip


@pytest.mark.parametrize("there", [{}, "a file", Path("/etc"), Path("dangling"), {"kept": "1"}])
def test_nothing_is_restored_over_something(tmp_path, there):
    root = rooted(tmp_path)
    pack(Path(root), folder(tmp_path))
    plant(tmp_path / "root", {"other": there})
    before = seen(tmp_path / "root")
    with pytest.raises(Refused, match="something lies at 'other' already"):
        restore(folder(tmp_path), "one", root, b"other")
    assert seen(tmp_path / "root") == before


@pytest.mark.parametrize(
    "path", [b"", b".", b"..", b"../out", b"/etc/run", b"a/../../b", b"a\0b", b".trainmon-trash/x", b"link/run"]
)
def test_a_run_is_restored_strictly_inside_its_root_only(tmp_path, path):
    root = rooted(tmp_path)
    pack(Path(root), folder(tmp_path))
    plant(tmp_path / "out", {})
    plant(tmp_path / "root", {"link": tmp_path / "out"})
    before = seen(tmp_path / "root") | seen(tmp_path / "out")
    with pytest.raises(Refused):
        restore(folder(tmp_path), "one", root, path)
    assert seen(tmp_path / "root") | seen(tmp_path / "out") == before


def test_a_set_user_id_bit_does_not_come_back_with_the_rights_of_who_restores(tmp_path):
    root = rooted(tmp_path, {})
    forge(tmp_path / "archive", [a_folder(), a_file(b"tool", mode=0o6755)])
    restore(folder(tmp_path), "one", root, b"back")
    assert os.stat(root + "/back/tool").st_mode & 0o7777 == 0o755


FULL = """
import os
from pathlib import Path
from retention import unpacking
from retention.files import Refused, listing, open_folder
from tests.retention.archives import folder
def fill(*_):
    '''All but a megabyte.'''
    with open("small/filler", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    os.truncate("small/filler", os.path.getsize("small/filler") - 2**20)
fill()
for unforeseen in (False, True):
    if unforeseen:
        os.truncate("small/filler", 0)
        unpacking._refuse_without_room = fill
    try:
        unpacking.restore(folder(Path.cwd()), "one", os.path.abspath("small/root"), b"run")
    except Refused as refused:
        print(refused)
    print(os.path.exists("small/root/run"), list(Path("small").rglob("restore-*")))
"""


def test_without_room_nothing_appears_whether_that_was_foreseen_or_not(tmp_path):
    root = rooted(tmp_path, {"x": os.urandom(3 * 2**20)})
    pack(Path(root), folder(tmp_path))
    mounts = "mkdir small; mount -t tmpfs -o size=16m none small; mkdir small/root"
    told = in_a_mount_namespace(tmp_path, mounts, FULL).splitlines()
    assert told[0].startswith("there is no room: its files need 3,145,728 bytes, ")
    assert told[1] == told[3] == "False []"
    assert told[2] == f"there is no room left in {tmp_path}/small/root: No space left on device"


def test_what_is_left_of_a_restore_goes_though_its_folder_was_opened_before_there_was_anything_in_it(tmp_path):
    """As btrfs shows it: a descriptor that is at the end knows nothing that came later."""
    there = plant(tmp_path / ".trainmon-trash", {"restore-1": {"x": "1"}})
    opened = os.open(there / "restore-1", os.O_RDONLY)
    with closing(os.open(there, os.O_RDONLY)) as above, closing(opened) as fd, os.scandir(fd) as begun:
        next(begun)
        unpacking._clear(above, b"restore-1", fd)
    assert trash(tmp_path) == []


def test_a_restore_that_is_killed_shows_nothing_and_the_next_one_cleans_up_and_finishes(tmp_path):
    root = rooted(tmp_path, {"in": {"x": os.urandom(3 * 2**20)}})
    before = whole(root + "/run")
    written = pack(Path(root), folder(tmp_path))
    os.rename(root + "/run", tmp_path / "away")
    script = (
        "import os, sys; from tests.retention.archives import folder; from retention.unpacking import restore; "
        "from pathlib import Path; top = Path(sys.argv[1]); "
        "restore(folder(top), 'one', str(top / 'root'), b'run', progress=lambda _: os.kill(os.getpid(), 9))"
    )
    died = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    assert os.listdir(root) == [] and len(trash(tmp_path)) == 1
    restore(folder(tmp_path), "one", root, b"run", written.manifest_sha256)
    assert whole(root + "/run") == before and trash(tmp_path) == []
