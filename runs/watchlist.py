"""What a follower keeps in memory of a source: its log files, what each was when last read, which are hot."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from runs.models import LogFile, Run
from runs.models.run import Status
from runs.readers import confined, naming
from runs.readers.tree import TRASH, join

#: Seconds after its last growth for which a file counts as hot.
HOT_FOR = 600.0
#: New folders without a log so far that are remembered.
MOST_YOUNG = 5_000
#: Device, inode, size and mtime; None where there is no such file.
Stat = tuple[int, int, int, int] | None


@dataclass(slots=True)
class Watched:
    """A log file: its run, what it was when last read, and until when (monotonic) it is hot."""

    run_id: int
    stat: Stat
    hot_until: float


class Watchlist:
    """The log files of one source.

    It only says where a look is worth it: reading judges each file by its content and its row.
    """

    def __init__(self, source_id: int, root: str) -> None:
        self.source_id, self.root = source_id, os.fsencode(root)
        self.files: dict[bytes, Watched] = {}
        self.of_run: dict[int, list[bytes]] = {}
        self.young: dict[bytes, float] = {}
        #: Folders and their mtimes (ns) when last looked at, and when the last scan began.
        self.mtimes: dict[bytes, int] = {}
        self.scanned_ns = 0

    def load(self) -> None:
        """What the registry holds now; what we have seen ourselves since it was written stays."""
        now = time.monotonic()
        files: dict[bytes, Watched] = {}
        of_run: dict[int, list[bytes]] = {}
        rows = LogFile.objects.filter(source=self.source_id, missing=False, run__lifecycle_stage=Run.Stage.ACTIVE)
        for path, run_id, device, inode, size, mtime_ns, status in rows.order_by().values_list(
                "path", "run_id", "device", "inode", "size", "mtime_ns", "run__status").iterator(10_000):
            path, stat = bytes(path), (device, int(inode), size, mtime_ns)
            before = self.files.get(path)
            if before is not None and before.stat is not None and before.stat[:3] == stat[:3]:
                stat = before.stat  # the row's mtime is 0 where the file had just changed
            hot_until = before.hot_until if before is not None else 0.0
            files[path] = Watched(run_id, stat, max(hot_until, now + HOT_FOR) if status == Status.RUNNING else hot_until)
            of_run.setdefault(run_id, []).append(path)
        self.files, self.of_run = files, of_run

    def hot(self) -> list[bytes]:
        """Files of running runs, and those that grew lately."""
        now = time.monotonic()
        return [path for path, file in self.files.items() if file.hot_until > now]

    def folders(self, *, hot: bool = False) -> set[bytes]:
        """The folders in which something new would appear: those of the (hot) log files, all above them, and new ones."""
        now = time.monotonic()
        found = {b"", *(path for path, until in self.young.items() if until > now)}
        for path in self.hot() if hot else self.files:
            while (path := path.rpartition(b"/")[0]) not in found:
                found.add(path)
        return found

    def moved(self, *, hot: bool) -> list[bytes]:
        """A folder whose mtime moved has got or lost a name; one that it got is looked into, too, until a log is in it."""
        found: list[bytes] = []
        seen = self._times(self.folders(hot=hot))
        for path, mtime_ns in seen.items():
            # one that we did not know before the scan may have changed since
            if mtime_ns != self.mtimes.get(path) and (path in self.mtimes or mtime_ns > self.scanned_ns):
                found += self.news(path) or [path]
        self.mtimes |= seen
        return found

    def look_for_new(self) -> None:
        """Folders that were made lately and hold no log yet: one may appear in them."""
        lately = self.scanned_ns - int(HOT_FOR * 1e9)
        for path, mtime_ns in self._times(self.folders()).items():
            if mtime_ns > lately:
                self.news(path)

    def _times(self, folders: Iterable[bytes]) -> dict[bytes, int]:
        return {path: stat[3] if (stat := self.stat(path)) else 0 for path in folders}

    def news(self, folder: bytes) -> list[bytes]:
        """Log files below a folder that are new to us; folders that are new there are hot from now on."""
        found: list[bytes] = []
        waiting, known = [folder], self.folders()
        while waiting:
            above = waiting.pop()
            files, below = self._listed(above)
            found += [path for path in files if path not in self.files]
            for path in below:
                if path not in known and path not in self.young and len(self.young) < MOST_YOUNG:
                    self.young[path] = time.monotonic() + HOT_FOR
                    waiting.append(path)
        return found

    def begin_scan(self) -> None:
        """What the folders are before it; which ones were new is forgotten, where they were many."""
        if len(self.young) >= MOST_YOUNG:
            now = time.monotonic()
            self.young = {path: until for path, until in self.young.items() if until > now}
        self.mtimes, self.scanned_ns = self._times(self.folders()), time.time_ns()

    def _listed(self, folder: bytes) -> tuple[list[bytes], list[bytes]]:
        """What may be logs in a folder, and the folders in it."""
        files, folders = [], []
        try:
            with confined.folder(self.root, folder) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(join(folder, name))
                    elif naming.is_wanted(name):
                        files.append(join(folder, name))
        except OSError:
            return [], []  # the scan says why
        return files, [path for path in folders if not path.endswith(TRASH)]

    def differing(self, paths: Iterable[bytes]) -> tuple[set[int], set[bytes]]:
        """Of these files: the runs of those that are not as when read, and those that are gone."""
        runs, gone = set(), set()
        for path in paths:
            file = self.files[path]
            stat = self.stat(path)
            if stat is None:
                if file.stat is not None:
                    gone.add(path)
                    file.stat = None
            elif stat != file.stat:
                runs.add(file.run_id)
        return runs, gone

    def look(self, run_ids: Iterable[int]) -> dict[bytes, Stat]:
        """What the files of these runs are now, before they are read."""
        return {path: self.stat(path) for run_id in run_ids for path in self.of_run.get(run_id, [])}

    def remember(self, seen: dict[bytes, Stat]) -> None:
        """These were read as they were seen; what has changed is hot."""
        until = time.monotonic() + HOT_FOR
        for path, stat in seen.items():
            file = self.files.get(path)
            if file is not None and file.stat != stat:
                file.stat, file.hot_until = stat, until

    def stat(self, path: bytes) -> Stat:
        """What a path is; a hint only, so that links on the way do no harm."""
        try:
            st = os.stat(os.path.join(self.root, path), follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                return None
            try:
                found = confined.stat_inside(self.root, path)
            except OSError:
                return None
            if found is None:
                return None
            st = found
        return st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns


class Patience:
    """How soon the same path may ask for a scan again: each time after twice as long a wait.

    A file that is no log and grows for ever must not keep a source busy.
    """

    MOST, FIRST, LONGEST = 10_000, 0.2, 30.0

    def __init__(self) -> None:
        self.waits: dict[bytes, tuple[float, float]] = {}

    def due(self, path: bytes, now: float) -> float:
        """When (monotonic) a scan for the sake of this path may begin."""
        at, wait = self.waits.get(path, (0.0, self.FIRST / 2))
        if now < at:
            return at
        wait = self.FIRST if now > at + 2 * self.LONGEST else min(2 * wait, self.LONGEST)
        if len(self.waits) >= self.MOST:
            self.waits.clear()
        self.waits[path] = (now + wait, wait)
        return now + wait
