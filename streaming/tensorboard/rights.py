"""What TensorBoard may still do once it runs: read, and no more. Standard library only."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streaming.tensorboard import kernel

#: A user that nothing else runs as.
NOBODY_ELSE = 65533
READ = 1 << kernel.CAP_DAC_READ_SEARCH


def become_nobody(as_root: bool) -> None:
    """Give up every right but, from root, that to read: its logs are for their owners only, quite often."""
    with suppress(OSError):
        Path("/proc/sys/user/max_user_namespaces").write_text("0")  # that of our own namespace
    kept = READ if as_root else 0
    kernel.bound(kept)
    if as_root:
        os.setgroups([])
        os.setresgid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
        os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
    kernel.keep_only(kept)
    os.chdir("/")


def give_up_what_can_be() -> None:
    """It stays the same user, but with no more rights than to read."""
    if not kernel.LINUX:
        return
    kept = READ if os.geteuid() == 0 else 0
    try:
        kernel.bound(kept)
        kernel.keep_only(kept)
    except PermissionError:  # not root, or one without that right
        kernel.keep_only(0)
