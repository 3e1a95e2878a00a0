"""Trainmon's own log files: cut when they grow, and put away when `up` starts anew."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from trainmon.embedded.places import Places

LONGEST_LOG = 10 * 1024 * 1024
#: These may run on without `up`.
GOES_ON = {"postgres", "watcher"}


@dataclass
class Logs:
    """The log files of what `up` starts.

    ``limit``: bytes at which one is cut; ``parts``: how many older parts of each are kept; ``sessions``: how many
    earlier sessions of `up` are.
    """

    places: Places
    limit: int = LONGEST_LOG
    parts: int = 1
    sessions: int = 5
    looked: float = field(default=0.0)

    def cut(self, every: float = 10.0) -> None:
        """Copy and truncate: the children keep writing (appending) to the same file."""
        if time.monotonic() - self.looked < every:
            return
        self.looked = time.monotonic()
        for path in self.places.logs.glob("*.log"):
            if path.stat().st_size > self.limit:
                make_room(path, self.parts)
                if self.parts:
                    shutil.copyfile(path, part(path, 1))
                os.truncate(path, 0)

    def put_away(self) -> None:
        """What the last session left goes to `archive/YYYYmmdd_HHMMSS`, when it ended in UTC; then the oldest sessions go."""
        left = [path for path in self.places.logs.glob("*.log*") if path.name.partition(".")[0] not in GOES_ON]
        if left:
            folder = self._folder(left)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in left:
                path.replace(folder / path.name)
        known = self.places.old_logs
        for folder in known[:max(0, len(known) - self.sessions)]:
            shutil.rmtree(folder)

    def _folder(self, left: list[Path]) -> Path:
        """One in which none of these files lies yet."""
        ended = max(path.stat().st_mtime for path in left)
        while True:
            folder = self.places.logs / "archive" / time.strftime("%Y%m%d_%H%M%S", time.gmtime(ended))
            if not any((folder / path.name).exists() for path in left):
                return folder
            ended += 1


def part(log: Path, number: int) -> Path:
    """An older part of a log; the higher the number, the older."""
    return log.with_name(f"{log.name}.{number}")


def make_room(log: Path, keep: int) -> None:
    """Move each older part of a log on by one; so many will be kept, with the one that comes."""
    known = sorted(int(path.suffix[1:]) for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdecimal())
    for number in reversed(known):
        if number >= keep:
            part(log, number).unlink()
        else:
            part(log, number).replace(part(log, number + 1))
