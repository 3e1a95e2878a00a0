"""Where archives go: a folder of this machine, or any file system that fsspec knows (s3://bucket/logs).

An archive is two files, ``NAME.tar.zst`` and ``NAME.manifest.json``; the manifest comes last, and without it an
archive does not exist.  Nothing here is ever written over an archive that exists.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from retention import manifest
from retention.files import Refused, Unreachable, shown

DATA, MANIFEST = ".tar.zst", ".manifest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class NotThere(Refused):
    """There is no archive of this name."""


class Denied(Refused):
    """A place that does not let us in; others it may."""


def missing(file: str, to: Destination) -> Refused:
    """The words for a file that is not there; where nothing is there at all, its volume may not be mounted."""
    try:
        if to.holds_something():
            return NotThere(f"there is no {file} in {to.url}")
    except OSError as error:
        return unreadable(to.url, error)
    return Unreachable(f"there is nothing at all in {to.url} now: is it the right place, and mounted?")


def unreadable(url: str, error: OSError) -> Refused:
    """The words for what cannot be opened: a link or a folder in its place was put there, the rest may pass."""
    if error.errno in (errno.ELOOP, errno.EISDIR):
        return Refused(f"{url} holds something else in its place: {error.strerror}")
    return Unreachable(f"{url} cannot be read now: {error.strerror or error}")


def failure(url: str, error: OSError) -> Refused:
    """The words for a destination that does not take what it is given."""
    if error.errno in FULL:
        return Refused(f"there is no room left in {url}: {error.strerror}")
    return Refused(f"{url} cannot be written: {error.strerror or error}")


class Draft(ABC):
    """An archive that is being written; gone without a trace unless it is published."""

    url: str

    def write(self, data: bytes) -> int:
        """Add to it."""
        try:
            return self._write(data)
        except OSError as error:
            raise failure(self.url, error) from error

    @abstractmethod
    def _write(self, data: bytes) -> int:
        """Add to it, or OSError."""

    @abstractmethod
    def settle(self) -> IO[bytes]:
        """It is whole: have it on disk, and open what lies there for reading."""

    @abstractmethod
    def publish(self, sealed: bytes) -> None:
        """From now on the archive exists, with this manifest."""


class Destination(ABC):
    """A place for archives."""

    #: For people and for the database.
    url: str

    @abstractmethod
    def new(self, name: str) -> AbstractContextManager[Draft]:
        """A context with the Draft of an archive that does not exist yet."""

    def open(self, name: str) -> IO[bytes]:
        """The archive itself, from its beginning."""
        return self._opened(checked(name) + DATA)

    def sealed(self, name: str) -> bytes:
        """Its manifest as it is stored; NotThere where there is none, Unreachable where that cannot be told."""
        with self._opened(checked(name) + MANIFEST) as file, reading(self.url):
            return bytes(file.read(manifest.MOST))

    def _opened(self, file: str) -> IO[bytes]:
        try:
            return self._open(file)
        except FileNotFoundError:
            raise missing(file, self) from None
        except OSError as error:
            raise unreadable(self.url, error) from None

    @abstractmethod
    def _open(self, file: str) -> IO[bytes]:
        """A file that lies there, or OSError."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether this archive exists; OSError where that cannot be told."""

    @abstractmethod
    def holds_something(self) -> bool:
        """Whether anything at all lies there."""

    @abstractmethod
    def names(self) -> list[str]:
        """Every archive that exists."""

    @abstractmethod
    def ready(self) -> None:
        """Refused where no archive could be written there now, as far as that is seen without writing."""

    def refuse_within(self, roots: Iterable[str]) -> None:  # noqa: B027 - what is not of this machine lies in no root
        """Refuse to be inside one of these folders of logs, where cleaning would reach the archives."""


def at(url: str) -> Destination:
    """The destination that a setting or a row of the database names."""
    scheme, found, rest = url.partition("://")
    if not found or scheme in ("file", "local"):
        return Folder(rest if found else url)
    from retention.remote import Remote  # fsspec is loaded where it is used

    return Remote(url)


@contextmanager
def reading(url: str) -> Iterator[None]:
    """What cannot be read is unreachable."""
    try:
        yield
    except OSError as error:
        raise unreadable(url, error) from None


def checked(name: str) -> str:
    """A name that any file system takes as one plain component."""
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} is no name for an archive: letters, digits, dots, dashes, at most 200")
    return name


class Folder(Destination):
    """A folder of this machine, ours alone: written under another name, flushed, read again, renamed."""

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path) or "\0" in path:
            raise Refused(f"{path!r} is no absolute path: archives need one")
        self.path = os.path.normpath(path)
        self.url = self.path

    @contextmanager
    def new(self, name: str) -> Iterator[Draft]:
        checked(name)
        try:
            os.makedirs(self.path, 0o700, exist_ok=True)
            with self._folder() as folder, closing(FolderDraft(self.url, folder, name)) as draft:
                yield draft
        except OSError as error:
            raise failure(self.url, error) from error

    def names(self) -> list[str]:
        with suppress(FileNotFoundError), self._folder() as folder:
            return sorted(named(file) for file in os.listdir(folder) if named(file))
        return []

    def has(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self.path, checked(name) + MANIFEST))

    def holds_something(self) -> bool:
        with suppress(FileNotFoundError), self._folder() as folder:
            return bool(os.listdir(folder))
        return False

    def ready(self) -> None:
        above = Path(self.path)
        while not os.path.lexists(above):
            above = above.parent
        if not above.is_dir():
            raise Refused(f"{shown(bytes(above))} is no folder")
        found = os.statvfs(above)
        if found.f_flag & os.ST_RDONLY:
            raise Refused(f"{self.path} cannot be written: its volume is read-only")
        if not os.access(above, os.W_OK | os.X_OK):
            raise Denied(f"{self.path} cannot be written by the user with the id {os.geteuid()}")
        if not found.f_bavail and found.f_blocks:
            raise Refused(f"there is no room left in {self.path}")

    def refuse_within(self, roots: Iterable[str]) -> None:
        """By the paths as they are and as links lead, and by what the folders above really are."""
        above = {Path(self.path), Path(os.path.realpath(self.path))}
        above |= {folder for path in list(above) for folder in path.parents}
        known = {_identity(folder) for folder in above} - {None}
        for root in roots:
            if {Path(os.path.normpath(root)), Path(os.path.realpath(root))} & above or _identity(Path(root)) in known:
                raise Refused(f"archives in {self.path} would lie inside the logs of {shown(os.fsencode(root))}")

    def room(self) -> int:
        """Bytes that fit in."""
        with self._folder() as folder:
            found = os.fstatvfs(folder)
            return found.f_bavail * found.f_frsize

    @contextmanager
    def _folder(self) -> Iterator[int]:
        # the folder may be a link: an admin wrote it
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, file: str) -> IO[bytes]:
        with self._folder() as folder:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        return os.fdopen(fd, "rb", buffering=0)


class FolderDraft(Draft):
    """A file under a name of its own, which a killed writer leaves to the next one."""

    def __init__(self, url: str, folder: int, name: str) -> None:
        self.url, self.folder, self.name, self.part = url, folder, name, f".{name}.part"
        self._refuse_existing()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self.fd = os.open(self.part, flags, 0o600, dir_fd=folder)
        try:
            self._claim()
            os.ftruncate(self.fd, 0)
        except BaseException:
            os.close(self.fd)
            raise

    def _claim(self) -> None:
        busy = f"the archive {self.name} is being written by another process"
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(busy) from None
        if not self._is_part():  # whoever had it has published it meanwhile
            raise Refused(busy)
        found = os.fstat(self.fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            # a hard link: what is written here would be in a file of somewhere else
            raise Refused(f"{self.part} in {self.url} is no draft of ours: look at it, and delete it")

    def _write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            left = left[os.write(self.fd, left) :]
        return len(data)

    def settle(self) -> IO[bytes]:
        """What is read next comes from the disk: the kernel forgets what it still has in memory."""
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(self.fd, 0, os.SEEK_SET)
        return os.fdopen(os.dup(self.fd), "rb", buffering=0)

    def publish(self, sealed: bytes) -> None:
        beside = f".{self.name}.sealed"
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=self.folder)
        try:
            _write_whole(self.folder, beside, sealed)
            # two that publish take turns: data that has no manifest is nobody's
            fcntl.flock(self.folder, fcntl.LOCK_EX)
            self._refuse_existing()
            os.rename(self.part, self.name + DATA, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            os.fsync(self.folder)
            os.rename(beside, self.name + MANIFEST, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=self.folder)
        os.fsync(self.folder)

    def close(self) -> None:
        """Remove what was not published; only then let go of the lock."""
        try:
            if self._is_part():
                os.unlink(self.part, dir_fd=self.folder)
        finally:
            os.close(self.fd)

    def _is_part(self) -> bool:
        try:
            there = os.stat(self.part, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.fd))

    def _refuse_existing(self) -> None:
        try:
            os.stat(self.name + MANIFEST, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        raise Refused(f"there is an archive {self.name} already; none is ever written over")


def named(file: str) -> str:
    """The archive whose manifest this file is, else nothing."""
    name = file.removesuffix(MANIFEST)
    return name if name != file and NAME.fullmatch(name) else ""


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _write_whole(folder: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
