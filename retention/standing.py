"""How cleanups stand, as one user may see it: of runs that they may not see nothing is told, not even the number."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import Case, Count, Exists, OuterRef, QuerySet, Sum, When
from django.utils.timezone import now

from retention.models import Plan, PlannedRun, Tombstone
from runs.models import Run

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

Step = PlannedRun.Step
#: Where a run that went is now.
GONE = (Step.BURIED, Step.PURGING, Step.PURGED, Step.RESTORING, Step.RESTORED, Step.LOST)
#: What is being done to a run just now.
WORKING = (Step.ARCHIVING, Step.BURYING, Step.PURGING, Step.RESTORING)
#: Rows that a page shows of a cleanup, and the time after which one that nobody begins is worth a word.
ROWS, WAITS = 500, timedelta(seconds=20)


def planned(user: User | AnonymousUser) -> QuerySet[PlannedRun]:
    """The runs of all cleanups, as far as this user may see them."""
    return PlannedRun.objects.filter(run__in=Run.objects.visible_to(user).order_by())


def plans(user: User | AnonymousUser) -> QuerySet[Plan]:
    """The cleanups of which this user may see a run, the newest first."""
    return Plan.objects.filter(Exists(planned(user).filter(plan=OuterRef("pk")))).order_by("-pk")


def tombs(user: User | AnonymousUser) -> QuerySet[Tombstone]:
    """What lies in the trash, as far as this user may see it."""
    seen = Run.objects.visible_to(user).order_by()
    return Tombstone.objects.lying().filter(run__in=seen)


@dataclass(frozen=True)
class Standing:
    """A cleanup, by what became of its runs."""

    plan: Plan
    #: step -> (runs, bytes, bytes of the disk)
    steps: dict[str, tuple[int, int, int]]
    #: Whether the user sees all of its runs: else what is said of all together would tell of others.
    whole: bool = True

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done."""
        return self.plan.state in Plan.OPEN

    @property
    def late(self) -> bool:
        """Whether nobody has begun it, and should have."""
        plan = self.plan
        return plan.state == Plan.State.CONFIRMED and plan.confirmed_at is not None and now() - plan.confirmed_at > WAITS

    def runs(self, among: Collection[str] = Step.values) -> int:
        """How many runs are at one of these steps."""
        return sum(runs for step, (runs, *_) in self.steps.items() if step in among)

    def size(self, among: Collection[str] = Step.values) -> int:
        """The bytes of their files."""
        return sum(size for step, (_, size, _) in self.steps.items() if step in among)

    @property
    def gone(self) -> int:
        """Runs that went to the trash (or were archived, where that was all)."""
        return self.runs((*GONE, Step.ARCHIVED) if self.plan.keeps else GONE)

    @property
    def left_alone(self) -> int:
        """Runs that are where they were."""
        return self.runs((Step.SKIPPED, Step.FAILED))

    @property
    def in_trash(self) -> int:
        """Runs that lie in the trash now."""
        return self.runs((Step.BURIED,))

    @property
    def restored(self) -> int:
        """Runs that went, and are back."""
        return self.runs((Step.RESTORED,))

    @property
    def frees(self) -> int:
        """Bytes of the disk that are free when those in the trash are purged."""
        return self.steps.get(Step.BURIED, (0, 0, 0))[2]

    @property
    def selected(self) -> str:
        """The selection in the words that were given; empty where they may name what this user does not see."""
        return self.plan.selected if self.whole else ""

    @property
    def progress(self) -> dict[str, Any]:
        """What the janitor says of it; nothing where that is also of other runs."""
        return self.plan.progress if self.whole else {}

    @cached_property
    def share(self) -> float:
        """How much of its bytes is done: as the janitor says, else by the runs that are."""
        if not self.is_open:
            return 1.0
        said = self.progress
        done, total = said.get("done", 0), said.get("total", 0)
        if not total:
            left = (Step.SKIPPED, Step.FAILED)
            done, total = self.size(PlannedRun.SETTLED) - self.size(left), self.size() - self.size(left)
        return min(1.0, done / total) if total else 0.0


def standing(plan: Plan, user: User | AnonymousUser) -> Standing:
    """How this cleanup stands."""
    return standings([plan], user)[0]


def standings(some: Collection[Plan], user: User | AnonymousUser) -> list[Standing]:
    """How these stand, in one query."""
    seen = Case(When(run__in=Run.objects.visible_to(user).order_by(), then=True), default=False)
    counted = PlannedRun.objects.filter(plan__in=some).order_by().values_list("plan", "step", seen).annotate(
        Count("pk"), Sum("size"), Sum("frees"))
    steps: dict[int, dict[str, tuple[int, int, int]]] = {plan.pk: {} for plan in some}
    parts = set()
    for plan, step, mine, runs, size, frees in counted:
        if mine:
            steps[plan][step] = runs, size, frees
        else:
            parts.add(plan)
    return [Standing(plan, steps[plan.pk], plan.pk not in parts) for plan in some]


def rows(plan: Plan, user: User | AnonymousUser, *, left: bool) -> list[PlannedRun]:
    """Its runs of which something stood against the deed (``left``), or the others, those being worked on first."""
    working = Case(When(step__in=WORKING, then=0), default=1)
    found = planned(user).filter(plan=plan).select_related("run__dataset", "run__source__trainer").only(
        "path", "step", "error", "size", "files", "run__name", "run__dataset__name", "run__source__trainer__name")
    return list((found.exclude(error="") if left else found.filter(error="")).order_by(working, "pk")[:ROWS])
