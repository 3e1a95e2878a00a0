"""One run as one archive: tar and zstd, each byte of it read again and checked before it counts.

In this order: what the registry knows of the run (``registry/00000.jsonl`` and so on), its folders and files below
``files/``, and ``manifest.json``, which also lies beside the archive with the archive's own digest.  A few blocks
of 1 MiB are in memory at a time, and a line of the manifest for each file.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import zstandard

from retention import tarred
from retention.destinations import Destination, Draft, at
from retention.files import Entry, Refused, Unreachable, refusal, shown
from retention.manifest import FORMAT, Item, Manifest, Part, Sealed, decoded, digest, plain_header
from retention.tape import BLOCK, Damaged, Sink, Tape
from retention.walk import Walk, in_tree_order
from runs.readers.confined import FILE
from runs.units import size

MANIFEST: Final = b"manifest.json"
#: Bytes of a member with lines of the registry, one line aside.
PART: Final = 8 * BLOCK
#: So many bytes of which the disk has less than a thousandth are nobody's log.
SPARSE: Final = 2**40
#: Each thread of the compressor has its own buffers.
THREADS: Final = min(os.cpu_count() or 1, 8)
#: As `zstd -3` does it, in jobs of 1 MiB instead of 8: as small, in 0.6 of its CPU time, with less memory.
ZSTD: Final = zstandard.ZstdCompressionParameters.from_level(
    3, threads=THREADS, job_size=BLOCK, overlap_log=3, write_checksum=True
)

Progress = Callable[[int], None]


class Changed(Refused):
    """A file is not, or no longer, what the plan saw."""


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive that was read to its end: all as its manifest says."""

    name: str
    size: int
    sha256: str
    manifest_sha256: str
    files: int
    content: int


@dataclass(frozen=True, slots=True)
class Broken:
    """An archive that cannot be relied on, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Away:
    """An archive of which nothing can be told now, because its storage does not answer."""

    name: str
    reason: str


def write(
    fd: int, entries: Sequence[Entry], registry: Iterable[bytes], to: Destination, name: str, about: dict[str, Any],
    progress: Progress | None = None,
) -> Verified:
    """Archive what ``entries`` list of an open folder; Refused where anything is not as listed, or does not fit.

    ``registry`` are lines for people and for ``runs.loading.load``; ``progress`` is told the bytes of each block
    that was written, and again when it was verified.
    """
    _refuse_others(entries)
    to.refuse_within([f"/proc/self/fd/{fd}"])
    tell = progress or nobody
    with to.new(name) as draft:
        sealed = _packed(fd, in_tree_order(entries), registry, draft, about, tell)
        try:
            with draft.settle() as file, Tape(file) as tape:
                _, manifest = decoded(sealed.encoded())
                follow(tape, sealed, manifest, lambda item: _counted(tell))
        except Damaged as error:
            raise Refused(f"the archive {name} was written, but reads wrongly: {error}") from None
        draft.publish(sealed.encoded())
    return verified(name, sealed, manifest)


def look(url: str, name: str, expected: str, *, deep: bool = True) -> Verified | Broken | Away:
    """Verify an archive where the database says that it lies."""
    try:
        to = at(url)
    except Refused as error:  # its file system is not known to this machine
        return Away(name, str(error))
    return verify(to, name, expected, deep=deep)


def verify(to: Destination, name: str, expected: str = "", *, deep: bool = True, progress: Progress | None = None,
           ) -> Verified | Broken | Away:
    """Read an archive and compare each byte with its manifest, and that with the digest ``expected`` of it.

    Shallow, only the manifest and that the archive is there.
    """
    tell = progress or nobody
    try:
        sealed, manifest = opened(to, name, expected)
        with to.open(name) as file:
            if deep:
                with Tape(file) as tape:
                    follow(tape, sealed, manifest, lambda item: _counted(tell))
    except (Unreachable, OSError) as error:
        return Away(name, str(error))
    except (Refused, Damaged) as error:
        return Broken(name, str(error))
    return verified(name, sealed, manifest)


def opened(to: Destination, name: str, expected: str = "") -> tuple[Sealed, Manifest]:
    """The manifest of an archive; Refused where it is not the one that the caller has the digest of."""
    data = to.sealed(name)
    if expected and digest(data) != expected:
        raise Refused(f"the manifest of {name} is not the one that was written")
    return decoded(data)


def registry(to: Destination, name: str, expected: str = "") -> Iterator[bytes]:
    """The lines of the registry in an archive, each part checked before its first line is given out."""
    _, manifest = opened(to, name, expected)
    with to.open(name) as file, Tape(file) as tape:
        for part in manifest.registry:
            lines = io.BytesIO()
            try:
                tape.expect(part.header())
                tape.body(part.size, part.sha256, lines.write)
            except Damaged as error:
                raise Refused(f"the archive {name} is damaged: {error}") from None
            lines.seek(0)
            yield from lines


def follow(tape: Tape, sealed: Sealed, manifest: Manifest, sink: Callable[[Item], Sink]) -> None:
    """Read a whole archive; ``sink`` is asked for each file and folder what its content is given to."""
    for part in manifest.registry:
        tape.expect(part.header())
        tape.body(part.size, part.sha256)
    for item in manifest.items:
        tape.expect(item.header())
        taker = sink(item)
        if item.kind == "file":
            tape.body(item.size, item.sha256, taker)
    inner = bytes(sealed.manifest)
    tape.expect(plain_header(MANIFEST, len(inner)) + inner + tarred.padding(len(inner)))
    tape.end(sealed.size, sealed.sha256)


# writing


class Tar:
    """The tar stream on its way into a draft: compressed, counted, summed up."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.size, self.summed = draft, 0, hashlib.sha256()
        compressor = zstandard.ZstdCompressor(compression_params=ZSTD)
        self.stream = compressor.stream_writer(self, closefd=False, write_size=BLOCK // 4)  # type: ignore[arg-type]
        self.block = memoryview(bytearray(BLOCK))

    def write(self, data: bytes) -> int:
        """What the compressor gives out."""
        self.size += len(data)
        self.summed.update(data)
        return self.draft.write(data)

    def flush(self) -> None:
        """The compressor asks for it; what is written is on its way already."""

    def add(self, data: bytes | memoryview) -> None:
        """The next bytes of the tar stream."""
        self.stream.write(data)

    def member(self, name: bytes, data: bytes) -> None:
        """A whole member that is no file of the run."""
        self.add(plain_header(name, len(data)))
        self.add(data)
        self.add(tarred.padding(len(data)))

    def end(self, manifest: Manifest) -> Sealed:
        """The manifest, the end, and what is to lie beside the archive."""
        inner = msgspec.json.encode(manifest)
        self.member(MANIFEST, inner)
        self.add(tarred.END)
        self.stream.flush(zstandard.FLUSH_FRAME)
        return Sealed(self.size, self.summed.hexdigest(), msgspec.Raw(inner))


def _packed(
    fd: int, entries: Sequence[Entry], lines: Iterable[bytes], draft: Draft, about: dict[str, Any], tell: Progress,
) -> Sealed:
    tar, items = Tar(draft), []
    parts = [_part(tar, number, data) for number, data in enumerate(_joined(lines))]
    with Walk(fd) as walk:
        for entry in entries:
            items.append(_folder(tar, walk, entry) if entry.kind == "folder" else _file(tar, walk, entry, tell))
    return tar.end(Manifest(FORMAT, about, parts, items))


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines together, up to PART."""
    some, held = [], 0
    for line in lines:
        some.append(line)
        held += len(line)
        if held >= PART:
            yield b"".join(some)
            some, held = [], 0
    if some:
        yield b"".join(some)


def _part(tar: Tar, number: int, data: bytes) -> Part:
    part = Part(f"registry/{number:05}.jsonl", len(data), digest(data))
    tar.member(part.name.encode(), data)
    return part


def _folder(tar: Tar, walk: Walk, entry: Entry) -> Item:
    _expect(entry, walk.to(entry.path))
    item = Item.at(entry.path, kind="folder", mode=stat.S_IMODE(entry.mode), mtime_ns=entry.mtime_ns)
    tar.add(item.header())
    return item


def _file(tar: Tar, walk: Walk, entry: Entry, tell: Progress) -> Item:
    """One file; its digest is known after its content, of which the header says nothing."""
    item = Item.at(entry.path, kind="file", mode=stat.S_IMODE(entry.mode), mtime_ns=entry.mtime_ns, size=entry.size)
    above, name = walk.beside(entry.path)
    try:
        fd = _opened(name, above)
        try:
            changed = _expect(entry, fd)
            tar.add(item.header())
            sha256 = _content(tar, fd, entry, tell)
            if _expect(entry, fd) != changed:
                raise Changed(f"{shown(entry.path)} changed while it was read")
        finally:
            os.close(fd)
    except OSError as error:
        raise refusal(entry.path, error) from None
    tar.add(tarred.padding(entry.size))
    return msgspec.structs.replace(item, sha256=sha256)


def _opened(name: bytes, above: int) -> int:
    """A file for reading that does not notice it, where we may ask for that."""
    try:
        return os.open(name, FILE | os.O_NOATIME, dir_fd=above)
    except PermissionError:
        return os.open(name, FILE, dir_fd=above)


def _content(tar: Tar, fd: int, entry: Entry, tell: Progress) -> str:
    """As many bytes as were listed, and none more."""
    summed, left = hashlib.sha256(), entry.size
    while left:
        read = os.readv(fd, [tar.block[: min(left, BLOCK)]])
        if not read:
            raise Changed(f"{shown(entry.path)} became shorter while it was read")
        summed.update(tar.block[:read])
        tar.add(tar.block[:read])
        left -= read
        tell(read)
    if os.read(fd, 1):
        raise Changed(f"{shown(entry.path)} became longer while it was read")
    return summed.hexdigest()


def _expect(entry: Entry, fd: int) -> int:
    """What is open must be what was listed; returns when anything about it last changed, which nobody can forge."""
    found = os.fstat(fd)
    there = Entry.of(entry.path, found)
    if (there.kind, there.device, there.inode, there.size, there.mtime_ns, there.mode) != (
        entry.kind, entry.device, entry.inode, entry.size, entry.mtime_ns, entry.mode
    ):
        raise Changed(f"{shown(entry.path) if entry.path else 'the folder'} changed since it was listed")
    return found.st_ctime_ns


def _refuse_others(entries: Sequence[Entry]) -> None:
    if not any(entry.path == b"" and entry.kind == "folder" for entry in entries):
        raise Refused("only a folder can be archived")
    for entry in entries:
        if entry.kind not in ("file", "folder"):
            raise Refused(f"{shown(entry.path)} is neither a file nor a folder")
    said, held = sum(entry.size for entry in entries if entry.kind == "file"), 512 * sum(entry.blocks for entry in entries)
    if said > SPARSE and held < said // 1000:
        raise Refused(f"it says that it holds {size(said)}, of which {size(held)} are on the disk: days of reading zeros, "
                      "while every other cleanup waits. Delete its sparse file, or clean up without an archive")


def verified(name: str, sealed: Sealed, manifest: Manifest) -> Verified:
    """What is known of an archive that was read to its end."""
    return Verified(name, sealed.size, sealed.sha256, digest(sealed.encoded()), manifest.files, manifest.size)


def _counted(tell: Progress) -> Sink:
    return lambda block: tell(len(block))


def nobody(_: int) -> None:
    """Nobody wants to know."""
