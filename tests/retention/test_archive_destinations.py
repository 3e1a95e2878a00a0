from __future__ import annotations

import os

import pytest

from retention import archive, destinations
from retention.archive import Away, Broken
from retention.destinations import Folder, NotThere
from retention.files import Refused
from tests.retention.archives import LINES, folder, pack
from tests.retention.test_files import in_a_mount_namespace
from tests.retention.trees import plant

FULL = """
import os
from pathlib import Path
from retention.destinations import Folder
from retention.files import Refused
from tests.retention.archives import pack
to = Folder(os.path.abspath("small/archive"))
try:
    pack(Path("."), to)
except Refused as refused:
    print(refused)
print(os.listdir("small/archive"), os.path.getsize("run/x"))
try:
    with to.new("one") as draft:
        draft.write(b"fits")
        draft.settle().close()
        Path("small/other").write_bytes(b"")
        try:
            Path("small/other").write_bytes(bytes(2**21))
        except OSError:
            pass
        draft.publish(b"no room for this any more")
except Refused as refused:
    print(refused)
print(os.listdir("small/archive"))
"""


def test_a_full_disk_leaves_nothing_and_says_so_in_the_archive_and_in_its_manifest(tmp_path):
    plant(tmp_path / "run", {"x": os.urandom(3 * 2**20)})
    told = in_a_mount_namespace(tmp_path, "mkdir small; mount -t tmpfs -o size=1m none small", FULL).splitlines()
    full = f"there is no room left in {tmp_path}/small/archive: No space left on device"
    assert told == [full, f"[] {3 * 2**20}", full, "[]"]


def test_a_folder_of_archives_is_for_us_alone(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    pack(tmp_path, folder(tmp_path))
    assert os.stat(tmp_path / "archive").st_mode & 0o777 == 0o700
    assert {os.stat(tmp_path / "archive" / file).st_mode & 0o777 for file in os.listdir(tmp_path / "archive")} == {0o600}


@pytest.mark.parametrize("name", ["", ".", "..", "../one", "a/b", "-rf", "a\n", "a\0", "n" * 201, ".one", "über"])
def test_a_name_that_is_no_plain_one_is_refused(tmp_path, name):
    plant(tmp_path / "run", {"x": "1"})
    with pytest.raises(Refused, match="no name for an archive"):
        pack(tmp_path, folder(tmp_path), name)
    assert isinstance(archive.verify(folder(tmp_path), name), Broken)


def test_only_what_has_a_manifest_is_an_archive(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    to = folder(tmp_path)
    assert to.names() == []
    pack(tmp_path, to, "one")
    pack(tmp_path, to, "two")
    assert to.names() == ["one", "two"]
    (tmp_path / "archive/two.manifest.json").unlink()
    assert to.names() == ["one"]
    with pytest.raises(NotThere, match="there is no two.manifest.json"):
        to.sealed("two")
    again = pack(tmp_path, to, "two")  # what lay there belonged to nobody
    assert archive.verify(to, "two", again.manifest_sha256) == again


def test_two_that_write_one_archive_exclude_each_other(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    to = folder(tmp_path)

    def second(_: int) -> None:
        with pytest.raises(Refused, match="being written by another process"):
            pack(tmp_path, folder(tmp_path))

    written = pack(tmp_path, to, progress=second)
    assert archive.verify(to, "one", written.manifest_sha256) == written


def test_a_draft_that_cannot_be_removed_is_let_go_of_and_the_next_writer_takes_it_over(tmp_path, monkeypatch):
    plant(tmp_path / "run", {"x": "1"})
    with monkeypatch.context() as patch, pytest.raises(Refused, match="cannot be written: No such file"):
        patch.setattr(os, "unlink", lambda *_, **__: os.stat("/nowhere/at/all"))
        with folder(tmp_path).new("one"):
            pass
    assert pack(tmp_path, folder(tmp_path)).files == 1


def test_one_that_became_an_archive_meanwhile_is_not_written_over(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    to = folder(tmp_path)
    with to.new("one") as draft:
        draft.write(b"other")
        os.rename(tmp_path / "archive/.one.part", tmp_path / "archive/away")
        first = pack(tmp_path, folder(tmp_path))
        with pytest.raises(Refused, match="already"):
            draft.publish(b"{}")
    assert archive.verify(to, "one", first.manifest_sha256) == first


def test_a_link_in_the_place_of_an_archive_is_not_followed(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    secret = tmp_path / "secret"
    secret.write_text("kept")
    plant(tmp_path / "archive", {".one.part": secret, "two.manifest.json": secret, "two.tar.zst": secret})
    with pytest.raises(Refused):
        pack(tmp_path, folder(tmp_path))
    assert isinstance(archive.verify(folder(tmp_path), "two"), Broken)
    assert secret.read_text() == "kept"


def test_a_hard_link_in_the_place_of_a_draft_is_not_written_through(tmp_path):
    plant(tmp_path, {"run": {"x": "1"}, "archive": {}, "elsewhere": "kept"})
    os.link(tmp_path / "elsewhere", tmp_path / "archive/.one.part")
    with pytest.raises(Refused, match="no draft of ours"):
        pack(tmp_path, folder(tmp_path))
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_archives_inside_the_logs_are_refused_however_the_way_there_is_written(tmp_path):
    logs = plant(tmp_path / "logs", {"in": {}})
    (tmp_path / "link").symlink_to(logs)
    for path in [logs, logs / "in", logs / "in/not/yet/there", tmp_path / "link/in", f"{logs}/x/../in"]:
        with pytest.raises(Refused, match="inside the logs"):
            Folder(os.fspath(path)).refuse_within([os.fspath(logs)])
    with pytest.raises(Refused, match="inside the logs"):
        Folder(os.fspath(logs)).refuse_within(["/nowhere", os.fspath(tmp_path / "link")])
    with pytest.raises(Refused, match="inside the logs"):
        destinations.at(f"local://{logs}/in").refuse_within([os.fspath(logs)])
    Folder(os.fspath(tmp_path / "logs-archive")).refuse_within([os.fspath(logs)])


def test_an_archive_inside_the_very_run_is_refused_whoever_asks(tmp_path):
    run = plant(tmp_path / "run", {"x": "1"})
    with pytest.raises(Refused, match="inside"):
        pack(tmp_path, Folder(os.fspath(run / "archive")))
    assert os.listdir(run) == ["x"]


@pytest.mark.parametrize("url", ["archive", "./archive", "", "a\0b", "nonsense://x/y", "s4://bucket", "dir::file:///tmp"])
def test_a_destination_that_is_none_says_so(url):
    with pytest.raises(Refused):
        destinations.at(url)


# any file system of fsspec


@pytest.fixture
def memory():
    to = destinations.at("memory://logs/archives")
    yield to
    to.fs.rm("/", recursive=True)


def test_a_file_system_without_renames_gets_the_archive_first_and_its_manifest_last(tmp_path, memory):
    plant(tmp_path / "run", {"x": os.urandom(9 * 2**20)})
    there = []
    written = pack(tmp_path, memory, progress=lambda _: there.append(memory.names()))
    assert memory.names() == ["one"] and not any(there)
    assert archive.verify(memory, "one", written.manifest_sha256) == written
    assert list(archive.registry(memory, "one", written.manifest_sha256)) == LINES
    with pytest.raises(Refused, match="already"):
        pack(tmp_path, memory)


def test_an_upload_that_was_broken_off_is_taken_back(tmp_path, memory):
    run = plant(tmp_path / "run", {"x": os.urandom(2**20), "y": "1"})
    with pytest.raises(Refused):
        pack(tmp_path, memory, progress=lambda _: (run / "y").unlink(missing_ok=True))
    assert memory.fs.find("/") == []
    assert memory.names() == []


def test_an_upload_that_arrived_changed_is_never_an_archive(tmp_path, memory):
    plant(tmp_path / "run", {"x": os.urandom(10_000)})
    written = pack(tmp_path, memory)
    memory.fs.rm("/logs/archives/one.manifest.json")
    assert isinstance(archive.verify(memory, "one", written.manifest_sha256), Broken)
    data = memory.fs.cat("/logs/archives/one.tar.zst")
    again = pack(tmp_path, memory)
    memory.fs.pipe("/logs/archives/one.tar.zst", data[:5000] + b"x" + data[5001:])
    assert isinstance(archive.verify(memory, "one", again.manifest_sha256), Broken)


def test_errors_that_only_one_file_system_knows_are_told_in_words_and_leave_no_archive(tmp_path, memory, monkeypatch):
    class Throttled(Exception):
        """As botocore and others raise."""

    def throttled(*_args: object, **_more: object) -> None:
        raise Throttled("slow down")

    plant(tmp_path / "run", {"x": "1"})
    monkeypatch.setattr(memory.fs, "pipe_file", throttled)
    with pytest.raises(Refused, match="memory://logs/archives cannot be written: slow down .Throttled."):
        pack(tmp_path, memory)
    assert memory.fs.find("/") == []
    monkeypatch.undo()
    written = pack(tmp_path, memory)
    monkeypatch.setattr(memory.fs, "open", throttled)
    assert archive.verify(memory, "one") == Away("one", "memory://logs/archives cannot be read now: slow down (Throttled)")
    monkeypatch.undo()
    assert archive.verify(memory, "one") == written
