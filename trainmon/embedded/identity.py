"""As whom the servers run: PostgreSQL refuses to run as root, and must reach its data directory.

In order: ourselves; as root the user `postgres` or `nobody`, where that user reaches the programs and
the data; else a user namespace in which we look like `nobody` while the kernel still sees us as the
owner of the files. The directories above HOME are never chmodded.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
NOBODY = 65534


class NobodyCanRun(Exception):
    """No user was found as whom PostgreSQL would run here; the text says what to do."""


@dataclass(frozen=True)
class Identity:
    """Whom a server runs as; `namespace`: as ourselves, looking like `nobody`."""

    uid: int
    gid: int
    namespace: bool = False

    def popen_options(self, dies_with_parent: signal.Signals | None = None) -> dict[str, Any]:
        """What subprocess.Popen needs to start a program as this identity, in a session of its own."""
        options: dict[str, Any] = {"start_new_session": True, "close_fds": True, "cwd": "/"}
        if self.uid != os.geteuid():
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        options["preexec_fn"] = self.before_exec(dies_with_parent)
        return options

    def before_exec(self, dies_with_parent: signal.Signals | None = None) -> Callable[[], None]:
        """The steps between fork and exec (after the change of user, which would clear PDEATHSIG)."""
        parent = os.getpid()

        def steps() -> None:
            if self.namespace:
                look_like_nobody()
            if dies_with_parent is not None:
                die_with(parent, dies_with_parent)

        return steps

    def give(self, path: Path) -> None:
        """Make a path of ours this identity's."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def die_with(parent: int, with_signal: signal.Signals) -> None:
    """Have the kernel signal us when our parent dies (Linux only; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


def look_like_nobody() -> None:
    """Enter a user namespace where our user is `nobody`; to the kernel's file checks we stay ourselves."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {uid} 1"), ("gid_map", f"{NOBODY} {gid} 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def in_fork(step: Callable[[], bool]) -> bool:
    """Whether a step succeeds, tried in a child so that nothing of it stays with us."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if step() else 1
        except BaseException:  # the child of a fork must never run on into its parent's code
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def namespaces_work() -> bool:
    """Whether this kernel (and container) lets us have a user namespace."""

    def step() -> bool:
        look_like_nobody()
        return os.geteuid() == NOBODY

    return sys.platform == "linux" and in_fork(step)


def reaches(uid: int, gid: int, paths: list[Path]) -> bool:
    """Whether a user can execute or enter each of the paths; asked of the kernel as that user."""

    def step() -> bool:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        return all(os.access(path, os.X_OK) for path in paths)

    return in_fork(step)


def choose(home: Path, data: Path, program: Path) -> Identity:
    """Whom PostgreSQL runs as here: the owner of existing data, else the first that can."""
    uid, gid = os.geteuid(), os.getegid()
    owner = data.stat() if data.exists() else None
    if uid != 0:
        if owner and owner.st_uid != uid:
            raise NobodyCanRun(
                f"The database in {data} belongs to user {_name(owner.st_uid)}, not to {_name(uid)}. "
                f"Run as that user, or set TRAINMON_HOME to a directory of your own."
            )
        return _ordinary(uid, gid)
    return _as_root(home, program, (owner.st_uid, owner.st_gid) if owner else None)


def _ordinary(uid: int, gid: int) -> Identity:
    """Ourselves, unless we are in no passwd file: initdb looks its user up."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, gid, namespace=namespaces_work())
    return Identity(uid, gid)


def _as_root(home: Path, program: Path, owner: tuple[int, int] | None) -> Identity:
    """An unprivileged user for root's database."""
    needed = [home, program]
    if owner and owner[0] != 0:
        if not reaches(*owner, needed):
            raise NobodyCanRun(f"User {_name(owner[0])}, whose database this is, can no longer reach {home}.")
        return Identity(*owner)
    for uid, gid in [] if owner else _unprivileged(home):
        if reaches(uid, gid, needed):
            return Identity(uid, gid)
    if namespaces_work():
        return Identity(0, os.getegid(), namespace=True)
    raise NobodyCanRun(
        f"PostgreSQL does not run as root, and neither `postgres` nor `nobody` can reach {home} and {program}. "
        f"Run trainmon as an ordinary user, set TRAINMON_HOME to a directory that others may enter, "
        f"or give a server by DATABASE_URL."
    )


def _unprivileged(home: Path) -> list[tuple[int, int]]:
    """Users that root may lend the database to: the one whose HOME it is, else a service's."""
    found = []
    for name in (_name(home.stat().st_uid), "postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            found.append((entry.pw_uid, entry.pw_gid))
    return found


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
