"""What lies below a source's root: one pass, one stat a file, nothing opened but directories.

``walk(root)`` goes down by directory descriptors (``O_NOFOLLOW``), so that neither a path of
many thousand bytes nor a directory swapped for a symlink leads it astray.  Whatever is odd
becomes a ``Problem`` in the tree; only running out of descriptors or memory is an exception.
Paths are bytes relative to the root, ``b""`` for the root itself: names are what the kernel
has, UTF-8 or not.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from runs.readers.problems import (
    IO_ERROR,
    LEAVES_ROOT,
    LONG_PATH,
    LOOP,
    MOUNT,
    REPLACED,
    SYMLINK,
    TOO_DEEP,
    UNREADABLE,
    VANISHED,
    Problem,
    capped,
    problem_of,
    special,
)

#: Where retention buries what it deleted: never scanned, wherever it lies.
TRASH: Final = b".trainmon-trash"

#: Directories below the root.  One descriptor a level is open meanwhile.
MAX_DEPTH: Final = 200

#: The longest path that open(2) takes, without its NUL.
PATH_MAX: Final = 4095

DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK


class File(NamedTuple):
    """A regular file as its directory and one stat show it."""

    name: bytes
    size: int
    mtime_ns: int
    dev: int
    ino: int
    allocated: int


class Totals(NamedTuple):
    """Regular files only; hard links each time.  ``newest_mtime_ns`` is None without files."""

    files: int = 0
    size: int = 0
    allocated: int = 0
    newest_mtime_ns: int | None = None

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        mine, theirs = self.newest_mtime_ns, other.newest_mtime_ns
        newest = mine if theirs is None or (mine is not None and mine > theirs) else theirs
        return Totals(
            self.files + other.files,
            self.size + other.size,
            self.allocated + other.allocated,
            newest,
        )


@dataclass(slots=True)
class Directory:
    """One directory: ``own`` are the totals of its files, ``total`` those of its subtree.

    ``files`` are those that the caller asked to keep; the totals count them all.
    ``entries`` counts every name in it, so 0 means completely empty.
    """

    path: bytes
    files: tuple[File, ...]
    subdirs: tuple[Directory, ...]
    entries: int
    own: Totals
    total: Totals
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> bytes:
        """The last component; b"" for the root."""
        return self.path.rpartition(b"/")[2]

    def walk(self) -> Iterator[Directory]:
        """This directory and all below it, parents first, by name."""
        waiting = [self]
        while waiting:
            directory = waiting.pop()
            yield directory
            waiting.extend(reversed(directory.subdirs))


@dataclass(slots=True)
class Tree:
    """A root that was read.  ``unseen`` are directories whose content is not known."""

    root: bytes
    dev: int
    ino: int
    top: Directory
    problems: tuple[Problem, ...]
    unseen: frozenset[bytes]

    def saw(self, path: bytes) -> bool:
        """Whether the absence of ``path`` means that it is gone, not that we could not look."""
        if not self.unseen:
            return True
        while path:
            if path in self.unseen:
                return False
            path = path.rpartition(b"/")[0]
        return b"" not in self.unseen


@dataclass(frozen=True, slots=True)
class RootMissing:
    """There is nothing at the root's path, or it went away while we read."""

    root: bytes


@dataclass(frozen=True, slots=True)
class RootNotDirectory:
    """The root's path names a file."""

    root: bytes


@dataclass(frozen=True, slots=True)
class RootUnreadable:
    """The root is there and cannot be listed: no permission, a dead mount, an I/O error."""

    root: bytes
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class RootEmpty:
    """The root has no entry at all.

    ``dev`` and ``ino`` differ from those of the last ``Tree`` where a volume is not mounted;
    they are the same where somebody deleted everything.
    """

    root: bytes
    dev: int
    ino: int
    mounted: bool


Walked = Tree | RootMissing | RootNotDirectory | RootUnreadable | RootEmpty
Identity = tuple[int, int]


def walk(
    root: bytes,
    *,
    keep: Callable[[bytes], bool] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Walked:
    """Read the tree below ``root``.

    ``keep`` says by its name which file is kept in ``Directory.files`` (all by default):
    memory is then bounded by what matters, not by a million samples.  ``on_progress`` gets
    the number of files so far after each directory.
    """
    try:
        # The root itself may be a symlink: an admin wrote it.
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    except OSError as error:
        return _no_root(root, error)
    try:
        here = os.fstat(descriptor)
        passing = _Pass(root, keep, on_progress)
        top = passing.directory(descriptor, b"", (here.st_dev, here.st_ino), ())
        if _gone(root, descriptor, here):
            return RootMissing(root)
        if top.entries == 0 and b"" not in passing.unseen:
            return RootEmpty(root, here.st_dev, here.st_ino, _is_mount(descriptor, here))
    except _RootFailed as failed:
        return _no_root(root, failed.error)
    finally:
        os.close(descriptor)
    problems = tuple(p for directory in top.walk() for p in directory.problems)
    return Tree(root, here.st_dev, here.st_ino, top, problems, frozenset(passing.unseen))


class _RootFailed(Exception):
    """The root could be opened and not listed."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Listing:
    """What one directory holds, while it is read."""

    __slots__ = ("dirs", "entries", "files", "own", "problems")

    def __init__(self) -> None:
        self.files: list[File] = []
        self.dirs: list[bytes] = []
        self.entries = 0
        self.own = Totals()
        self.problems: list[Problem] = []


class _Pass:
    """One pass over a tree: what it may keep, how far it is, what it could not see."""

    def __init__(
        self,
        root: bytes,
        keep: Callable[[bytes], bool] | None,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.roots = {os.path.abspath(root), os.path.realpath(root)}
        self.longest = PATH_MAX - len(root) - 1
        self.keep = keep
        self.on_progress = on_progress
        self.seen = 0
        self.unseen: set[bytes] = set()

    def directory(self, descriptor: int, path: bytes, identity: Identity, above: tuple[Identity, ...]) -> Directory:
        """The subtree of an open directory."""
        listing = self._list(descriptor, path)
        if above and identity[0] != above[-1][0]:
            listing.problems.append(Problem(path, MOUNT, "another file system begins here"))
        if len(path) > self.longest >= path.rfind(b"/"):  # said once, not at each level
            listing.problems.append(Problem(path, LONG_PATH, "programs that open it by path cannot"))
        if self.on_progress is not None:
            self.on_progress(self.seen)
        total = listing.own
        subdirs = []
        for name in sorted(listing.dirs):
            child = self._child(descriptor, path, name, (*above, identity), listing)
            if child is not None:
                subdirs.append(child)
                total = total.plus(child.total)
        return Directory(
            path,
            tuple(sorted(listing.files)),
            tuple(subdirs),
            listing.entries,
            listing.own,
            total,
            capped(path, listing.problems),
        )

    def _child(
        self,
        parent: int,
        parent_path: bytes,
        name: bytes,
        above: tuple[Identity, ...],
        listing: _Listing,
    ) -> Directory | None:
        path = join(parent_path, name)
        if len(above) > MAX_DEPTH:
            self.unseen.add(path)
            listing.problems.append(Problem(path, TOO_DEEP, f"more than {MAX_DEPTH} levels"))
            return None
        try:
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except OSError as error:
            self._failed(listing, path, error)
            return None
        try:
            here = os.fstat(descriptor)
            identity = (here.st_dev, here.st_ino)
            if identity in above:  # a bind mount of a directory above it
                listing.problems.append(Problem(path, LOOP, "the same directory as one above it"))
                return None
            child = self.directory(descriptor, path, identity, above)
            # Deleted after we opened it, it would pass for an empty directory.
            if child.entries == 0 and here.st_nlink and os.fstat(descriptor).st_nlink == 0:
                listing.problems.append(Problem(path, VANISHED, "deleted while it was read"))
                return None
            return child
        finally:
            os.close(descriptor)

    def _list(self, descriptor: int, path: bytes) -> _Listing:
        """Read one directory: names, and a stat for each that is no directory."""
        listing = _Listing()
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._entry(entry, descriptor, path, listing)
        except OSError as error:
            if not path:
                raise _RootFailed(error) from error
            self._failed(listing, path, error)
        self.seen += listing.own.files
        return listing

    def _entry(self, entry: os.DirEntry[str], descriptor: int, path: bytes, listing: _Listing) -> None:
        # scandir of a descriptor gives str only; fsencode gives the kernel's bytes back.
        name = os.fsencode(entry.name)
        listing.entries += 1
        try:
            if entry.is_dir(follow_symlinks=False):
                if name != TRASH:
                    listing.dirs.append(name)
                return
            if entry.is_symlink():
                listing.problems.append(self._symlink(descriptor, path, name))
                return
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._failed(listing, join(path, name), error)
            return
        if stat.S_ISREG(found.st_mode):
            self._regular(name, found, listing)
        else:
            listing.problems.append(special(join(path, name), found.st_mode))

    def _regular(self, name: bytes, found: os.stat_result, listing: _Listing) -> None:
        files, size, allocated, newest = listing.own
        modified, blocks = found.st_mtime_ns, found.st_blocks * 512
        if newest is None or modified > newest:
            newest = modified
        listing.own = Totals(files + 1, size + found.st_size, allocated + blocks, newest)
        if self.keep is None or self.keep(name):
            listing.files.append(File(name, found.st_size, modified, found.st_dev, found.st_ino, blocks))

    def _symlink(self, descriptor: int, path: bytes, name: bytes) -> Problem:
        target = os.fsencode(os.readlink(name, dir_fd=descriptor))
        below = any(_is_below(root, path, target) for root in self.roots)
        kind = SYMLINK if below else LEAVES_ROOT
        return Problem(join(path, name), kind, "not followed", target)

    def _failed(self, listing: _Listing, path: bytes, error: OSError) -> None:
        problem = problem_of(path, error)
        # ENOENT is a fact; ESTALE and the others only say that we cannot look.
        if error.errno != errno.ENOENT and problem.kind != REPLACED:
            self.unseen.add(path)
        listing.problems.append(problem)


def join(directory: bytes, name: bytes) -> bytes:
    """A path relative to the root."""
    return directory + b"/" + name if directory else name


def _is_below(root: bytes, path: bytes, target: bytes) -> bool:
    """Whether a symlink's target stays below the root, by its text: nothing is followed."""
    landing = os.path.normpath(os.path.join(root, path, target))
    return landing == root or landing.startswith(root.rstrip(b"/") + b"/")


def _no_root(root: bytes, error: OSError) -> RootMissing | RootNotDirectory | RootUnreadable:
    problem = problem_of(b"", error)
    if error.errno == errno.ENOENT:
        return RootMissing(root)
    if error.errno == errno.ENOTDIR:
        return RootNotDirectory(root)
    kind = UNREADABLE if problem.kind == UNREADABLE else IO_ERROR
    return RootUnreadable(root, kind, problem.detail)


def _gone(root: bytes, descriptor: int, here: os.stat_result) -> bool:
    """Whether the root was deleted while we read.

    Not by comparing inodes: some network file systems give new ones whenever they like.
    """
    try:
        os.stat(root)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return here.st_nlink > 0 and os.fstat(descriptor).st_nlink == 0


def _is_mount(descriptor: int, here: os.stat_result) -> bool:
    try:
        parent = os.stat("..", dir_fd=descriptor)
    except OSError:
        return False
    return parent.st_dev != here.st_dev or parent.st_ino == here.st_ino
