"""How many runs there are, how they stand and what they take, by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import connection
from django.db.models import Count, Sum

from runs.models import Run
from runs.models.run import Status

#: Runs that ended as nobody wanted: counted apart from those that are finished.
BROKEN = (Status.FAILED, Status.KILLED, Status.LOST)
#: The tables that hold points and what lists know of them.
OF_POINTS = ("runs_serieschunk", "runs_seriestail", "runs_series")


@dataclass(slots=True)
class Counts:
    """Runs by status, the bytes of their files, and the points that were read of them."""

    by_status: Counter[str] = field(default_factory=Counter)
    size: int = 0
    points: int = 0

    @property
    def runs(self) -> int:
        """All of them."""
        return self.by_status.total()

    @property
    def broken(self) -> int:
        """Failed, killed or lost."""
        return sum(self.by_status[status] for status in BROKEN)

    def add(self, other: Counts) -> None:
        """Take another's runs in."""
        self.by_status += other.by_status
        self.size += other.size
        self.points += other.points


@dataclass(frozen=True, slots=True)
class Held:
    """What the registry holds: counts of active runs by source, points of all runs, their bytes in the database."""

    sources: dict[int, Counts]
    points: int
    database: int

    def of(self, sources: Iterable[int]) -> Counts:
        """The counts of these sources together."""
        total = Counts()
        for source in sources:
            total.add(self.sources.get(source, Counts()))
        return total

    def database_share(self, points: int) -> int:
        """About what so many points take in the database: their share of all points' bytes."""
        return self.database * points // self.points if self.points else 0


def held() -> Held:
    """The registry's counts, in two queries: whoever shows them picks the sources that its user may see."""
    rows = (
        Run.objects.order_by().values_list("source", "status", "lifecycle_stage")
        .annotate(runs=Count("*"), bytes=Sum("size"), points=Sum("point_count"))
    )
    sources: dict[int, Counts] = {}
    all_points = 0
    for source, status, stage, runs, size, points in rows:
        all_points += points
        if stage == Run.Stage.ACTIVE:
            sources.setdefault(source, Counts()).add(Counts(Counter({status: runs}), size, points))
    return Held(sources, all_points, bytes_of_points())


def bytes_of_points() -> int:
    """What the points take in the database, indexes included."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(pg_total_relation_size(name::regclass)), 0) FROM unnest(%s::text[]) AS name",
                       [list(OF_POINTS)])
        return int(cursor.fetchone()[0])
