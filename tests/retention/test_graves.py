from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from retention import graves, inventory
from retention.files import Gone, Refused, digest, listing, open_folder
from retention.graves import bury, exhume, forget, grown, purge, trash_of
from tests.retention.test_files import as_nobody, in_a_mount_namespace
from tests.retention.trees import let_all_in, plant, seen, strangers

RUN = {"events": b"x" * 9000, "ckpt": {"model": b"y" * 5000, "empty": {}, "latest": Path("model")}, "\udcff\n": ""}


@pytest.fixture
def root(tmp_path) -> Path:
    return plant(tmp_path / "root", {"data": {"run": RUN, "other": {"events": "z"}}})


def confirmed(root: Path, path: bytes = b"data/run") -> str:
    with open_folder(os.fspath(root), path) as fd:
        return digest(listing(fd))


def buried(root: Path, name: str = "run-1") -> graves.Grave:
    return bury(os.fspath(root), b"data/run", name, confirmed(root))


def grave(root: Path, name: str = "run-1") -> Path:
    return root.parent / ".trainmon-trash" / name


def test_a_run_is_buried_beside_its_root_where_only_we_may_enter_and_comes_back_bit_for_bit(root):
    before, other = seen(root / "data/run"), seen(root / "data/other")
    found = buried(root)
    assert not (root / "data/run").exists() and seen(grave(root)) == before and seen(root / "data/other") == other
    assert trash_of(os.fspath(root)) == os.fsencode(grave(root).parent) and grave(root).parent.stat().st_mode & 0o777 == 0o700
    assert (found.inode, found.changed) == (grave(root).stat().st_ino, ())
    assert grown(os.fspath(root), "run-1", digest(found.entries)) == []
    exhume(os.fspath(root), "run-1", b"data/run")
    assert seen(root / "data/run") == before and not grave(root).exists()


def test_what_changed_since_it_was_confirmed_stays_where_it_is(root):
    expected = confirmed(root)
    (root / "data/run/ckpt/new").write_text("")
    before = seen(root)
    with pytest.raises(Refused, match="'data/run' changed since it was confirmed"):
        bury(os.fspath(root), b"data/run", "run-1", expected)
    assert seen(root) == before and strangers(os.fspath(root), []) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a.list", "x" * 101, "a\0", "ü", "a\n"])
def test_a_grave_has_a_plain_name(root, name):
    for work in (lambda: buried(root, name), lambda: purge(root.as_posix(), name), lambda: exhume(root.as_posix(), name, b"x")):
        with pytest.raises(Refused, match="cannot be the name"):
            work()


def test_a_name_that_is_taken_is_never_written_over(root):
    buried(root)
    plant(root, {"data": {"run": {"events": "new"}}})
    first, second = seen(grave(root)), seen(root)
    with pytest.raises(Refused, match="something else lies in the trash as run-1"):
        buried(root)
    plant(grave(root, "run-2"), {"mine": "x"})
    with pytest.raises(Refused, match="no list of what was buried as run-2"):
        buried(root, "run-2")
    assert (seen(grave(root)), seen(root)) == (first, second)


@pytest.mark.parametrize("thing", [{"run": "a file"}, {"run": {}}, {"run": Path("/nowhere")}, {"run": {"events": "a new run"}}])
def test_a_run_comes_back_over_nothing(root, thing):
    buried(root)
    plant(root / "data", thing)
    before, there = seen(grave(root)), seen(root / "data")
    with pytest.raises(Refused, match="something is at 'data/run' now"):
        exhume(os.fspath(root), "run-1", b"data/run")
    assert seen(grave(root)) == before and seen(root / "data") == there


def test_a_run_comes_back_elsewhere_and_where_its_folders_were_deleted_but_not_through_a_link(root, tmp_path):
    before = seen(root / "data/run")
    buried(root)
    shutil.rmtree(root / "data")
    (root / "data").symlink_to(plant(tmp_path / "away", {}))
    for path in (b"data/run", b"../run", b"data/../../run", b"/run", b".trainmon-trash/run"):
        with pytest.raises(Refused):
            exhume(os.fspath(root), "run-1", path)
    assert not any((tmp_path / "away").iterdir())
    exhume(os.fspath(root), "run-1", b"new/place/run")
    exhume(os.fspath(root), "run-1", b"new/place/run")
    assert seen(root / "new/place/run") == before and (root / "new/place").stat().st_mode & 0o777 == 0o755


def test_a_grave_that_grows_says_what_changed_is_not_purged_and_can_still_be_brought_back(root):
    with (root / "data/run/events").open("ab") as writer:
        expected = digest(buried(root).entries)
        writer.write(b"after")
    (grave(root) / "ckpt/late").write_text("x")
    (grave(root) / "ckpt/model").unlink()
    changed = grown(os.fspath(root), "run-1", expected)
    assert [entry.path for entry in changed] == [b"ckpt", b"ckpt/late", b"events", b"ckpt/model"]
    before = seen(grave(root))
    with pytest.raises(Refused, match="'ckpt' changed since it was buried: bring run-1 back"):
        purge(os.fspath(root), "run-1")
    exhume(os.fspath(root), "run-1", b"data/run")
    assert seen(root / "data/run") == before


def test_a_purge_frees_what_no_other_link_holds_follows_nothing_and_says_how_far_it_is(root, tmp_path):
    away = plant(tmp_path / "away", {"kept": b"k" * 5000, "folder": {"x": "x"}})
    plant(root / "data/run", {"link": away / "folder", "dead": Path("/nowhere"), "fifo": None})
    os.link(away / "kept", root / "data/run/kept")
    os.link(root / "data/run/events", root / "data/run/again")
    there, told = seen(away), []
    allocated = sum(512 * os.lstat(root / "data/run" / name).st_blocks for name in ("events", "ckpt/model", "link"))
    buried(root)
    assert purge(os.fspath(root), "run-1", told.append) == allocated > 0
    assert told == sorted(told) and told[-1] == allocated and len(told) == 9
    assert seen(away) == there and not grave(root).exists() and (root / "data/other/events").exists()


def test_what_became_of_a_grave_is_known_until_it_is_forgotten(root):
    buried(root)
    with pytest.raises(Refused, match="still lies in the trash"):
        forget(os.fspath(root), "run-1")
    freed = purge(os.fspath(root), "run-1")
    assert purge(os.fspath(root), "run-1") == freed
    with pytest.raises(Gone):
        exhume(os.fspath(root), "run-1", b"data/run")
    forget(os.fspath(root), "run-1")
    forget(os.fspath(root), "run-1")
    with pytest.raises(Gone, match="is the right volume mounted"):
        purge(os.fspath(root), "run-1")
    assert [name for name in os.listdir(grave(root).parent) if name != ".reserve"] == []


def test_a_folder_that_is_half_deleted_is_not_brought_back_and_what_appears_in_it_is_left(root):
    buried(root)
    grave(root).rename(grave(root, "run-1.purging"))
    (grave(root, "run-1.purging") / "events").unlink()
    with pytest.raises(Refused, match="being deleted already"):
        exhume(os.fspath(root), "run-1", b"data/run")
    late = grave(root, "run-1.purging") / "ckpt/late"
    late.write_text("x")
    with pytest.raises(Refused, match="'ckpt/late' appeared or changed after the deletion had begun"):
        purge(os.fspath(root), "run-1")
    assert late.exists() and (late.parent / "model").exists()
    late.unlink()
    assert purge(os.fspath(root), "run-1") > 0


def test_a_folder_that_is_swapped_for_a_link_amid_a_purge_leads_nowhere(root, tmp_path):
    away = plant(tmp_path / "away", {"model": "m", "empty": {}})
    before = seen(away)
    buried(root)
    folder = grave(root, "run-1.purging") / "ckpt"

    def swap(_: int) -> None:
        if not folder.is_symlink():
            folder.rename(tmp_path / "ckpt")
            folder.symlink_to(away)

    with pytest.raises(Refused):
        purge(os.fspath(root), "run-1", swap)
    assert seen(away) == before and (tmp_path / "ckpt/model").exists()


def test_a_folder_that_is_moved_away_amid_its_purge_leads_to_no_other(root, tmp_path):
    buried(root)
    folder = grave(root, "run-1.purging") / "ckpt"

    def take(_: int) -> None:
        if folder.exists() and len(os.listdir(folder)) < 3:
            folder.rename(tmp_path / "ckpt")

    with pytest.raises(Refused, match="moved away"):
        purge(os.fspath(root), "run-1", take)
    assert (tmp_path / "ckpt").exists()


def test_what_nobody_knows_in_the_trash_is_named(root):
    buried(root)
    plant(root / "data", {"run": RUN})
    buried(root, "run-2")
    plant(grave(root).parent, {"by hand": {}, "\udcff": ""})
    assert strangers(os.fspath(root), ["run-1"]) == [b"by hand", b"run-2", b"run-2.list", b"\xff"]


@pytest.mark.parametrize("fault", ["link", "file", "mode", "owner"])
def test_a_trash_that_is_not_ours_alone_is_not_used(root, tmp_path, fault):
    trash = grave(root).parent
    if fault == "link":
        trash.symlink_to(plant(tmp_path / "away", {}))
    elif fault == "file":
        trash.write_text("")
    else:
        trash.mkdir(mode=0o700)
        trash.chmod(0o750 if fault == "mode" else 0o700)
        if fault == "owner":
            if os.geteuid():
                pytest.skip("only root can give folders away")
            os.chown(trash, 65534, -1)
    before = seen(root)
    with pytest.raises(Refused, match=r"trainmon-trash' (is no folder|must be a folder of the user)"):
        buried(root)
    assert seen(root) == before


def test_a_grave_in_a_trash_that_is_not_ours_any_more_is_not_taken_for_gone(root):
    buried(root)
    grave(root).parent.chmod(0o755)
    for work in (
        lambda: purge(os.fspath(root), "run-1"), lambda: grown(os.fspath(root), "run-1", ""),
        lambda: exhume(os.fspath(root), "run-1", b"data/run"), lambda: strangers(os.fspath(root), []),
    ):
        with pytest.raises(Refused, match="mode 0755") as refused:
            work()
        assert not isinstance(refused.value, Gone)


def test_where_nothing_may_be_made_beside_the_root_the_trash_is_inside(root):
    let_all_in(root)
    if not os.geteuid():
        os.chown(root, 65534, -1)
    else:
        root.parent.chmod(0o555)
    assert as_nobody(lambda: tell(trash_of(os.fspath(root)))) == os.fspath(root / ".trainmon-trash")
    root.parent.chmod(0o755)


def tell(path: bytes) -> None:
    raise Refused(os.fsdecode(path))


def test_a_list_that_was_damaged_stops_the_purge_and_not_the_return(root):
    buried(root)
    listed = grave(root, "run-1.list")
    listed.write_bytes(listed.read_bytes().replace(b"events", b"evemts"))
    with pytest.raises(Refused, match="is damaged"):
        purge(os.fspath(root), "run-1")
    exhume(os.fspath(root), "run-1", b"data/run")
    assert (root / "data/run/events").exists()


def in_the_moment_of_moving(monkeypatch, *surprises) -> None:
    """Somebody does this just before, and that just after a folder is renamed for the first time."""
    real, (before, after) = graves.move, surprises

    def move(*args):
        monkeypatch.setattr(graves, "move", real)
        before()
        real(*args)
        after()

    monkeypatch.setattr(graves, "move", move)


def nothing() -> None:
    pass


def test_a_folder_that_cannot_be_moved_stays_and_leaves_nothing_behind(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(graves, "move", lambda *_: os.stat("/nowhere/at/all"))
        with pytest.raises(Refused, match="'data/run' cannot be moved: No such file"):
            buried(root)
        assert strangers(os.fspath(root), []) == []
    expected = confirmed(root)
    (root / "data/run/late").write_text("")
    with pytest.raises(Refused, match="changed since it was confirmed"):
        bury(os.fspath(root), b"data/run", "run-1", expected)
    assert (root / "data/run/late").exists() and strangers(os.fspath(root), []) == []


def test_a_power_cut_finds_the_list_before_the_move_and_both_folders_after_it(root, monkeypatch):
    done, fsync, move = [], os.fsync, graves.move
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), fsync(fd)))
    monkeypatch.setattr(graves, "move", lambda *names: (done.append("moved"), move(*names)))
    trash_of(os.fspath(root))
    expected, done[:] = confirmed(root), []
    bury(os.fspath(root), b"data/run", "run-1", expected)
    assert done == ["run-1.list", "moved", "data", ".trainmon-trash"]
    done.clear()
    exhume(os.fspath(root), "run-1", b"data/run")
    assert done == ["moved", "data", ".trainmon-trash"]
    done.clear()
    purge(os.fspath(root), buried(root, "run-2").name)
    assert done[-3:] == ["moved", ".trainmon-trash", ".trainmon-trash"]


def test_a_run_that_is_written_while_it_is_buried_is_put_back(root, monkeypatch):
    in_the_moment_of_moving(monkeypatch, lambda: (root / "data/run/late").write_text("x"), nothing)
    with pytest.raises(Refused, match="'late' changed while it was buried; the run is back in its place"):
        buried(root)
    assert (root / "data/run/late").read_text() == "x" and strangers(os.fspath(root), []) == []


def test_a_folder_that_was_put_in_the_place_of_a_run_is_put_back(root, monkeypatch, tmp_path):
    before = seen(root / "data/other")

    def swap() -> None:
        (root / "data/run").rename(tmp_path / "run")
        (root / "data/other").rename(root / "data/run")

    in_the_moment_of_moving(monkeypatch, swap, nothing)
    with pytest.raises(Refused, match="back in its place"):
        buried(root)
    assert seen(root / "data/run") == before


def test_a_run_that_cannot_be_put_back_lies_in_the_trash_and_says_what_changed(root, monkeypatch):
    def anew() -> None:
        (grave(root) / "late").write_text("x")
        plant(root / "data/run", {"events": "a new run"})

    in_the_moment_of_moving(monkeypatch, nothing, anew)
    found = buried(root)
    assert [entry.path for entry in found.changed] == [b"late"]
    assert (grave(root) / "late").exists() and (root / "data/run/events").read_text() == "a new run"


MOUNTED = """
import errno, os
from retention.files import Refused, digest, listing, open_folder
from retention.graves import bury, exhume, purge, trash_of
with open_folder("root", b"run") as fd:
    expected = digest(listing(fd))
print(os.fsdecode(trash_of("root")).removeprefix(os.getcwd()))
"""
FILL = """
try:
    while True:
        filler.write(bytes(4096))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
WORK = """
bury("root", b"run", "one", expected)
print(sorted(os.listdir("root")))
exhume("root", "one", b"run")
bury("root", b"run", "one", expected)
print(purge("root", "one") > 0)
"""


@pytest.mark.parametrize("mount", ["tmpfs", "bind"])
def test_a_root_that_is_a_mount_point_has_its_trash_inside(tmp_path, mount):
    plant(tmp_path, {"root": {}, "real": {}})
    how = {"tmpfs": "mount -t tmpfs none root", "bind": "mount --bind real root"}[mount]
    mounts = f"{how}; mkdir root/run; echo x > root/run/events"
    told = in_a_mount_namespace(tmp_path, mounts, MOUNTED + WORK).splitlines()
    assert told == ["/root/.trainmon-trash", "['.trainmon-trash']", "True"]


def test_in_an_overlay_files_have_other_devices_and_new_numbers_after_a_mount_and_what_lies_in_a_lower_layer_stays(tmp_path):
    plant(tmp_path, {"root": {}, "low": {"baked": {"events": "x"}}, "layer": {}})
    layers = "lowerdir=low,upperdir=layer/up,workdir=layer/work,xino=off"
    mount = f"mount -t overlay -o {layers} none root"
    mounts = f"mount -t tmpfs none layer; mkdir layer/up layer/work; {mount}; mkdir root/run; echo x > root/run/events"
    program = MOUNTED + f"""
bury("root", b"run", "one", expected)
os.system("umount root && {mount} && ls -RU root/.trainmon-trash >ls")
with open_folder("root", b"baked") as fd:
    expected = digest(listing(fd))
try:
    bury("root", b"baked", "two", expected)
except Refused as why:
    print(why)
print(sorted(os.listdir("root/.trainmon-trash")))
print(purge("root", "one") > 0)
"""
    told = in_a_mount_namespace(tmp_path, mounts, program).splitlines()
    assert told[1].startswith("'baked' cannot be moved: it lies in a lower layer of an overlay")
    assert told[2:] == ["['.reserve', 'one', 'one.list']", "True"]


def test_where_only_the_owner_may_move_a_run_it_is_known_to_stay_before_anything_is_done(root):
    let_all_in(root.parent)
    plant(root / "data" / "theirs", {"run": {}}).chmod(0o1777)
    (root / "data/theirs/run").chmod(0o777)
    (root / ".trainmon-trash").mkdir(0o700)
    os.chown(root / ".trainmon-trash", 65534, 65534)
    assert "only its owner may do that" in as_nobody(lambda: graves.ready(os.fspath(root), b"data/theirs/run"))


def test_a_full_volume_can_be_cleaned_up(tmp_path):
    plant(tmp_path, {"root": {}})
    mounts = "mount -t tmpfs -o size=1m none root; mkdir root/run; echo x > root/run/events"
    fill = 'filler = open("root/filler", "wb", 0)' + FILL
    told = in_a_mount_namespace(tmp_path, mounts, MOUNTED + fill + WORK).splitlines()
    assert told == ["/root/.trainmon-trash", "ENOSPC", "['.trainmon-trash', 'filler']", "True"]


def test_a_run_on_a_volume_that_is_read_only_is_known_to_stay_before_anything_is_done(tmp_path):
    plant(tmp_path, {"root": {}})
    mounts = "mount -t tmpfs none root; mkdir root/run; echo x > root/run/events"
    program = """
import subprocess
from retention.files import Refused
from retention.graves import ready
ready("root", b"run")
subprocess.run(["mount", "-o", "remount,ro", "root"], check=True)
try:
    ready("root", b"run")
except Refused as why:
    print(why)
"""
    assert in_a_mount_namespace(tmp_path, mounts, program).startswith("cannot be moved: its volume is read-only")


def test_a_volume_without_any_room_loses_nothing(root, monkeypatch):
    before = seen(root)
    monkeypatch.setattr(inventory, "_written", lambda *_: False)
    with pytest.raises(Refused, match="the volume has no room"):
        buried(root)
    assert seen(root) == before
