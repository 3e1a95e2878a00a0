"""Whole files from a machine without a shared volume: a piece at a time, from where the last one ended."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass

from runs import pushed
from runs.models import Source
from runs.readers import confined

#: Bytes before the end whose hash tells a sender whether this is the beginning of its file.
TAIL = 64 * 1024
#: Files hashed at once: one may have gigabytes, and asking for it costs nothing.  Seconds that the next one waits.
HASHED_AT_ONCE, HASH_WAIT = 2, 10.0
_hashing = threading.BoundedSemaphore(HASHED_AT_ONCE)


class Busy(Exception):
    """Enough files are being hashed."""


class WrongOffset(Exception):
    """A piece that does not join; ``offset`` is where the next one must begin."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"This file has {offset} bytes here: go on at offset={offset}.")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Held:
    """What is here of a file: its bytes, and the SHA-256 of the last 64 KiB of them."""

    size: int
    tail: str


def held(source: Source, names: list[bytes]) -> Held | None:
    """What is here; None where there is nothing."""
    try:
        with confined.opened(source.root, b"/".join(names)) as fd:
            size = os.fstat(fd).st_size
            return Held(size, hashlib.sha256(os.pread(fd, TAIL, max(0, size - TAIL))).hexdigest())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except confined.NotRegular:
        raise pushed.InTheWay(pushed.IN_THE_WAY) from None
    except OSError as refused:
        raise pushed.in_words(refused) from refused


def put(source: Source, names: list[bytes], offset: int, data: bytes, *, anew: bool = False) -> int:
    """Append a piece that begins at ``offset``; the bytes that are on disk then.

    A piece that is here already is taken once more, for its answer may have been lost.  With
    ``anew`` the first piece replaces what is here.
    """
    pushed.check_room(source, len(data))
    if offset and held(source, names) is None:  # nothing is made for a piece that cannot join
        raise WrongOffset(0)
    if anew and offset == 0:
        _replace(source, names, data)
        size, new = len(data), True  # maybe in the place of another: the next sum knows
    else:
        with pushed.locked(source, names) as fd:
            size = os.fstat(fd).st_size
            new = not size
            if offset != size:
                if offset > size or not data or os.pread(fd, len(data), offset) != data:
                    raise WrongOffset(size)
                return size
            pushed.write(fd, data)  # where the disk is full: what fitted stays, and HEAD tells how much
            size += len(data)
    pushed.count(source, len(data), new)
    return size


def _replace(source: Source, names: list[bytes], data: bytes) -> None:
    """A new file in the place of the old: a reader sees either, never a mixture."""
    try:
        with pushed.folder(source, names[:-1]) as above:
            new = b".push-" + secrets.token_hex(8).encode()
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640, dir_fd=above)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                pushed.write(fd, data)
                os.rename(new, names[-1], src_dir_fd=above, dst_dir_fd=above)
                os.fsync(above)
            except OSError:
                with suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=above)
                raise
            finally:
                os.close(fd)
    except OSError as refused:
        raise pushed.in_words(refused) from refused


def digest(source: Source, names: list[bytes]) -> str:
    """The SHA-256 of all that is here of a file; Busy where others' keep the disk and the processor."""
    if not _hashing.acquire(timeout=HASH_WAIT):
        raise Busy
    try:
        return _digest(source, names)
    finally:
        _hashing.release()


def _digest(source: Source, names: list[bytes]) -> str:
    with confined.opened(source.root, b"/".join(names)) as fd, open(os.dup(fd), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
