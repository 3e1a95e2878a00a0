"""A TensorBoard cut off from the machine: `python -S -m streaming.tensorboard.sandbox`, told what to do on standard input.

    supervisor -> this process        makes the socket and the namespaces, ends with the supervisor
               -> first process       of the new process namespace: a root of its own, read-only; then without
                                      any right it forwards from the socket to TensorBoard's port
               -> TensorBoard         an unprivileged user; what it may not see is not there

As an ordinary user all of it is in a user namespace and TensorBoard runs as that user without capabilities.  As root
the namespaces are real ones, TensorBoard is user 65533 and has a user namespace of its own, in which it may read what
is shown whoever owns it (CAP_DAC_READ_SEARCH; outside that namespace it would open files by handle, too).  Either way it
lacks the right to mount, and what it might mount in a namespace below would find the kernel's locks on ours.

Where TRAINMON_TB_SHARED_HOST allows it, the same without namespaces.  Standard library only: it is started for each.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from streaming.tensorboard import kernel
from streaming.tensorboard.forward import Forwarder
from streaming.tensorboard.rights import NOBODY_ELSE, become_nobody, give_up_what_can_be

#: What a kernel says that does not want to, rather than that something is missing.
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOSPC)
#: How it ends where the kernel refuses, and where what is mounted is no longer what there is.
REFUSED, STALE = 77, 75
EVERYBODY = f"0 0 {2**32 - 1}"
TRASH = ".trainmon-trash"
#: What programs need of the system; those that are links stay links.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store",
          "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1",
               "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}
READ_ONLY = kernel.MS_RDONLY | kernel.MS_NOSUID
#: Bytes; twice what its log may have.
LARGEST_FILE = 128 * 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """What to run and what it may see.

    ``folder`` is a 0700 folder of its own, ``shown`` the paths that its program needs, ``hidden`` what must not be seen
    though it lies below one of them, ``logs`` the folders of logs by their place below /logs.
    """

    parent: int
    folder: str
    argv: list[str]
    shown: list[str]
    hidden: list[str]
    logs: dict[str, str]
    shared: bool = False

    @property
    def socket(self) -> str:
        """Where it is reached."""
        return os.path.join(self.folder, "http.sock")


def main() -> NoReturn:
    """The outer process."""
    plan = Plan(**json.load(sys.stdin))
    die_with(plan.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = listen(plan.socket)
    prepare()
    if plan.shared:
        tell_end(run_shared(plan, listener))
    try:
        as_root = enter_namespaces()
        die_with(plan.parent)
    except OSError as error:
        print(f"namespaces are refused: {error}", file=sys.stderr)
        os._exit(REFUSED)
    lifeline, ours = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(ours)
        run_first(plan, listener, lifeline, as_root)
    listener.close()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    # whatever happens to us, the first process is killed, and with it all others of its namespace
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    tell_end(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))


def die_with(parent: int) -> None:
    """End when the supervisor does."""
    kernel.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def tell_end(code: int) -> NoReturn:
    """End as the other did."""
    os._exit(code if code >= 0 else 128 - code)


def listen(path: str) -> socket.socket:
    """The socket that the proxy connects to, for nobody but us."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    listener.bind(path)
    os.umask(before)
    listener.listen(128)
    return listener


def prepare() -> None:
    """Many event files may be open, no log fills the disk before it is cut, and where memory runs out it goes before all else."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    most = LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, LARGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def enter_namespaces() -> bool:
    """Namespaces of our own; whether they are root's, made without a user namespace around them."""
    ours = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    if os.geteuid() == 0:
        try:
            kernel.unshare(ours)
            return True
        except PermissionError:
            pass  # root of a container: as anybody else
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(ours | kernel.NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    return False


# the first process


def run_first(plan: Plan, listener: socket.socket, lifeline: int, as_root: bool) -> NoReturn:
    """All of the first process; it never returns into its parent's code."""
    try:
        kernel.die_with_parent()
        os.umask(0o022)
        try:
            build_root(plan)
            kernel.raise_loopback()
        except OSError as error:
            print(f"the sandbox could not be built: {error}", file=sys.stderr)
            os._exit(REFUSED if error.errno in REFUSALS else 1)
        tensorboard = start(plan, as_root)
        kernel.bound(0)
        kernel.keep_only(0)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.die_with_parent()
        for work in (lambda: end_with(lifeline), lambda: look_for_trash(plan.logs)):
            threading.Thread(target=work, daemon=True).start()
        tell_end(look_after(tensorboard, listener, "/tmp"))
    finally:
        os._exit(1)


def build_root(plan: Plan) -> None:
    """A root that holds what the program needs and the logs, none of it to be written but /tmp."""
    kernel.mount("none", "/", kernel.MS_REC | kernel.MS_PRIVATE)
    trees = {path: kernel.clone_tree(path, READ_ONLY | kernel.MS_NODEV) for path in outermost([*SYSTEM, *plan.shown])}
    trees |= {path: kernel.clone_tree(path, READ_ONLY) for path in DEVICES if os.path.exists(path)}
    logs = {at: tree for at, root in plan.logs.items() if (tree := tree_of_logs(root)) is not None}
    new = plan.folder
    kernel.mount("tmpfs", new, kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
    os.mkdir(f"{new}/tmp")  # first: a program may itself lie there
    kernel.mount("tmpfs", f"{new}/tmp", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "mode=1777,size=64m")
    for path in SYSTEM:
        if os.path.islink(path) and path.count("/") == 1:
            os.symlink(os.readlink(path), new + path)
    for path, tree in trees.items():
        attach(tree, path, new + path)
    for at in plan.logs:
        os.makedirs(folder := os.path.join(f"{new}/logs", at), exist_ok=True)
        if at in logs:
            kernel.attach_tree(logs[at], folder)
    make_own_files(new)
    cover(plan, new)
    kernel.change_root(new)
    kernel.set_attributes(kernel.AT_FDCWD, "/", kernel.MS_RDONLY)
    for path in trashes(plan.logs):
        kernel.mount("tmpfs", path, READ_ONLY | kernel.MS_NODEV, "mode=0555,size=4k")


def tree_of_logs(root: str) -> int | None:
    """The mounts of a folder of logs; one that is not there is an empty folder, and the others are shown."""
    try:
        return kernel.clone_tree(root, READ_ONLY | kernel.MS_NODEV | kernel.MS_NOEXEC)
    except OSError as error:
        print(f"{root} cannot be shown: {error}", file=sys.stderr)
        return None


def outermost(paths: list[str]) -> list[str]:
    """Those that exist and are not below another of them; links of the root are made anew."""
    found: list[str] = []
    for path in sorted(set(paths)):
        linked = os.path.islink(path) and path.count("/") == 1
        if os.path.exists(path) and not linked and not any(path.startswith(above + "/") for above in found):
            found.append(path)
    return found


def attach(tree: int, path: str, target: str) -> None:
    """Put a folder or a file where it is outside as well."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    kernel.attach_tree(tree, target)


def make_own_files(new: str) -> None:
    """What each system has and none may share."""
    for name, text in {
        "passwd": f"tensorboard:x:{os.geteuid() or NOBODY_ELSE}:{os.getegid() or NOBODY_ELSE}::/tmp:/usr/sbin/nologin\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\nhosts: files\n",
    }.items():
        Path(f"{new}/etc/{name}").write_text(text)
    os.makedirs(f"{new}/proc", exist_ok=True)
    with suppress(OSError):  # a container that hides parts of /proc lets nobody see a whole one: then none
        kernel.mount("proc", f"{new}/proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def cover(plan: Plan, new: str) -> None:
    """Nothing lies where something must not be seen, though what is around it is."""
    shown = {path: new + path for path in [*SYSTEM, *plan.shown]}
    shown |= {root: os.path.join(f"{new}/logs", at) for at, root in plan.logs.items()}
    for hidden in plan.hidden:
        for path, place in shown.items():
            inside = os.path.relpath(hidden, os.path.realpath(path))
            if not inside.startswith("..") and os.path.isdir(os.path.join(place, inside)):
                kernel.mount("tmpfs", os.path.join(place, inside), READ_ONLY | kernel.MS_NODEV, "mode=0555,size=4k")


def trashes(logs: dict[str, str]) -> list[str]:
    """What a clean-up has moved aside and may yet bring back: TensorBoard has no business there."""
    folders = [os.path.join("/logs", at, TRASH) for at in logs]
    return [path for path in folders if os.path.isdir(path) and not os.path.islink(path)]


def look_for_trash(logs: dict[str, str], every: float = 5.0) -> None:
    """One that appears later needs its cover, and that a sandbox made anew."""
    covered = trashes(logs)
    while trashes(logs) == covered:
        time.sleep(every)
    os._exit(STALE)


def end_with(lifeline: int) -> None:
    """The pipe ends with the outer process."""
    os.read(lifeline, 1)
    os._exit(1)


def start(plan: Plan, as_root: bool) -> int:
    """TensorBoard, as an unprivileged user of a user namespace: its process."""
    asked, ready = os.pipe()
    told, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if as_root:
                kernel.unshare(kernel.NEWUSER)
                os.write(ready, b"1")
                os.read(told, 1)
            become_nobody(as_root)
            os.execve(plan.argv[0], plan.argv, ENVIRONMENT | {"HOME": "/tmp", "TMPDIR": "/tmp"})
        except OSError as error:
            print(f"{plan.argv[0]} could not be started: {error}", file=sys.stderr)
        finally:
            os._exit(1)
    if as_root:
        os.read(asked, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text(EVERYBODY)
        os.write(go, b"1")
    for end in (asked, ready, told, go):
        os.close(end)
    return child


def look_after(tensorboard: int, listener: socket.socket, folder: str) -> int:
    """Forward to its port until it ends: its exit code, negative for a signal."""
    info = Path(folder, ".tensorboard-info", f"pid-{tensorboard}.info")
    threading.Thread(target=Forwarder(listener, lambda: port_in(info)).serve, daemon=True).start()
    while True:
        pid, status = os.wait()
        if pid == tensorboard:
            code = os.waitstatus_to_exitcode(status)
            return 1 if code in (REFUSED, STALE) else code


def port_in(info: Path) -> int | None:
    """The port that TensorBoard says it listens on; None while it says nothing."""
    try:
        with info.open("rb") as file:
            port = json.loads(file.read(10_000))["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return port if isinstance(port, int) and 0 < port < 65536 else None


# without a sandbox


def run_shared(plan: Plan, listener: socket.socket) -> int:
    """TensorBoard on this machine's loopback, as this user; it ends with us."""
    tmp, logdir = os.path.join(plan.folder, "tmp"), os.path.join(plan.folder, "logs")
    for left in (tmp, logdir):
        shutil.rmtree(left, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.unlink(left)
    os.makedirs(tmp, mode=0o700)
    for at, root in plan.logs.items():  # a link of one root, or a folder of links
        os.makedirs(os.path.dirname(os.path.join(logdir, at).rstrip("/")), exist_ok=True)
        os.symlink(root, os.path.join(logdir, at).rstrip("/"))
    us = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            give_up_what_can_be()
            die_with(us)
            os.execve(plan.argv[0], plan.argv, ENVIRONMENT | {"HOME": tmp, "TMPDIR": tmp})
        finally:
            os._exit(1)
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(child, signal.SIGKILL))
    return look_after(child, listener, tmp)


if __name__ == "__main__":
    main()
