"""How far the volumes of some runs are over a ceiling, for policies: what is on its way out already counts as gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Sum

from retention.models import Plan, PlannedRun, Tombstone
from retention.space import volumes
from runs.models import Run, Source

#: Seconds that volumes have to answer: nothing goes from one that does not.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Fullness:
    """The volume of each source that answers, and the bytes on each that are not on their way out."""

    volume_of: Mapping[int, Hashable] = field(default_factory=dict)
    used: Mapping[Hashable, int] = field(default_factory=dict)


def fullness(sources: Collection[int], taken: Collection[int]) -> Fullness:
    """Of the volumes of these sources; ``taken`` are runs that go already.

    What lies in the trash frees its room later: without it, each hour would take more until nothing is left.
    """
    # asked in this order: what is purged in between counts as gone twice, never as there twice
    leaving = list(_leaving(taken))
    roots = dict(Source.objects.filter(pk__in={*sources, *(source for source, _ in leaving)}).values_list("pk", "root"))
    standings = volumes.standing(set(roots.values()), PATIENCE, fresh=timedelta(0))
    device: dict[int, Hashable] = {}
    used: dict[Hashable, int] = {}
    for source, root in roots.items():
        standing = standings[root]
        if standing.space is not None and not standing.silent and not standing.error:
            device[source], used[standing.space.device] = standing.space.device, standing.space.used
    for source, size in leaving:
        if source in device:
            used[device[source]] -= size
    return Fullness({source: device[source] for source in sources if source in device}, used)


def _leaving(taken: Collection[int]) -> Iterable[tuple[int, int]]:
    """Bytes by source that are freed when what was ordered is done: the trash, cleanups at work, runs of other policies."""
    trash = Tombstone.objects.lying().values_list("source").annotate(Sum("frees"))
    at_work = PlannedRun.objects.filter(plan__state__in=Plan.OPEN, plan__keeps=False).exclude(step__in=PlannedRun.SETTLED)
    going = set(at_work.values_list("run", flat=True))
    runs = Run.objects.filter(pk__in=going | set(taken)).order_by().values_list("source").annotate(Sum("size"))
    found: Counter[int] = Counter()
    for rows in (trash.order_by(), runs):
        for source, size in rows:
            found[source] += size or 0
    return found.items()
