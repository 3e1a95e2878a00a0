from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import zstandard

from retention import archive
from retention.archive import Broken, Changed
from retention.destinations import Draft, Folder, FolderDraft
from retention.files import Refused
from tests.retention.archives import LINES, folder, pack
from tests.retention.trees import plant, seen

ROOT = Path(__file__).resolve().parents[2]
TREE = {"a": {"x": "12345", "deep": {"er": b"\0" * 600}}, "a-b": "beside", "empty": {}, "nothing": ""}


class Rotting(Folder):
    """A disk that does not give back what it was given."""

    def __init__(self, path: str, rot: Callable[[], None]) -> None:
        super().__init__(path)
        self.rot = rot

    @contextmanager
    def new(self, name: str) -> Iterator[Draft]:
        with super().new(name) as draft:
            assert isinstance(draft, FolderDraft)
            settle = draft.settle

            def settled() -> IO[bytes]:
                file = settle()
                self.rot()
                return file

            draft.settle = settled  # type: ignore[method-assign]
            yield draft


def left_in(place: Path) -> list[str]:
    return sorted(os.listdir(place)) if place.exists() else []


def test_an_archive_holds_each_file_and_folder_and_is_verified_before_it_is_there(tmp_path):
    plant(tmp_path / "run", TREE)
    told = []
    written = pack(tmp_path, folder(tmp_path), lines=LINES)
    assert left_in(tmp_path / "archive") == ["one.manifest.json", "one.tar.zst"]
    assert (written.files, written.content) == (4, 5 + 600 + 6)
    assert archive.verify(folder(tmp_path), "one", written.manifest_sha256, progress=told.append) == written
    assert sum(told) == written.content
    sealed = json.loads((tmp_path / "archive/one.manifest.json").read_bytes())
    assert sealed["manifest"]["about"] == {"run": 7, "source": os.fspath(tmp_path)}
    assert [item["path"] for item in sealed["manifest"]["items"]] == [
        "", "a", "a/deep", "a/deep/er", "a/x", "a-b", "empty", "nothing"]  # fmt: skip


@pytest.mark.parametrize("reader", ["tar", "tarfile"])
def test_tools_that_everybody_has_unpack_an_archive_without_trainmon(tmp_path, reader):
    long = "n" * 200
    run = plant(tmp_path / "run", {**TREE, long: {"über": "ä"}})
    os.chmod(run / "a/x", 0o640)
    for path, when in [("a/x", 1_700_000_000_123_456_789), ("a-b", 0), ("nothing", 2_500_000_000_000_000_001), ("a", 10**18)]:
        os.utime(run / path, ns=(0, when))
    pack(tmp_path, folder(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    if reader == "tar":
        subprocess.run(["tar", "--zstd", "-xpf", tmp_path / "archive/one.tar.zst", "-C", out], check=True)
    else:
        data = zstandard.ZstdDecompressor().stream_reader((tmp_path / "archive/one.tar.zst").read_bytes())
        with tarfile.open(fileobj=data, mode="r|") as tar:
            tar.extractall(out, filter="fully_trusted")
    exact = int(reader == "tar")  # tarfile keeps times as floats
    same = [{path: (what[0], what[2] * exact, what[3]) for path, what in seen(top).items()} for top in (run, out / "files")]
    assert same[0] == same[1]
    assert (out / "registry/00000.jsonl").read_bytes() == b"".join(LINES)


def test_names_that_are_no_text_are_archived_as_they_are(tmp_path):
    run = os.fsencode(plant(tmp_path / "run", {}))
    for name in (b"\xff\xfe", b"\xff" * 150, b"new\nline", b"\xe2\x80\xae", b"a=b", b"-rf", b"\\"):
        with open(os.path.join(run, name), "wb") as file:
            file.write(name)
    written = pack(tmp_path, folder(tmp_path))
    assert archive.verify(folder(tmp_path), "one", written.manifest_sha256) == written
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", tmp_path / "archive/one.tar.zst", "-C", out], check=True, capture_output=True)
    assert sorted(os.listdir(os.fsencode(out / "files"))) == sorted(os.listdir(run))


def test_lines_of_the_registry_come_back_in_order_and_by_parts(tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    lines = [b'{"number": %d, "pad": "%s"}\n' % (number, b"x" * 1_000_000) for number in range(20)]
    pack(tmp_path, folder(tmp_path), lines=lines)
    names = json.loads((tmp_path / "archive/one.manifest.json").read_bytes())["manifest"]["registry"]
    assert [part["name"] for part in names] == ["registry/00000.jsonl", "registry/00001.jsonl", "registry/00002.jsonl"]
    assert list(archive.registry(folder(tmp_path), "one")) == lines


CHANGES = {
    "longer": lambda run: (run / "x").write_text("123456"),
    "shorter": lambda run: os.truncate(run / "x", 2),
    "written again": lambda run: (run / "x").write_text("54321"),
    "gone": lambda run: (run / "x").unlink(),
    "a link": lambda run: ((run / "x").unlink(), (run / "x").symlink_to("/etc/passwd")),
    "a FIFO": lambda run: ((run / "x").unlink(), os.mkfifo(run / "x")),
    "of another mode": lambda run: os.chmod(run / "x", 0o600),
    "in a folder that is a link": lambda run: ((run / "in").rename(run.parent / "away"), (run / "in").symlink_to("../away")),
    "beside a new file": lambda run: (run / "in/new").write_text(""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_since_it_was_listed_is_refused_and_leaves_nothing(tmp_path, change):
    run = plant(tmp_path / "run", {"x": "12345", "in": {"y": "y"}})
    os.utime(run / "x", ns=(0, 10**18))
    with pytest.raises(Refused):
        pack(tmp_path, folder(tmp_path), between=lambda: CHANGES[change](run))
    assert left_in(tmp_path / "archive") == []


def test_a_file_that_changes_while_it_is_read_is_refused_even_where_its_mtime_is_forged(tmp_path):
    run = plant(tmp_path / "run", {"x": bytes(3 * 2**20)})
    when = os.stat(run / "x").st_mtime_ns

    def change(_: int) -> None:
        with open(run / "x", "r+b") as file:
            file.write(b"changed")
        os.utime(run / "x", ns=(0, when))

    with pytest.raises(Changed, match="'x' changed while it was read"):
        pack(tmp_path, folder(tmp_path), progress=change)
    assert left_in(tmp_path / "archive") == []


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    run = plant(tmp_path / "run", {"x": bytes(3 * 2**20)})
    with pytest.raises(Changed, match="longer"):
        pack(tmp_path, folder(tmp_path), progress=lambda _: os.truncate(run / "x", 4 * 2**20))
    assert left_in(tmp_path / "archive") == []


def test_a_file_of_nothing_but_holes_holds_no_cleanup_up_for_days(tmp_path):
    run = plant(tmp_path / "run", {"x": "1"})
    os.truncate(run / "x", 2**41)
    with pytest.raises(Refused, match="holds 2.0 TiB, of which .* KiB are on the disk"):
        pack(tmp_path, folder(tmp_path))
    assert left_in(tmp_path / "archive") == []


@pytest.mark.parametrize("thing", [None, Path("/etc/passwd")])
def test_a_run_with_links_or_FIFOs_in_it_is_not_archived(tmp_path, thing):
    plant(tmp_path / "run", {"x": "1", "odd": thing})
    with pytest.raises(Refused, match="'odd' is neither a file nor a folder"):
        pack(tmp_path, folder(tmp_path))
    assert left_in(tmp_path / "archive") == []


def test_reading_for_an_archive_does_not_change_when_a_file_was_last_read(tmp_path):
    run = plant(tmp_path / "run", {"x": "1"})
    os.utime(run / "x", ns=(10**18, 2 * 10**18))
    pack(tmp_path, folder(tmp_path))
    assert os.stat(run / "x").st_atime_ns == 10**18


def test_no_archive_is_written_over_another(tmp_path):
    plant(tmp_path / "run", TREE)
    written = pack(tmp_path, folder(tmp_path))
    with pytest.raises(Refused, match="already"):
        pack(tmp_path, folder(tmp_path))
    assert archive.verify(folder(tmp_path), "one", written.manifest_sha256) == written


def test_an_archive_that_reads_wrongly_after_it_was_written_never_exists(tmp_path):
    """The disk turns a bit between writing and reading."""
    plant(tmp_path / "run", {"x": os.urandom(100_000)})

    def rot() -> None:
        with open(tmp_path / "archive/.one.part", "r+b") as file:
            file.seek(5_000)
            file.write(bytes([file.read(1)[0] ^ 1]))

    with pytest.raises(Refused, match="reads wrongly"):
        pack(tmp_path, Rotting(os.fspath(tmp_path / "archive"), rot))
    assert left_in(tmp_path / "archive") == []


@pytest.mark.parametrize("where", [10, 5_000, -30, -1])
def test_an_archive_in_which_one_bit_turned_is_broken(tmp_path, where):
    plant(tmp_path / "run", {"x": os.urandom(10_000)})
    written = pack(tmp_path, folder(tmp_path))
    data = bytearray((tmp_path / "archive/one.tar.zst").read_bytes())
    data[where] ^= 1
    (tmp_path / "archive/one.tar.zst").write_bytes(data)
    found = archive.verify(folder(tmp_path), "one", written.manifest_sha256)
    assert isinstance(found, Broken) and found.reason


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:-1], "ends too early|not the one"),
        (lambda data: data[:40], "ends too early"),
        (lambda data: b"", "ends too early"),
        (lambda data: data + b"x", "not the one|cannot be decompressed"),
        (lambda data: data + data, "not the one|more in it"),
        (lambda data: b"no zstd at all", "cannot be decompressed"),
    ],
)
def test_an_archive_that_is_cut_or_longer_is_broken(tmp_path, spoil, why):
    plant(tmp_path / "run", TREE)
    pack(tmp_path, folder(tmp_path))
    file = tmp_path / "archive/one.tar.zst"
    file.write_bytes(spoil(file.read_bytes()))
    found = archive.verify(folder(tmp_path), "one")
    assert isinstance(found, Broken) and re.search(why, found.reason)


def test_a_shallow_look_reads_the_manifest_only_and_still_misses_an_archive(tmp_path):
    plant(tmp_path / "run", TREE)
    written = pack(tmp_path, folder(tmp_path))
    assert archive.verify(folder(tmp_path), "one", written.manifest_sha256, deep=False) == written
    (tmp_path / "archive/one.tar.zst").unlink()
    assert archive.verify(folder(tmp_path), "one", deep=False) == Broken("one", f"there is no one.tar.zst in {tmp_path}/archive")


def test_an_archive_of_much_takes_little_memory(tmp_path):
    """Python's own, and that of the whole process, buffers of the compressor included."""
    run = plant(tmp_path / "run", {"zeros": ""})
    os.truncate(run / "zeros", 150 * 2**20)
    script = (
        "import resource, sys; from tests.retention.archives import pack, folder; from pathlib import Path; "
        "top = Path(sys.argv[1]); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; pack(top, folder(top)); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    found = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(found.stdout) < 60_000  # KiB


def test_a_writer_that_is_killed_leaves_no_archive_and_the_next_one_goes_on(tmp_path):
    run = plant(tmp_path / "run", {"x": os.urandom(3 * 2**20)})
    script = (
        "import os, sys; from tests.retention.archives import pack, folder; from pathlib import Path; "
        "top = Path(sys.argv[1]); pack(top, folder(top), progress=lambda _: os.kill(os.getpid(), 9))"
    )
    died = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    assert left_in(tmp_path / "archive") == [".one.part"] and folder(tmp_path).names() == []
    written = pack(tmp_path, folder(tmp_path))
    assert archive.verify(folder(tmp_path), "one", written.manifest_sha256) == written
    assert left_in(tmp_path / "archive") == ["one.manifest.json", "one.tar.zst"] and (run / "x").exists()
