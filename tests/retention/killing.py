"""Kills a real process (SIGKILL) just after the Nth call that touches the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from retention import graves

TOUCHING = [(os, name) for name in ("fsync", "mkdir", "open", "rename", "rmdir", "unlink", "write")] + [(graves, "move")]


def killed(work: Callable[[], Any], after: int) -> bool:
    """Do the work in a process of its own that is killed after so many touches; whether it was."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            _arm(after)
            work()
            status = 0
        except graves.Refused:
            status = 2
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), f"ended with {status}"
    return status < 0


def _arm(after: int) -> None:
    left = after

    def armed(touch: Callable) -> Callable:
        def touched(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            done = touch(*args, **kwargs)
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return touched

    for module, name in TOUCHING:
        setattr(module, name, armed(getattr(module, name)))
