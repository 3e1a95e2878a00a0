"""A file system that hangs as a dead NFS server does: a real FUSE mount whose server never answers.

    python -m tests.runs.hanging FOLDER

mounts it over the folder and says so; it is gone when standard input ends.  Whoever touches it waits in the kernel.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runs.processes import ROOT


def may_mount() -> bool:
    """Whether this machine lets us."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


@contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """The folder hangs for so long; afterwards it is as before, and whoever waited has got an error."""
    command = [sys.executable, "-m", "tests.runs.hanging", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"it hangs\n"
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            server.kill()


def main() -> None:
    """Mount it, and never answer."""
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    how = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % server
    if libc.mount(b"hangs", os.fsencode(sys.argv[1]), b"fuse", 0, how):
        sys.exit(os.strerror(ctypes.get_errno()))
    print("it hangs", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
