"""Where the runs of a root are buried: `.trainmon-trash`, 0700 and ours, beside the root or inside it.

Beside it, TensorBoard and other programs that read the root never meet it; inside where the root
is a mount point, because nothing can be renamed across one.  Roots beside one another share it.
"""

from __future__ import annotations

import os

from retention.files import Gone, Refused, below, closing, lies, open_root, refusal, shown
from retention.inventory import LIST, RESERVE
from runs.readers.tree import TRASH

#: Bytes that are kept for lists of what is buried.
ROOM = 256 * 1024


def trash_of(root: bytes | str) -> bytes:
    """The folder in which a run of this root is buried now; it is made where it is not there yet."""
    place, fd = _usable(places(root))
    os.close(fd)
    return place


def open_trash(place: bytes) -> int:
    """A descriptor of a trash; Gone where there is none, Refused where it is not ours alone."""
    try:
        with closing(_open(os.path.dirname(place))) as parent:
            fd = below(parent, TRASH)
            above = os.fstat(parent).st_dev
    except OSError as error:
        raise refusal(place, error) from None
    found = os.fstat(fd)
    if found.st_dev == above and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return fd
    os.close(fd)
    raise Refused(
        f"{shown(place)} must be a folder of the user with the id {os.geteuid()} that nobody else may enter (mode 0700); "
        f"it belongs to {found.st_uid} and has the mode {found.st_mode & 0o7777:04o}"
    )


def trash_with(root: bytes | str, name: bytes) -> int:
    """A descriptor of the trash that knows this name; Gone where none does, Refused where we may not look."""
    return _knowing(places(root), root, name)


def trash_for(root: bytes | str, name: bytes) -> int:
    """The same, or else the trash in which runs of this root are buried now."""
    where = places(root)
    try:
        return _knowing(where, root, name)
    except Gone:
        return _usable(where)[1]


def _knowing(where: list[bytes], root: bytes | str, name: bytes) -> int:
    refused: Refused | None = None
    for place in where:
        try:
            fd = open_trash(place)
        except Gone:
            continue
        except Refused as why:
            refused = why
            continue
        if lies(fd, name + LIST) or lies(fd, name):
            return fd
        os.close(fd)
    raise refused or Gone(f"{name.decode()} is not in the trash of {shown(os.fsencode(root))}: is the right volume mounted?")


def _usable(where: list[bytes]) -> tuple[bytes, int]:
    """The first of these places in which we may bury, and a descriptor of it."""
    *beside, inside = where
    for place in beside:
        try:
            return place, _made(place)
        except OSError:  # not ours to write in: inside, then
            pass
    try:
        return inside, _made(inside)
    except OSError as error:
        raise refusal(inside, error) from None


def lying(place: bytes) -> list[bytes]:
    """The names of all that lies in a trash: graves, their lists, and what is not ours."""
    try:
        with closing(open_trash(place)) as fd:
            return sorted(name for name in map(os.fsencode, os.listdir(fd)) if name != RESERVE)
    except Gone:
        return []


def reserve(trash: int) -> None:
    """Keep some room for the lists: who cleans up has a full volume."""
    try:
        if lies(trash, RESERVE) and os.stat(RESERVE, dir_fd=trash, follow_symlinks=False).st_size >= ROOM:
            return
        with closing(os.open(RESERVE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=trash)) as fd:
            os.posix_fallocate(fd, 0, ROOM)
    except OSError:  # full already, or a file system that cannot promise room
        pass


def is_mount(root: bytes) -> bool:
    """Whether a folder is a mount point, bind mounts included; so is one whose parent cannot be opened."""
    try:
        with closing(_open(os.path.dirname(root))) as parent, closing(below(parent, os.path.basename(root))) as fd:
            return os.fstat(fd).st_dev != os.fstat(parent).st_dev
    except OSError:  # EXDEV; "/" has no name in its parent
        return True


def places(root: bytes | str) -> list[bytes]:
    """Where the runs of this root may lie: beside it, unless it is a mount point, and inside it."""
    os.close(open_root(root))
    real = os.path.realpath(os.fsencode(root))
    beside = [] if is_mount(real) else [os.path.join(os.path.dirname(real), TRASH)]
    return [*beside, os.path.join(real, TRASH)]


def _open(folder: bytes) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _made(place: bytes) -> int:
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        pass
    else:
        with closing(_open(os.path.dirname(place))) as parent:
            os.fsync(parent)
    fd = open_trash(place)
    reserve(fd)
    return fd
