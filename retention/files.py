"""What lies below a run's folder, seen through directory descriptors: nothing is followed, nothing is read.

A path is opened with openat2(2): no symlink, no mount point (bind mounts included) and no ``..``
lies on the way.  A tree is walked with one descriptor that goes down and
up again, so its depth is bounded by memory alone.  No Django here.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from runs.readers.tree import DIRECTORY_FLAGS, TRASH

#: Bytes of paths in one listing: what bounds its memory, however deep or wide the tree is.
MOST = 256 * 2**20
SYS_OPENAT2: Final = 437
#: Bytes of a path that one system call takes, its end included (PATH_MAX).
LONGEST: Final = 4096
RENAME_NOREPLACE: Final = 1
#: Neither mount points, nor symlinks of any kind, nor anything that is not below.
RESOLVE: Final = 0x01 | 0x02 | 0x04 | 0x08
FLAGS: Final = DIRECTORY_FLAGS | os.O_CLOEXEC
HOW: Final = struct.pack("QQQ", FLAGS, 0, RESOLVE)
#: The same for a thing of any kind, which is not opened by that.
ASKING: Final = struct.pack("QQQ", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, RESOLVE)

#: How the names of files are bytes.
ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
KINDS: Final = {stat.S_IFREG: "file", stat.S_IFDIR: "folder"}

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """Why something must not be touched, in words for people."""


class Gone(Refused):
    """There is nothing where something should be."""


class Unreachable(Refused):
    """Storage that does not answer now: nothing is known of what lies there."""


class Entry(NamedTuple):
    """A file, folder or other thing as one stat shows it.

    ``path`` is relative to the run's folder, ``b""`` for the folder itself; ``kind`` is "file", "folder" or
    "other" (symlinks, FIFOs, sockets, devices); ``blocks`` are of 512 bytes.  A tuple: a plan makes 100,000 of them.
    """

    path: bytes
    kind: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    mode: int
    links: int
    blocks: int

    @classmethod
    def of(cls, path: bytes, seen: os.stat_result) -> Entry:
        """The entry that a stat describes."""
        mode = seen.st_mode
        # past the named fields of __new__: half the time, and there are many
        return tuple.__new__(cls, (
            path, KINDS.get(mode & 0o170000, "other"), seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, mode,
            seen.st_nlink, seen.st_blocks))


def kind_of(mode: int) -> str:
    """What a mode says that a thing is."""
    return KINDS.get(mode & 0o170000, "other")


def odd(mode: int) -> str:
    """What a thing is that is neither a file nor a folder, for people."""
    return {stat.S_IFLNK: "a symlink", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")


class Descent:
    """One descriptor that goes down a tree and up again; it never leaves the folder where it began."""

    def __init__(self, fd: int) -> None:
        self.fd = os.open(".", FLAGS, dir_fd=fd)
        self._above: list[tuple[int, int]] = []

    def down(self, name: bytes) -> os.stat_result:
        """Go into a folder of this one, and say what it is; OSError or Refused where it cannot be entered."""
        here = os.fstat(self.fd)
        self._go(below(self.fd, name))
        self._above.append((here.st_dev, here.st_ino))
        return os.fstat(self.fd)

    def up(self) -> None:
        """Go back to the folder above, which must still be the one that we came from."""
        self._go(os.open("..", FLAGS, dir_fd=self.fd))
        here = os.fstat(self.fd)
        if (here.st_dev, here.st_ino) != self._above.pop():
            raise Refused("a folder was moved away while it was read")

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)

    def _go(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


@contextmanager
def open_folder(root: bytes | str, path: bytes) -> Iterator[int]:
    """A descriptor of the folder ``path`` strictly below ``root``; Refused where it is not plainly one."""
    parts(path)
    with closing(open_root(root)) as top:
        fd = entered(top, path, path)
    with closing(fd):
        yield fd


def is_file(root: bytes | str, path: bytes) -> bool:
    """Whether a regular file lies there, and no link leads to it."""
    with suppress(Refused, OSError), open_parent(root, path) as (parent, name):
        return kind_of(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode) == "file"
    return False


@contextmanager
def open_parent(root: bytes | str, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor of the folder above ``path``, which may be the root, and the last component's name."""
    *above, name = parts(path)
    fd = open_root(root)
    if above:
        with closing(fd) as top:
            fd = entered(top, b"/".join(above), path)
    with closing(fd):
        yield fd, name


def open_root(root: bytes | str) -> int:
    """A descriptor of a source's root; that may be a symlink: an admin wrote it."""
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Gone(f"the root {shown(os.fsencode(root))} is not there") from None
    except OSError as error:
        raise Refused(f"the root {shown(os.fsencode(root))} cannot be opened: {error.strerror}") from None


def parts(path: bytes) -> list[bytes]:
    """The components of a path that stays below its root; Refused for any other, and for the root itself."""
    components = path.split(b"/")
    if path in (b"", b"."):
        raise Refused("the root itself is never touched")
    if b"\0" in path or any(one in (b"", b".", b"..") for one in components):
        raise Refused(f"{shown(path)} is not a plain path below a root")
    if TRASH in components:
        raise Refused(f"{shown(path)} lies in the trash")
    return components


def below(fd: int, path: bytes, how: bytes = HOW) -> int:
    """A descriptor of the folder ``path`` below an open one; OSError: EXDEV for a mount point, ELOOP for a symlink on the way."""
    if len(path) >= LONGEST and (cut := path.rfind(b"/", 0, LONGEST)) > 0:
        with closing(below(fd, path[:cut])) as half:
            return below(half, path[cut + 1:], how)
    opened: int = _libc.syscall(SYS_OPENAT2, fd, ctypes.c_char_p(path), how, ctypes.c_size_t(len(how)))
    if opened >= 0:
        return opened
    if ctypes.get_errno() != errno.ENOSYS:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return _below_by_device(fd, path)


def _below_by_device(fd: int, path: bytes) -> int:
    """The same before Linux 5.6, where only another device tells a mount point."""
    name, _, rest = path.partition(b"/")
    opened = os.open(name, FLAGS, dir_fd=fd)
    if os.fstat(opened).st_dev == os.fstat(fd).st_dev:
        if not rest:
            return opened
        with closing(opened):
            return _below_by_device(opened, rest)
    os.close(opened)
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """The descriptor, closed at the end."""
    try:
        yield fd
    finally:
        os.close(fd)


def move(source: int, name: bytes, target: int, new: bytes) -> None:
    """Rename ``name`` of one open folder to ``new`` in another, never over something: FileExistsError then."""
    if _libc.renameat2(source, ctypes.c_char_p(name), target, ctypes.c_char_p(new), RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    if lies(target, new):  # NFS and others know no such flag; there a folder can replace nothing but an empty one
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)


def lies(fd: int, name: bytes) -> bool:
    """Whether an open folder holds something of this name, a dangling link too."""
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def entered(parent: int, way: bytes, path: bytes) -> int:
    """A descriptor of the folder that ``way`` leads to, called ``path`` in the words where that is refused."""
    try:
        fd = below(parent, way)
    except OSError as error:
        raise refusal(path, error) from None
    if os.fstat(fd).st_dev == os.fstat(parent).st_dev:
        return fd
    os.close(fd)
    raise refusal(path, OSError(errno.EXDEV, ""))


def listing(fd: int) -> list[Entry]:
    """The open folder and everything below it, sorted by path: one fstatat each, no body read."""
    top = Entry.of(b"", os.fstat(fd))
    found = _inside(fd, top, 0)
    if folders := [entry for entry in found if entry.kind == "folder"]:
        found += _deeper(fd, folders, sum(len(entry.path) for entry in found))
    return [top, *sorted(found)]


def _deeper(fd: int, folders: list[Entry], length: int) -> list[Entry]:
    """What lies in these folders of an open one, and below them, in no order; paths of so many bytes are known already."""
    descent, found, waiting = Descent(fd), list[Entry](), [folders]
    try:
        while waiting:
            if here := _next(descent, waiting):
                inside = _inside(descent.fd, here, length)
                length += sum(len(entry.path) for entry in inside)
                found += inside
                waiting.append([entry for entry in inside if entry.kind == "folder"])
    finally:
        descent.close()
    return found


def _inside(fd: int, folder: Entry, length: int) -> list[Entry]:
    found = inside_of(fd, folder)
    if length + sum(len(entry.path) for entry in found) > MOST:
        raise Refused(f"{shown(folder.path)} and what lies beside it are too much to list")
    return found


def _next(descent: Descent, waiting: list[list[Entry]]) -> Entry | None:
    """Enter the next folder of this level; None where the level is done, and we are on the one above."""
    if waiting[-1]:
        folder = waiting[-1].pop()
        try:
            seen = descent.down(folder.path.rpartition(b"/")[2])
        except OSError as error:
            raise refusal(folder.path, error) from None
        if (seen.st_dev, seen.st_ino) != (folder.device, folder.inode):
            raise Refused(f"{shown(folder.path)} was replaced while it was read")
        return folder
    waiting.pop()
    if waiting:
        descent.up()
    return None


def inside_of(fd: int, folder: Entry) -> list[Entry]:
    """What one open folder holds, in no order."""
    found = []
    above = folder.path + b"/" if folder.path else b""
    made, of = Entry.of, os.stat
    try:
        for name in os.listdir(fd):
            found.append(made(above + name.encode(ENCODING, ERRORS), seen := of(name, dir_fd=fd, follow_symlinks=False)))
            if seen.st_dev != folder.device:
                _refuse_mounted(fd, found[-1])
    except OSError as error:
        raise refusal(folder.path, error) from None
    return found


def _refuse_mounted(fd: int, entry: Entry) -> None:
    """Another device than that of its folder: in an overlay the files of a layer have that of the layer, else it is a mount."""
    with suppress(OSError):
        if entry.kind != "folder":
            return os.close(below(fd, entry.path.rpartition(b"/")[2], ASKING))
    raise refusal(entry.path, OSError(errno.EXDEV, ""))


def digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over what each entry is: a changed, added or missing one changes it."""
    summed = hashlib.sha256()
    for path, _, device, inode, size, mtime_ns, mode, _, _ in sorted(entries):
        summed.update(b"%s\0%d %d %d %d %d\n" % (path, inode, device, size, mtime_ns, mode))
    return summed.hexdigest()


def on_disk(entries: Iterable[Entry]) -> int:
    """The bytes that deletion frees: those of all but folders that have no other link outside of the list."""
    files = [entry for entry in entries if entry.kind != "folder"]
    several = [entry for entry in files if entry.links > 1]
    if not several:
        return 512 * sum([entry.blocks for entry in files])
    names = Counter((entry.device, entry.inode) for entry in several)
    last = {(entry.device, entry.inode): entry for entry in several if entry.links <= names[entry.device, entry.inode]}
    return 512 * (sum(entry.blocks for entry in files if entry.links <= 1) + sum(entry.blocks for entry in last.values()))


def shown(path: bytes) -> str:
    """A path for people, logs and the database: quoted, nothing in it but what can be printed; its end where it is long."""
    text = path[-2000:].decode("utf-8", "backslashreplace")
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return f"'{text}'" if len(text) <= 300 else f"'\u2026{text[-300:]}'"


def refusal(path: bytes, error: OSError) -> Refused:
    """The words for a path that could not be opened."""
    where = shown(path) if path else "the run's folder"
    if error.errno == errno.ENOENT:
        return Gone(f"{where} is not there")
    if error.errno == errno.EXDEV:
        return Refused(f"{where} is a mount point: another file system begins there")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return Refused(f"{where} is no folder, or a symlink leads to it")
    return Refused(f"{where} cannot be opened: {error.strerror}")
