"""How full the file systems below the sources are: a mount that hangs has a thread of its own, and no page waits for it.

A root is asked by one thread, and not again until that one has answered; meanwhile the last figures
stay, with their time.  No Django here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

#: How old figures may be that are shown without asking again.
FRESH = timedelta(seconds=30)
#: Seconds that a page waits for all of its roots together.
PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Space:
    """A file system: bytes in all, in use, and free for us (what is kept for root is neither); its files likewise."""

    device: int
    mount: str
    total: int
    used: int
    free: int
    files: int = 0
    files_free: int = 0

    @property
    def room(self) -> int:
        """What we could use in all; 0 where the file system does not tell its size."""
        return self.used + self.free

    @property
    def share(self) -> float | None:
        """What is in use of it; None where that is not known."""
        return self.used / self.room if self.room > 0 else None

    @property
    def files_share(self) -> float | None:
        """The same of the number of files; None where that has no bound."""
        return 1 - self.files_free / self.files if self.files > 0 else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a root's file system: the last figures and their time, what failed, since when it is silent."""

    space: Space | None = None
    at: datetime | None = None
    error: str = ""
    silent: datetime | None = None


def space_of(root: str) -> Space:
    """Ask the file system; this may take for ever."""
    path = os.path.realpath(root)
    told, device = os.statvfs(path), os.stat(path).st_dev
    while path != "/" and os.stat(above := os.path.dirname(path)).st_dev == device:
        path = above
    block = told.f_frsize
    return Space(
        device, path, told.f_blocks * block, (told.f_blocks - told.f_bfree) * block, told.f_bavail * block,
        told.f_files, told.f_ffree)


class Volumes:
    """What this process knows of the file systems.  Threads: one a root that is being asked."""

    def __init__(self, ask: Callable[[str], Space] = space_of) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[str, Standing] = {}
        self._asked: dict[str, tuple[datetime, threading.Event]] = {}

    def standing(
        self, roots: Collection[str], patience: float = PATIENCE, fresh: timedelta | None = None
    ) -> dict[str, Standing]:
        """How the file systems of these roots stand, by figures no older than that; those that do not answer are silent."""
        until = time.monotonic() + patience
        for answered in [self._begin(root, FRESH if fresh is None else fresh) for root in roots]:
            if answered is not None:
                answered.wait(max(0.0, until - time.monotonic()))
        with self._lock:
            return {root: self._of(root) for root in roots}

    def _begin(self, root: str, fresh: timedelta) -> threading.Event | None:
        """Ask a root whose figures are old; what to wait for, where that makes sense."""
        at = datetime.now(UTC)
        with self._lock:
            if root in self._asked:
                since, answered = self._asked[root]
                return answered if at - since < timedelta(seconds=PATIENCE) else None
            known = self._known.get(root)
            if known is not None and known.at is not None and at - known.at < fresh and not known.error:
                return None
            _, answered = self._asked[root] = at, threading.Event()
        threading.Thread(target=self._answer, args=(root, answered), name="volume", daemon=True).start()
        return answered

    def _answer(self, root: str, answered: threading.Event) -> None:
        try:
            found = Standing(self._ask(root), datetime.now(UTC))
        except OSError as error:
            found = replace(self._known.get(root, Standing()), error=error.strerror or str(error))
        with self._lock:
            self._known[root] = found
            del self._asked[root]
        answered.set()

    def _of(self, root: str) -> Standing:
        known = self._known.get(root, Standing())
        return replace(known, silent=self._asked[root][0]) if root in self._asked else known


#: Those of this process.
volumes = Volumes()
