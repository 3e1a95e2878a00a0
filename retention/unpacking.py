"""Bringing a run back from its archive: built up in the trash of its root, checked to the last byte, then renamed.

Until then nothing is visible in the root, and nothing is ever put over something.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from retention.archive import Progress, Verified, follow, nobody, opened, verified
from retention.destinations import Destination, failure
from retention.files import (
    FLAGS,
    Entry,
    Gone,
    Refused,
    closing,
    inside_of,
    lies,
    listing,
    move,
    open_parent,
    open_root,
    parts,
    shown,
)
from retention.graves import make_folders
from retention.manifest import Item, Manifest
from retention.tape import Damaged, Sink, Tape
from retention.trash import open_trash, trash_of
from retention.walk import Walk, cleared

#: What no file that comes back may be: whoever restores would lend it their own rights.
SET_ID = 0o6000
#: Of the folders in the trash in which runs are built up.
PREFIX = b"restore-"


def restore(
    to: Destination, name: str, root: bytes | str, path: bytes, expected: str = "", progress: Progress | None = None,
) -> Verified:
    """Bring a run's folder back, at ``path`` below ``root``: content, modes and times as they were archived.

    ``expected`` is the digest of the manifest as the database has it.  Refused where something lies there,
    where the archive is not what it should be, and where there is no room.
    """
    above = parts(path)[:-1]
    sealed, manifest = opened(to, name, expected)
    _refuse_existing(root, path)
    with _workshop(root) as (trash, workshop, fd):
        _refuse_without_room(fd, manifest)
        with to.open(name) as file, Tape(file) as tape, Rebuilt(fd, progress or nobody) as rebuilt:
            try:
                follow(tape, sealed, manifest, rebuilt.begin)
            except Damaged as error:
                raise Refused(f"the archive {name} is damaged: {error}") from None
            rebuilt.finish(manifest.items)
        make_folders(root, above)
        with open_parent(root, path) as (parent, last):
            _reveal(trash, workshop, parent, last, path)
            _settle(fd, manifest.items[0])
            os.fsync(parent)
    return verified(name, sealed, manifest)


class Rebuilt:
    """A folder in which the files of an archive appear, one after the other."""

    def __init__(self, fd: int, tell: Progress) -> None:
        self.walk, self.tell = Walk(fd), tell
        self.file: int | None = None
        self.item: Item | None = None

    def __enter__(self) -> Rebuilt:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.file is not None:
            os.close(self.file)
        self.walk.descent.close()

    def begin(self, item: Item) -> Sink:
        """Make a folder, or a file and what takes its content; the one before is whole."""
        self._end()
        if not item.where:
            return _drop
        above, name = self.walk.beside(item.where)
        if item.kind == "folder":
            os.mkdir(name, 0o700, dir_fd=above)
            return _drop
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.file, self.item = os.open(name, flags, 0o600, dir_fd=above), item
        return self._take

    def finish(self, items: list[Item]) -> None:
        """Folders get their modes and times when nothing in them changes any more, the deepest first."""
        self._end()
        for item in reversed(items):
            if item.kind == "folder" and item.where:
                above, name = self.walk.beside(item.where)
                with closing(os.open(name, FLAGS, dir_fd=above)) as fd:
                    _settle(fd, item)
        _settle(self.walk.to(b""), items[0], writable=True)

    def _take(self, block: memoryview) -> None:
        assert self.file is not None
        left = block
        while left:
            left = left[os.write(self.file, left) :]
        self.tell(len(block))

    def _end(self) -> None:
        if self.file is None or self.item is None:
            return
        try:
            _settle(self.file, self.item)
        finally:
            os.close(self.file)
            self.file = self.item = None


def _settle(fd: int, item: Item, *, writable: bool = False) -> None:
    """The mode and time of what is open, on disk; a folder that is yet to be moved stays writable."""
    mode = item.mode & ~SET_ID if item.kind == "file" else item.mode
    os.fchmod(fd, mode | 0o700 if writable else mode)
    os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))
    os.fsync(fd)


def _drop(_: memoryview) -> None:
    """A folder has no content."""


def _refuse_existing(root: bytes | str, path: bytes) -> None:
    try:
        with open_parent(root, path) as (parent, last):
            if lies(parent, last):
                raise Refused(f"something lies at {shown(path)} already; nothing is ever restored over it")
    except Gone:  # the folders above it are made
        os.close(open_root(root))


def _refuse_without_room(fd: int, manifest: Manifest) -> None:
    found = os.fstatvfs(fd)
    need = sum(-(-item.size // found.f_frsize) for item in manifest.items) * found.f_frsize
    free = found.f_bavail * found.f_frsize
    if need > free:
        raise Refused(f"there is no room: its files need {need:,} bytes, {free:,} are free")


def _reveal(trash: int, workshop: bytes, parent: int, last: bytes, path: bytes) -> None:
    try:
        move(trash, workshop, parent, last)
    except FileExistsError:
        raise Refused(f"something lies at {shown(path)} by now; nothing is ever restored over it") from None


@contextmanager
def _workshop(root: bytes | str) -> Iterator[tuple[int, bytes, int]]:
    """The trash of a root, and in it an empty folder of ours, gone at the end unless it was moved away."""
    name = PREFIX + secrets.token_hex(8).encode()
    try:
        with closing(open_trash(trash_of(root))) as trash:
            _sweep(trash)
            os.mkdir(name, 0o700, dir_fd=trash)
            with closing(os.open(name, FLAGS, dir_fd=trash)) as fd:
                fcntl.flock(fd, fcntl.LOCK_EX)
                try:
                    yield trash, name, fd
                finally:
                    if lies(trash, name):
                        _clear(trash, name, fd)
    except OSError as error:
        raise failure(os.fsdecode(root), error) from error


def _sweep(trash: int) -> None:
    """Remove what restores left that were killed: nobody holds it any more."""
    for name in map(os.fsencode, os.listdir(trash)):
        if not name.startswith(PREFIX):
            continue
        with suppress(FileNotFoundError, BlockingIOError), closing(os.open(name, FLAGS, dir_fd=trash)) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(trash, name, fd)


def _clear(trash: int, name: bytes, fd: int) -> None:
    os.fchmod(fd, 0o700)
    with Walk(fd) as walk:
        waiting = [b""]
        while waiting:
            above = waiting.pop()
            folders = [entry for entry in inside_of(walk.to(above), Entry.of(above, os.fstat(fd))) if entry.kind == "folder"]
            for folder in folders:  # as they were archived, we might not be allowed to enter them
                os.chmod(folder.path.rpartition(b"/")[2], 0o700, dir_fd=walk.to(above))
            waiting += [folder.path for folder in folders]
    os.lseek(fd, 0, os.SEEK_SET)  # btrfs shows a descriptor only what was there when it was opened or rewound
    cleared(fd, listing(fd))
    os.rmdir(name, dir_fd=trash)
