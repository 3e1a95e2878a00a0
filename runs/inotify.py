"""What happens below a root, as the kernel tells it: Linux's inotify, without following any link.

watchfiles was tried and left: it watches through symlinks, out of the source's root, and one name
that is not UTF-8 stops it for good.  Here directories are opened as ``runs.readers.tree`` does, by
descriptor and O_NOFOLLOW, and watched by that descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass, field

from runs.readers.tree import DIRECTORY_FLAGS, MAX_DEPTH, TRASH, join

MODIFY, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, UNMOUNT, OVERFLOW, IGNORED, ISDIR = 0x400, 0x2000, 0x4000, 0x8000, 0x40000000
ONLYDIR = 0x01000000
WATCHED = MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | ONLYDIR
HEAD = struct.Struct("iIII")
#: Bytes that one look takes from the kernel's queue, which itself is bounded.
LOOK_BYTES = 1 << 18


@dataclass(slots=True)
class Heard:
    """What one look brought: paths of files, relative to the root.

    ``lost``: the kernel's queue was full, so anything may have happened.
    """

    written: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    moved: bool = False
    lost: bool = False


class Unwatched(Exception):
    """There is no inotify for this tree, in words."""


class Inotify:
    """A tree under watch; raises Unwatched where not even its root can be.

    ``short``: why a part of the tree is not watched, "" where all of it is.
    """

    def __init__(self, root: str) -> None:
        self.fd = _start()
        self.paths: dict[int, bytes] = {}
        self.short = ""
        self.root = root
        try:
            top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            os.close(self.fd)
            raise Unwatched(error.strerror) from error
        try:
            here = os.fstat(top)
            self.identity = (here.st_dev, here.st_ino)
            self._watch(top, b"", 0, set())
        finally:
            os.close(top)
        if not self.paths:
            os.close(self.fd)
            raise Unwatched(self.short)

    def close(self) -> None:
        """Give all watches back."""
        os.close(self.fd)

    @property
    def whole(self) -> bool:
        """Whether the root and every directory below it is watched."""
        return not self.short and b"" in self.paths.values()

    def look(self) -> Heard:
        """All that has happened since the last look; does not wait."""
        heard = Heard()
        while True:
            try:
                data = os.read(self.fd, LOOK_BYTES)
            except BlockingIOError:
                return heard
            self._hear(data, heard)
            if len(data) < LOOK_BYTES // 2:
                return heard

    def _hear(self, data: bytes, heard: Heard) -> None:
        at = 0
        while at < len(data):
            wd, mask, _, length = HEAD.unpack_from(data, at)
            name = data[at + HEAD.size : at + HEAD.size + length].rstrip(b"\0")
            at += HEAD.size + length
            if mask & OVERFLOW:
                heard.lost = True
            elif mask & (IGNORED | UNMOUNT):
                heard.moved |= self.paths.pop(wd, None) == b""
            elif name and (folder := self.paths.get(wd)) is not None:
                path = join(folder, name)
                self._directory(path, mask, heard) if mask & ISDIR else self._file(path, mask, heard)

    def _file(self, path: bytes, mask: int, heard: Heard) -> None:
        if mask & (DELETE | MOVED_FROM):
            heard.gone.add(path)
            heard.written.discard(path)
        else:
            heard.written.add(path)
            heard.gone.discard(path)

    def _directory(self, path: bytes, mask: int, heard: Heard) -> None:
        if mask & (DELETE | MOVED_FROM):
            heard.moved = True
            self._forget(path)
            self._enter(path, heard.written)  # two that were exchanged: another one is there already
        elif path.rpartition(b"/")[2] != TRASH:
            heard.moved |= bool(mask & MOVED_TO)
            self._enter(path, heard.written)

    def _enter(self, path: bytes, found: set[bytes]) -> None:
        """Watch a directory that is new here, and name the files that are in it already."""
        opened: list[int] = []
        try:
            opened.append(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC))
            for name in path.split(b"/"):
                opened.append(os.open(name, DIRECTORY_FLAGS, dir_fd=opened[-1]))
            self._watch(opened[-1], path, len(opened) - 1, found)
        except OSError:
            return  # it has gone again, or is none: what follows it is heard, too
        finally:
            for fd in opened:
                os.close(fd)

    def _watch(self, fd: int, path: bytes, depth: int, found: set[bytes]) -> None:
        """Watch an open directory, then all below it: in this order nothing new slips through."""
        wd = _libc().inotify_add_watch(self.fd, b"/proc/self/fd/%d" % fd, WATCHED)
        if wd < 0:
            number = ctypes.get_errno()
            if number != errno.ENOENT:
                self.short = LIMIT if number == errno.ENOSPC else os.strerror(number)
            return
        self.paths[wd] = path
        try:
            with os.scandir(fd) as entries:
                names = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            return
        found.update(join(path, name) for name, is_dir in names if not is_dir)
        for name, is_dir in names:
            if is_dir and name != TRASH and depth < MAX_DEPTH and self.short != LIMIT:
                self._below(fd, name, join(path, name), depth + 1, found)

    def _below(self, parent: int, name: bytes, path: bytes, depth: int, found: set[bytes]) -> None:
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except OSError as error:
            if error.errno == errno.EACCES:  # what we cannot list we cannot read either
                return
            self.short = self.short or ("" if error.errno in GONE else os.strerror(error.errno or 0))
            return
        try:
            self._watch(fd, path, depth, found)
        finally:
            os.close(fd)

    def _forget(self, path: bytes) -> None:
        """A directory has left: its watches would go on under names that are no longer theirs."""
        below = path + b"/"
        for wd in [wd for wd, held in self.paths.items() if held == path or held.startswith(below)]:
            del self.paths[wd]
            _libc().inotify_rm_watch(self.fd, wd)


LIMIT = "fs.inotify.max_user_watches is too small"
#: A directory that went between listing and opening, or was exchanged for something else.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LIBC: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _LIBC:
        _LIBC.append(ctypes.CDLL(None, use_errno=True))
    return _LIBC[0]


def _start() -> int:
    if not sys.platform.startswith("linux"):
        raise Unwatched(f"{sys.platform} has no inotify")
    fd = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        number = ctypes.get_errno()
        raise Unwatched("fs.inotify.max_user_instances is too small" if number == errno.EMFILE else os.strerror(number))
    return fd
