"""Runs that may go, as the registry knows them, and why one must stay: no disk is touched here."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Exists, F, OuterRef, QuerySet

from retention import files
from runs.models import Bookmark, Job, Run, Source
from runs.models.run import Status
from runs.readers.naming import PUSHED
from runs.status import duration

#: What is under way, or about to begin.
UNDER_WAY = (Status.RUNNING, Status.QUEUED)
#: A clock that runs ahead by so little is no forged time.
SLACK = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as one query shows it: enough to list it, and to say whether it is protected."""

    id: int
    source_id: int
    root: str
    trainer: str
    dataset: str | None
    name: str
    path: bytes
    size: int
    event_files: int
    points: int
    modified: datetime | None
    last_arrival: datetime | None
    last_event: datetime | None
    status: str
    stage: str
    files_missing: bool
    pinned: bool
    bookmarked: bool
    working: bool
    hold: str | None
    hold_until: datetime | None

    @property
    def folder(self) -> bytes:
        """What goes with it: its folder, also that of a run which is known by the file of what was pushed."""
        above, _, name = self.path.rpartition(b"/")
        return above if name == PUSHED and above else self.path

    def age(self, at: datetime) -> timedelta | None:
        """Since something last came of it; None where that is unknown or a time lies in the future: it is never old."""
        times = [time for time in (self.modified, self.last_arrival, self.last_event) if time is not None]
        if self.modified is None or any(time > at for time in times):
            return None
        return at - max(self.modified, self.last_arrival or self.modified)

    def is_older(self, than: timedelta, at: datetime) -> bool:
        """Whether nothing came of it for this long or longer."""
        age = self.age(at)
        return age is not None and age >= than

    def kept(self, at: datetime, *, forced: bool = False) -> str:
        """Why it must stay, in words; empty where nothing protects it.  ``forced``: pins and bookmarks do not count."""
        if self.stage != Run.Stage.ACTIVE:
            return f"is {Run.Stage(self.stage).label} already"
        if self.files_missing:
            return "its files are missing already"
        if self.status in UNDER_WAY or self.working:
            return "is running" if self.status != Status.QUEUED else "is about to run"
        if self.last_arrival is not None and (said := written(self.last_arrival, at)):
            return said
        if self.hold is not None and (self.hold_until is None or self.hold_until > at):
            return f"is held: {self.hold}"
        if not forced and (self.pinned or self.bookmarked):
            return "is pinned" if self.pinned else "is bookmarked"
        return "" if self.path else "is the source's root itself"


def written(last: datetime, at: datetime) -> str:
    """Words for a run that was written to a moment ago, or is dated in the future; empty for a quiet one."""
    if last > at + SLACK:
        return "is dated in the future: touch its newest file if it may go"
    quiet = timedelta(minutes=settings.TRAINMON_CLEANUP_QUIET)
    return f"was written {duration(max(0.0, (at - last).total_seconds()))} ago" if last > at - quiet else ""


COLUMNS = {
    "root": F("source__root"), "trainer": F("source__trainer__slug"), "dataset": F("dataset__name"),
    "event_files": F("event_file_count"), "points": F("point_count"), "stage": F("lifecycle_stage"),
    "bookmarked": Exists(Bookmark.objects.filter(run=OuterRef("pk"))),
    "working": Exists(Job.objects.filter(run=OuterRef("pk"), status__in=UNDER_WAY)),
    "hold": F("hold__reason"), "hold_until": F("hold__until"),
}
NAMES = [field.name for field in fields(Candidate)]
PATH = NAMES.index("path")


def candidates(runs: QuerySet[Run]) -> list[Candidate]:
    """These runs, those first that are oldest; one query."""
    # an alias may not bear the name of a field of the model
    under = {name: f"c_{name}" for name in COLUMNS}
    rows: QuerySet[Run, Any] = (
        runs.annotate(**{under[name]: value for name, value in COLUMNS.items()})
        .order_by(F("modified").asc(nulls_last=True), "pk").values_list(*(under.get(name, name) for name in NAMES)))
    return [_candidate(list(row)) for row in rows]


def _candidate(row: list[Any]) -> Candidate:
    row[PATH] = bytes(row[PATH])
    return Candidate(*row)


class Parents:
    """Which runs hold the folder of another run, or of another source: those stay."""

    def __init__(self, sources: Iterable[int]) -> None:
        ids = list(sources)
        self.paths: dict[int, list[bytes]] = defaultdict(list)
        for source, path in Run.objects.active().filter(source__in=ids).values_list("source", "path"):
            self.paths[source].append(bytes(path))
        for paths in self.paths.values():
            paths.sort()
        self.others = {pk: _roots_below(pk) for pk in self.paths}

    def kept(self, candidate: Candidate) -> str:
        """Why a run must stay for the sake of what lies in it; empty where nothing does."""
        below = candidate.folder + b"/" if candidate.path else b""
        paths = self.paths[candidate.source_id]
        place = bisect_right(paths, below)
        for path in paths[place:place + 2]:  # of which one may be itself
            if path.startswith(below) and path != candidate.path:
                return f"holds another run: {files.shown(path)}"
        same = bisect_left(paths, candidate.folder)
        if candidate.folder != candidate.path and paths[same:same + 1] == [candidate.folder]:
            return f"lies in the folder of another run: {files.shown(candidate.folder)}"
        if any((root + b"/").startswith(below) for root in self.others.get(candidate.source_id, ())):
            return "holds the folder of another source"
        return ""


def _roots_below(source_id: int) -> set[bytes]:
    """The roots of other sources, enabled or not, that lie below this source's, relative to it."""
    roots = [(pk, Path(root)) for pk, *both in Source.objects.values_list("pk", "root", "real_root") for root in both if root]
    mine = [root for pk, root in roots if pk == source_id]
    return {
        bytes(other.relative_to(root)) for pk, other in roots if pk != source_id for root in mine if root in other.parents
    }
