"""The sandbox where the kernel refuses namespaces: `python -S -m tests.streaming.tensorboard.refusing`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from streaming.tensorboard import kernel, sandbox


def refuse() -> None:
    """Enter a namespace in which no other can be made, as in a container."""
    us = os.geteuid()
    kernel.unshare(kernel.NEWUSER)
    Path("/proc/self/uid_map").write_text(f"{us} {us} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    kernel.bound(0)
    kernel.keep_only(0)


def entering(enter: Callable[[], bool] = sandbox.enter_namespaces) -> bool:
    """What the sandbox does where that is so."""
    refuse()
    return enter()


if __name__ == "__main__":
    sandbox.enter_namespaces = entering
    sandbox.main()
