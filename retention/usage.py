"""What lies on the volumes, what came lately and when they are full: by the registry, of the sources that one may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Case, Count, F, FloatField, Func, Min, Q, QuerySet, Sum, When

from retention.models import Plan, PlannedRun, Tombstone, Vacuum
from retention.space import Standing
from runs import counts, masks
from runs.models import Run, Source
from runs.roles import sees_everything

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: Days over which growth is told; a forecast goes by the longest of them that the runs reach back over.
WEEK, MONTH = timedelta(days=7), timedelta(days=30)
#: From which share a volume is said to be getting full, and to be nearly so.
TIGHT, FULL = 0.85, 0.95
#: A forecast beyond it says nothing.
FAR = timedelta(days=3650)
#: Rows of a table of the page.
SHOWN = 10
GB = Decimal(10**9)
Step = PlannedRun.Step


@dataclass(slots=True)
class Held:
    """Runs that lie on disk: those of the list, of them the old ones, and those in the trash."""

    runs: int = 0
    size: int = 0
    old: int = 0
    old_size: int = 0
    buried: int = 0
    buried_size: int = 0

    def add(self, other: Held) -> None:
        """Take another's runs in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Came:
    """Bytes that came in the last 7 and 30 days, and since when anything is known."""

    week: int = 0
    month: int = 0
    since: datetime | None = None

    def add(self, other: Came) -> None:
        """Take another's runs in."""
        self.week += other.week
        self.month += other.month
        self.since = min(filter(None, (self.since, other.since)), default=None)

    def rate(self, at: datetime) -> tuple[float, timedelta] | None:
        """Bytes a day, and over which time that was measured; None where too little is known."""
        for came, span in ((self.month, MONTH), (self.week, WEEK)):
            if self.since is not None and self.since <= at - span:
                return came / span.days, span
        return None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a volume is full, if its logs go on to grow as they did over this time, and nothing goes."""

    at: datetime
    rate: int
    span: timedelta


@dataclass(slots=True)
class Volume:
    """A file system with the sources on it that somebody may see."""

    standing: Standing
    at: datetime
    sources: list[Source] = field(default_factory=list)
    held: Held = field(default_factory=Held)
    came: Came = field(default_factory=Came)

    @property
    def name(self) -> str:
        """Where it is mounted; of one that has never answered the first folder on it."""
        space = self.standing.space
        return masks.path(space.mount.encode("utf-8", "backslashreplace").decode()) if space else self.sources[0].root_text

    @property
    def level(self) -> str:
        """full, tight or calm, for its colour; empty where that is not known."""
        shares = [share for one in [self.standing.space] if one for share in (one.share, one.files_share) if share is not None]
        return "" if not shares else "full" if max(shares) >= FULL else "tight" if max(shares) >= TIGHT else "calm"

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """What a bar of 100 shows: kind, from, width; logs and trash as the registry knows them, then what else is there."""
        space = self.standing.space
        if space is None or space.share is None:
            return []
        at, drawn = 0.0, []
        logs = min(self.held.size, space.used)
        trash = min(self.held.buried_size, space.used - logs)
        for kind, size in (("logs", logs), ("trash", trash), ("others", space.used - logs - trash)):
            drawn.append((kind, round(at, 3), round(100 * size / space.room, 3)))
            at += 100 * size / space.room
        return drawn

    @property
    def others(self) -> int | None:
        """Bytes in use that are none of these runs'."""
        space = self.standing.space
        return max(0, space.used - self.held.size - self.held.buried_size) if space else None

    @property
    def forecast(self) -> Forecast | None:
        """When it is full; None where nothing grows, too little is known, or that lies too far away."""
        space, rate = self.standing.space, self.came.rate(self.at)
        if space is None or space.share is None or rate is None or rate[0] * FAR.days <= space.free:
            return None
        return Forecast(self.at + timedelta(days=space.free / rate[0]), int(rate[0]), rate[1])

    @property
    def no_forecast(self) -> str:
        """Why there is none, in words."""
        if self.standing.space is None or self.standing.space.share is None:
            return "how much is free is not known"
        if self.came.rate(self.at) is None:
            return "its runs reach back less than 7 days"
        return "its logs would need ten years and more to fill it" if self.came.month else "nothing came in the last 30 days"


def volumes(
    sources: Iterable[Source], standings: Mapping[str, Standing], held: Mapping[int, Held], came: Mapping[int, Came],
    at: datetime,
) -> list[Volume]:
    """The sources by file system, the fullest first; one that has never answered stands for itself."""
    found: dict[Hashable, Volume] = {}
    for source in sources:
        standing = standings[source.root]
        volume = found.setdefault(standing.space.device if standing.space else source.root, Volume(standing, at))
        if not volume.standing.silent and (standing.silent or not standing.error):
            volume.standing = standing
        volume.sources.append(source)
        volume.held.add(held.get(source.pk, Held()))
        volume.came.add(came.get(source.pk, Came()))
    return sorted(found.values(), key=lambda one: -((one.standing.space and one.standing.space.share) or 0.0))


def held_by(sources: Iterable[int], at: datetime) -> dict[tuple[int, int | None], Held]:
    """What lies on disk, by source and dataset, in one query.  Sizes are those that the last scan found."""
    before = at - timedelta(days=settings.TRAINMON_OLD_DAYS)
    rows = (
        Run.objects.filter(source__in=sources, files_missing=False, lifecycle_stage__in=(Run.Stage.ACTIVE, Run.Stage.BURIED))
        .order_by().values_list("source", "dataset", "lifecycle_stage")
        .annotate(runs=Count("*"), bytes=Sum("size"), old=Count("pk", filter=Q(modified__lt=before)),
                  old_bytes=Sum("size", filter=Q(modified__lt=before)))
    )
    found: dict[tuple[int, int | None], Held] = defaultdict(Held)
    for source, dataset, stage, runs, size, old, old_size in rows:
        one = Held(runs, size, old, old_size or 0) if stage == Run.Stage.ACTIVE else Held(buried=runs, buried_size=size)
        found[source, dataset].add(one)
    return found


def summed(held: Mapping[tuple[int, int | None], Held], by: Callable[[int, int | None], Any]) -> dict[Any, Held]:
    """The same, by what ``by`` makes of a source and a dataset."""
    found: dict[Any, Held] = defaultdict(Held)
    for key, one in held.items():
        found[by(*key)].add(one)
    return found


def came_to(sources: Iterable[int], at: datetime) -> dict[int, Came]:
    """What came lately, by source, in one query: whatever became of it since.

    Of a run that began earlier the share of its time counts that lies in these days: when each byte
    came is written nowhere.  Runs that are dated in the future do not count.
    """
    lately = {
        name: Sum(F("size") * _share(at - span), filter=Q(modified__gt=at - span), output_field=FloatField())
        for name, span in (("week", WEEK), ("month", MONTH))
    }
    rows = (
        Run.objects.filter(source__in=sources, modified__lte=at).order_by().values_list("source")
        .annotate(began=Min("started"), written=Min("modified"), **lately)
    )
    return {
        source: Came(int(week or 0), int(month or 0), min(filter(None, (began, written)), default=None))
        for source, began, written, week, month in rows
    }


def _share(since: datetime) -> Case:
    """Which part of the time from a run's begin to its last write lies after a moment."""
    part, whole = (_seconds(F("modified") - start) for start in (since, F("started")))
    earlier = Q(started__lt=since, modified__gt=since)
    return Case(When(earlier, then=part / whole), default=1.0, output_field=FloatField())


def _seconds(span: Any) -> Func:
    return Func(span, template="extract(epoch FROM %(expressions)s)", output_field=FloatField())


def on_disk(sources: Iterable[int]) -> QuerySet[Run]:
    """Runs whose files are in their place, with what a list of them shows."""
    runs = Run.objects.active().filter(source__in=sources, files_missing=False)
    return runs.only("name", "path", "size", "modified", "pinned", "status", "stalled", "source", "dataset__name").select_related(
        "dataset")


def largest(sources: Iterable[int]) -> list[Run]:
    """Those that take most."""
    return list(on_disk(sources).order_by("-size", "-pk")[:SHOWN])


def oldest(sources: Iterable[int]) -> list[Run]:
    """Those to which nothing was written for longest."""
    return list(on_disk(sources).exclude(modified=None).order_by("modified", "pk")[:SHOWN])


@dataclass(frozen=True, slots=True)
class Trash:
    """What lies in the trash, and when the first of it is purged."""

    runs: int
    size: int
    frees: int
    grew: int
    due: int
    first: datetime | None


def trash(sources: Iterable[int], at: datetime) -> Trash:
    """The trash of these sources, in one query."""
    told = lying(sources).aggregate(
        runs=Count("*"), bytes=Sum("size", default=0), frees=Sum("frees", default=0), grew=Count("pk", filter=~Q(grew=[])),
        due=Count("pk", filter=Q(purge_after__lte=at)), first=Min("purge_after"))
    return Trash(told["runs"], told["bytes"], told["frees"], told["grew"], told["due"], told["first"])


def lying(sources: Iterable[int]) -> QuerySet[Tombstone]:
    """Buried runs that were neither purged nor brought back."""
    return Tombstone.objects.lying().filter(run__source__in=sources)


@dataclass(frozen=True, slots=True)
class Database:
    """What the points of all runs take in the database, and what became of the room of those that were dropped last."""

    size: int
    vacuumed: Vacuum | None


def database(user: User | AnonymousUser, sources: Collection[int]) -> Database | None:
    """For whoever sees every source; None for others: nobody can tell their part of it."""
    if not sees_everything(user) and Source.objects.exclude(pk__in=sources).exists():
        return None
    return Database(counts.bytes_of_points(), Vacuum.objects.first())


@dataclass(frozen=True, slots=True)
class Cleanup:
    """A cleanup, by what it did to runs that somebody may see."""

    plan: int
    who: str
    origin: str
    why: str
    state: str
    created: datetime
    runs: int
    size: int
    left: int
    freed: int

    @property
    def words(self) -> str:
        """How it stands."""
        return Plan.State(self.state).label


def cleanups(sources: Iterable[int]) -> list[Cleanup]:
    """The last ones that were confirmed, in one query."""
    gone = Q(step__in=(Step.BURYING, Step.BURIED, Step.PURGING, Step.PURGED, Step.RESTORING, Step.RESTORED,
                         Step.LOST))
    names = ("plan", "plan__who", "plan__origin", "plan__why", "plan__state", "plan__created")
    rows = (
        PlannedRun.objects.filter(run__source__in=sources)
        .exclude(plan__state__in=(Plan.State.DRAFT, Plan.State.CANCELLED)).order_by().values_list(*names)
        .annotate(gone=Count("pk", filter=gone), bytes=Sum("size", filter=gone, default=0),
                  left=Count("pk", filter=Q(step__in=(Step.SKIPPED, Step.FAILED))), freed=Sum("tombstone__freed", default=0))
        .order_by("-plan")[:SHOWN]
    )
    return [Cleanup(*row) for row in rows]


def cost(size: int) -> Decimal:
    """Dollars a month for so many bytes on the volumes."""
    return settings.TRAINMON_STORAGE_PRICE * size / GB
