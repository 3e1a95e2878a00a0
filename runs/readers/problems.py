"""What may be wrong below a root, as values: the scan goes on and says so."""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from typing import Final

#: Problems kept for one directory; the rest are counted.
MAX_PROBLEMS: Final = 100

SYMLINK: Final = "symlink"
LEAVES_ROOT: Final = "symlink out of the root"
SPECIAL: Final = "special file"
UNREADABLE: Final = "unreadable"
VANISHED: Final = "vanished"
REPLACED: Final = "replaced"
IO_ERROR: Final = "I/O error"
LONG_PATH: Final = "path too long"
TOO_DEEP: Final = "too deep"
LOOP: Final = "loop"
MOUNT: Final = "mount point"
MORE: Final = "more problems"

_KINDS: Final = {
    errno.EACCES: UNREADABLE,
    errno.EPERM: UNREADABLE,
    errno.ENOENT: VANISHED,
    errno.ESTALE: VANISHED,
    errno.ELOOP: REPLACED,
    errno.ENOTDIR: REPLACED,
    errno.ENAMETOOLONG: LONG_PATH,
}

#: Ours, not the tree's: a scan that goes on without descriptors would report runs as gone.
_OURS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_SPECIAL: Final = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something below the root that is not as it should be; the scan went on."""

    path: bytes
    kind: str
    detail: str = ""
    target: bytes = b""


def problem_of(path: bytes, error: OSError) -> Problem:
    """What an error says about the tree; raised again where it says something about us."""
    if error.errno in _OURS:
        raise error
    kind = _KINDS.get(error.errno or 0, IO_ERROR)
    return Problem(path, kind, error.strerror or str(error))


def special(path: bytes, mode: int) -> Problem:
    """Something that is neither file, directory nor symlink; it is never opened."""
    detail = _SPECIAL.get(stat.S_IFMT(mode), "neither file nor directory")
    return Problem(path, SPECIAL, detail)


def capped(path: bytes, problems: list[Problem]) -> tuple[Problem, ...]:
    """A directory of a million symlinks is one line, not a million rows."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    rest = f"{len(problems) - MAX_PROBLEMS} more of them here"
    return (*problems[:MAX_PROBLEMS], Problem(path, MORE, rest))
