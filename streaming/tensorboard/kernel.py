"""What the sandbox asks of Linux and Python has no words for: namespaces, mounts, capabilities. Standard library only."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
MNT_DETACH = 2
CAP_DAC_READ_SEARCH = 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4
#: The same numbers on every architecture; mount_setattr came last, with Linux 5.12.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
SYS_CAPSET = {"x86_64": 126}.get(os.uname().machine, 91)
SYS_PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 4, 8, 24, 38, 47
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 1, 0x40

LINUX = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave these namespaces for new ones."""
    if not LINUX:
        raise OSError(errno.ENOSYS, "only Linux has namespaces")
    _checked(_libc.unshare(flags), "unshare")


def mount(kind: str, target: str, flags: int, data: str = "") -> None:
    """Mount a file system of this kind, or change how one passes mounts on."""
    given = (kind.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _checked(_libc.mount(*given), f"mount {kind} on {target}")


def clone_tree(path: str, attributes: int) -> int:
    """The mounts at and below a path, as a tree of their own with these attributes (read-only, ...) on each."""
    flags = OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    tree = _checked(_libc.syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags), f"open_tree {path}")
    set_attributes(tree, "", attributes, AT_EMPTY_PATH | AT_RECURSIVE)
    return tree


def set_attributes(folder: int, path: str, attributes: int, flags: int = 0) -> None:
    """Add attributes to a mount."""
    wanted = ctypes.create_string_buffer(struct.pack("QQQQ", attributes, 0, 0, 0), 32)
    _checked(_libc.syscall(SYS_MOUNT_SETATTR, folder, os.fsencode(path), flags, wanted, 32), "mount_setattr")


def attach_tree(tree: int, target: str) -> None:
    """Put a cloned tree where it belongs."""
    given = (SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
    _checked(_libc.syscall(*given), f"move_mount to {target}")
    os.close(tree)


def change_root(folder: str) -> None:
    """Make a mount the root, and let go of all that was there before."""
    os.chdir(folder)
    _checked(_libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def raise_loopback() -> None:
    """A new network namespace begins with its loopback down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP | IFF_RUNNING))


def prctl(option: int, *arguments: int) -> None:
    """As the system call; elsewhere than on Linux there is none."""
    if not LINUX:
        return
    given = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc.prctl(option, *given), f"prctl {option}")


def die_with_parent() -> None:
    """SIGKILL when whoever started us ends; the kernel forgets it at each change of user or gain of rights."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def bound(capabilities: int) -> None:
    """No program that is run from here on gets a capability beyond these (a bit mask); not every user may say so."""
    for number in range(64):
        if not capabilities >> number & 1 and _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                return  # the kernel has no more
            _checked(-1, "prctl PR_CAPBSET_DROP")


def keep_only(capabilities: int) -> None:
    """Give up all capabilities but these, for good: programs that are run get these and no other."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("II", 0x20080522, 0), 8)
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    wanted = ctypes.create_string_buffer(struct.pack("6I", low, low, low, high, high, high), 24)
    _checked(_libc.syscall(SYS_CAPSET, header, wanted), "capset")
    for number in range(64):
        if capabilities >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
