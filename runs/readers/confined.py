"""Opening a file strictly inside a root: no symlink is followed, nothing is created.

Each component is opened relative to the directory above it with O_NOFOLLOW, so a link
swapped in between scan and reading cannot lead out, and a path may be longer than PATH_MAX.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: O_NONBLOCK: opening a FIFO that was swapped in must not wait for a writer.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class NotRegular(OSError):
    """The path names something that is not a regular file."""


@contextmanager
def opened(root: str | bytes, path: bytes) -> Iterator[int]:
    """A descriptor of the regular file ``path`` (bytes, relative) below ``root``, for reading.

    Raises OSError (ENOENT, EACCES, ELOOP for a symlink on the way), NotRegular for a FIFO,
    device or directory, ValueError for a path that could leave the root.
    """
    fd = _open(root, path)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotRegular(f"{path!r} is not a regular file")
        yield fd
    finally:
        os.close(fd)


def stat_inside(root: str | bytes, path: bytes) -> os.stat_result | None:
    """What ``path`` names now, without following links; None where it is gone."""
    *folders, name = _parts(path)
    try:
        above = _folder(root, folders)
    except FileNotFoundError:
        return None
    try:
        return os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return None
    finally:
        os.close(above)


@contextmanager
def folder(root: str | bytes, path: bytes) -> Iterator[int]:
    """A descriptor of the folder ``path`` below ``root``; b"" is the root itself."""
    fd = _folder(root, _parts(path) if path else [])
    try:
        yield fd
    finally:
        os.close(fd)


def listed(root: str | bytes, path: bytes) -> Iterator[tuple[bytes, tuple[int, float]]]:
    """The regular files of the folder ``path``: name, size and mtime; links are not followed."""
    with folder(root, path) as fd, os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield os.fsencode(entry.name), (found.st_size, found.st_mtime)


def _open(root: str | bytes, path: bytes) -> int:
    *folders, name = _parts(path)
    above = _folder(root, folders)
    try:
        return os.open(name, FILE, dir_fd=above)
    finally:
        os.close(above)


def _folder(root: str | bytes, folders: list[bytes]) -> int:
    # the root itself may be a link: an admin named it
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in folders:
        try:
            below = os.open(name, DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd


def _parts(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    if not path or any(part in (b"", b".", b"..") for part in parts) or b"\0" in path:
        raise ValueError(f"{path!r} is not a plain path below a root")
    return parts
