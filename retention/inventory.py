"""What was buried under a name: a list beside the grave, written before the run's folder is moved.

By it a grave says what changed in it since, a purge deletes nothing that is not on it, and a run
can be brought back even where the database is lost.  Device numbers are not compared: they may
be others after a reboot; nor are inode numbers where the file system gives them out anew.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from retention.files import Entry, Refused, closing, digest, kind_of

FORMAT = b"trainmon grave 1"
LIST, RESERVE = b".list", b".reserve"
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: File systems that may number their files anew, at a mount or at any time: FUSE (sshfs, virtiofs, buckets), overlay, SMB,
#: FAT, exFAT, VirtualBox.
RENUMBERING: Final = {0x65735546, 0x794C7630, 0xFF534D42, 0xFE534D42, 0x4D44, 0x2011BAB0, 0x786F4256}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The path that a run had below its root, and what lay there, the folder itself first."""

    path: bytes
    entries: tuple[Entry, ...]
    #: Whether a file keeps its inode number where this lies.
    numbered: bool = True

    @property
    def inode(self) -> int:
        """That of the run's folder."""
        return self.entries[0].inode

    @property
    def digest(self) -> str:
        """As it was confirmed."""
        return digest(self.entries)

    def changes(self, entries: Iterable[Entry]) -> list[Entry]:
        """What is new or different now, then what is missing."""
        now, listed = {entry.path: entry for entry in entries}, {entry.path: self._facts(entry) for entry in self.entries}
        different = [entry for path, entry in now.items() if listed.get(path) != self._facts(entry)]
        return different + [entry for entry in self.entries if entry.path not in now]

    def same(self, one: Entry, other: Entry) -> bool:
        """Whether two entries of one path are one thing; of a folder, the time changes as it is emptied."""
        facts = (one.size, one.mtime_ns) == (other.size, other.mtime_ns) or one.kind == "folder"
        return facts and one.mode == other.mode and (one.inode == other.inode or not self.numbered)

    def _facts(self, entry: Entry) -> tuple[int, ...]:
        """What makes an entry the same; of the run's folder, some file systems touch the time as it moves."""
        return (entry.inode * self.numbered, entry.mode, *((entry.size, entry.mtime_ns) if entry.path else ()))

    def write(self, trash: int, name: bytes) -> None:
        """Put the list where the grave will be, on disk before this returns; Refused where it has no room."""
        rows = [b"%d %d %d %d %d %d %d %s" % (*_numbers(entry), entry.path) for entry in self.entries]
        body = b"\0".join([FORMAT, self.path, *rows, b""])
        body += hashlib.sha256(body).hexdigest().encode()
        if not _written(trash, name + LIST, body):
            remove(trash, RESERVE)
            if not _written(trash, name + LIST, body):
                raise Refused("the volume has no room for the list of what is buried: free some kilobytes first")

    @classmethod
    def read(cls, trash: int, name: bytes) -> Inventory:
        """The list beside a grave; FileNotFoundError without one, Refused for a damaged one."""
        with open(os.open(name + LIST, READ, dir_fd=trash), "rb") as file:
            data = file.read()
        body, _, told = data.rpartition(b"\0")
        if hashlib.sha256(body + b"\0").hexdigest().encode() != told or not body.startswith(FORMAT + b"\0"):
            raise Refused(f"the list of what was buried as {name.decode()} is damaged")
        _, path, *rows = body.split(b"\0")
        return cls(path, tuple(_entry(row) for row in rows), _numbered(trash))


def remove(folder: int, name: bytes) -> None:
    """Delete one file of an open folder, if it is there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _written(trash: int, name: bytes, data: bytes) -> bool:
    """Whether there was room for a file; without it, none is left."""
    try:
        with closing(os.open(name, WRITE, 0o600, dir_fd=trash)) as fd:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
    except OSError as error:
        remove(trash, name)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


def _numbers(entry: Entry) -> tuple[int, int, int, int, int, int, int]:
    return entry.device, entry.inode, entry.size, entry.mtime_ns, entry.mode, entry.links, entry.blocks


def _entry(row: bytes) -> Entry:
    *numbers, path = row.split(b" ", 7)
    device, inode, size, mtime_ns, mode, links, blocks = map(int, numbers)
    return Entry(path, kind_of(mode), device, inode, size, mtime_ns, mode, links, blocks)



def _numbered(fd: int) -> bool:
    """Whether files keep their inode numbers on the file system of an open folder, as far as its kind tells."""
    found = ctypes.create_string_buffer(256)
    _libc.fstatfs(fd, found)
    return ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF not in RENUMBERING
