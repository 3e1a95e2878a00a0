from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from retention import archive
from retention.archive import Broken
from retention.files import Refused
from retention.manifest import Item, decoded
from retention.unpacking import restore
from tests.retention.archives import a_file, a_folder, folder, forge, member, pack
from tests.retention.trees import plant, seen

GOOD = [a_folder(), a_file(b"x", b"good")]


def refused(tmp_path: Path, expected: str = "") -> str:
    """Neither verified nor restored, and nothing of it is anywhere; why."""
    plant(tmp_path / "root", {"kept": "kept"})
    before = seen(tmp_path / "root")
    found = archive.verify(folder(tmp_path), "one", expected)
    with pytest.raises(Refused) as raised:
        restore(folder(tmp_path), "one", os.fspath(tmp_path / "root"), b"run", expected)
    assert seen(tmp_path / "root") == before
    assert sorted(os.listdir(tmp_path)) in (["archive", "root"], [".trainmon-trash", "archive", "root"])
    assert list(tmp_path.glob(".trainmon-trash/restore-*")) == []
    assert isinstance(found, Broken) and found.reason in str(raised.value)
    return found.reason


def test_a_forged_archive_that_is_in_order_is_restored_else_the_others_would_prove_nothing(tmp_path):
    forge(tmp_path / "archive", GOOD, contents={b"x": b"good"})
    plant(tmp_path / "root", {})
    restore(folder(tmp_path), "one", os.fspath(tmp_path / "root"), b"run")
    assert (tmp_path / "root/run/x").read_text() == "good"


@pytest.mark.parametrize(
    "where", [b"..", b"../x", b"a/../../x", b"/etc/passwd", b"a//b", b"./x", b"x/", b"a\0b", b"\0", b"a/.", b"n" * 256]
)
def test_a_manifest_that_names_a_path_outside_is_refused(tmp_path, where):
    forge(tmp_path / "archive", [a_folder(), a_folder(b"a"), a_file(where)])
    assert "no plain path" in refused(tmp_path)


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([], "does not begin"),
        ([a_file(b"")], "does not begin"),
        ([a_file(b"x"), a_folder()], "does not begin"),
        ([a_folder(), a_file(b"x"), a_file(b"x")], "twice"),
        ([a_folder(), a_folder(b"x"), a_file(b"x")], "twice"),
        ([a_folder(), a_folder()], "no plain path"),
        ([a_folder(), a_file(b"a/x"), a_folder(b"a")], "before its folder"),
        ([a_folder(), a_file(b"a"), a_file(b"a/x")], "before its folder"),
        ([a_folder(), a_file(b"x", sha256="")], "no digest"),
        ([a_folder(), a_file(b"x", sha256="A" * 64)], "no digest"),
        ([a_folder(), Item.at(b"x", kind="folder", mode=0o755, mtime_ns=0, size=1)], "no digest"),
        ([a_folder(), a_file(b"x", mtime_ns=2**63)], "a time"),
        ([a_folder(), a_file(b"x", size=-1)], "damaged"),
        ([a_folder(), a_file(b"x", mode=0o10000)], "damaged"),
        ([a_folder(), Item("x", "link", 0o777, 0)], "damaged"),
        ([a_folder(), Item("not base64!", "file", 0o777, 0, base64=True)], "damaged"),
    ],
)
def test_a_manifest_that_ours_would_never_be_is_refused(tmp_path, items, why):
    forge(tmp_path / "archive", items, stream=b"")
    assert why in refused(tmp_path)


def a_member(name: str, **what: object) -> bytes:
    """A member as tarfile writes it: a link, a device, anything."""
    out = io.BytesIO()
    info = tarfile.TarInfo(name)
    for key, value in what.items():
        setattr(info, key, value)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    return out.getvalue()[: out.tell() // 512 * 512].rstrip(b"\0").ljust(512, b"\0")


ODD = {
    "above": a_member("files/../../escaped"),
    "absolute": a_member("/etc/escaped"),
    "symlink": a_member("files/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": a_member("files/x", type=tarfile.LNKTYPE, linkname="../../kept"),
    "device": a_member("files/x", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "FIFO": a_member("files/x", type=tarfile.FIFOTYPE),
    "sparse": a_member("files/x", type=tarfile.GNUTYPE_SPARSE, size=4),
    "the same again": member(GOOD[1], b"good"),
    "a file more": member(a_file(b"more", b"good"), b"good"),
    "a folder more": member(a_folder(b"more")),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", ["before the file", "after it"])
def test_a_member_that_the_manifest_does_not_name_is_refused_whatever_it_is(tmp_path, odd, place):
    good = member(GOOD[1], b"good")
    stream = ODD[odd] + good if place == "before the file" else good + ODD[odd]
    forge(tmp_path / "archive", GOOD, member(GOOD[0]) + stream)
    assert "not the one that the manifest names" in refused(tmp_path)


def test_a_file_of_another_content_or_size_than_the_manifest_says_is_refused(tmp_path):
    forge(tmp_path / "archive", GOOD, contents={b"x": b"evil"})
    assert "not what was archived" in refused(tmp_path)
    longer = a_file(b"x", b"good", size=600)
    forge(tmp_path / "archive", GOOD, member(GOOD[0]) + member(longer, b"good" + bytes(596)))
    assert "not the one" in refused(tmp_path)


def a_bomb(tar: bytes) -> bytes:
    """A gigabyte of zeros behind the archive, in a hundred kilobytes."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    out = [compressor.compress(tar)]
    zeros = bytes(2**24)
    out += [compressor.compress(zeros) for _ in range(64)]
    return b"".join([*out, compressor.flush()])


def test_bytes_that_the_manifest_does_not_promise_are_not_even_decompressed(tmp_path):
    forge(tmp_path / "archive", GOOD, contents={b"x": b"good"}, compress=a_bomb)
    assert "more in it" in refused(tmp_path)


def test_a_frame_that_asks_for_much_memory_is_refused(tmp_path):
    wide = zstandard.ZstdCompressionParameters(window_log=27, compression_level=3)

    def compress(tar: bytes) -> bytes:
        writer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
        return writer.compress(tar) + writer.flush()

    forge(tmp_path / "archive", GOOD, contents={b"x": b"good"}, compress=compress)
    assert "memory" in refused(tmp_path)


def test_files_that_cannot_fit_are_refused_before_anything_is_written(tmp_path):
    forge(tmp_path / "archive", [a_folder(), a_file(b"x", size=2**60)], stream=b"")
    plant(tmp_path / "root", {})
    with pytest.raises(Refused, match="there is no room"):
        restore(folder(tmp_path), "one", os.fspath(tmp_path / "root"), b"run")


TAMPERING: list[Callable[[bytes], bytes]] = [
    lambda sealed: sealed.replace(b'"mode":', b'"mode": '),
    lambda sealed: sealed.replace(b'"mode":420', b'"mode":511'),
    lambda sealed: sealed.replace(b'"path":"x"', b'"path":"y"'),
    lambda sealed: b"",
    lambda sealed: sealed[:-1],
    lambda sealed: sealed + b"{}",
    lambda sealed: b"[" * 100_000,
    lambda sealed: b"\xff\xfe",
    lambda sealed: sealed.replace(b'"format":1', b'"format":2'),
    lambda sealed: sealed.replace(b'{"size"', b'{"extra":1,"size"', 1),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("number", range(len(TAMPERING)))
def test_a_tampered_manifest_is_refused_with_the_digest_that_we_keep_and_without(tmp_path, number, known):
    expected = forge(tmp_path / "archive", GOOD, contents={b"x": b"good"})
    file = tmp_path / "archive/one.manifest.json"
    file.write_bytes(TAMPERING[number](file.read_bytes()))
    assert refused(tmp_path, expected if known else "")


def test_an_archive_exchanged_together_with_its_manifest_is_known_by_the_digest_that_we_keep(tmp_path):
    plant(tmp_path / "run", {"x": "mine"})
    written = pack(tmp_path, folder(tmp_path))
    (tmp_path / "run/x").unlink()
    (tmp_path / "run").rmdir()
    forge(tmp_path / "archive", GOOD, contents={b"x": b"good"})
    assert "not the one that was written" in refused(tmp_path, written.manifest_sha256)


KEYS = st.sampled_from(["format", "about", "registry", "items"])
THINGS = st.none() | st.integers() | st.text(max_size=20)


@settings(max_examples=60, deadline=None, database=None)
@given(st.binary(max_size=100) | st.dictionaries(KEYS, THINGS | st.lists(THINGS)).map(
    lambda inside: msgspec.json.encode({"size": 1, "sha256": "0" * 64, "manifest": inside})))
def test_whatever_a_manifest_holds_it_is_refused_in_words(data):
    with pytest.raises(Refused):
        decoded(data)
