"""The storage page: how full the volumes are, what takes the room, what comes and what goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.shortcuts import render
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from retention import usage
from retention.rights import may_clean
from retention.space import volumes
from retention.turns import turns
from runs.models import Dataset, Source
from runs.streamed import let_go

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models import Run, Trainer

#: Datasets that the page shows, those that take most.
DATASETS = 15


@dataclass(frozen=True, slots=True)
class Part:
    """What a trainer's or a dataset's runs take, and its share of all that is shown."""

    trainer: Trainer
    dataset: Dataset | None
    held: usage.Held
    share: float | None


@require_safe
def storage(request: HttpRequest) -> HttpResponse:
    """All of it for the sources that the user may see; no disk is waited for longer than a moment."""
    at = now()
    sources = list(Source.objects.visible_to(request.user).select_related("trainer").defer("verdicts", "fingerprint"))
    ids = [source.pk for source in sources]
    let_go()
    standings = volumes.standing([source.root for source in sources])
    held = usage.held_by(ids, at)
    came = usage.came_to(ids, at)
    total, lately = usage.Held(), usage.Came()
    for one in held.values():
        total.add(one)
    for growth in came.values():
        lately.add(growth)
    by_source = usage.summed(held, lambda source, dataset: source)
    cleans = may_clean(request.user)
    context = {
        "sources_seen": sources,
        "total": total,
        "came": lately,
        "cost": usage.cost(total.size + total.buried_size),
        "price": settings.TRAINMON_STORAGE_PRICE,
        "old_days": settings.TRAINMON_OLD_DAYS,
        "volumes": usage.volumes(sources, standings, by_source, came, at),
        "trash": usage.trash(ids, at),
        "cleanups": usage.cleanups(ids),
        "database": usage.database(request.user, ids),
        "may_clean": cleans,
        "turns": turns(request.user, on=True) if cleans else [],
        **_parts(sources, held, total),
        **_runs(sources, ids),
    }
    return render(request, "storage.html", context)


def _parts(sources: list[Source], held: dict[tuple[int, int | None], usage.Held], total: usage.Held) -> dict[str, Any]:
    """The same by trainer and by dataset, those first that take most."""
    trainers = {source.pk: source.trainer for source in sources}
    by_trainer = _largest(usage.summed(held, lambda source, _: (trainers[source].pk, None)))
    by_dataset = _largest(usage.summed(held, lambda source, dataset: (trainers[source].pk, dataset)))
    names = Dataset.objects.in_bulk([pk for (_, pk), _ in by_dataset[:DATASETS] if pk is not None])
    of = {trainer.pk: trainer for trainer in trainers.values()}

    def part(key: tuple[int, int | None], one: usage.Held) -> Part:
        return Part(of[key[0]], names.get(key[1] or 0), one, one.size / total.size if total.size else None)

    return {
        "trainers": [part(*row) for row in by_trainer],
        "datasets": [part(*row) for row in by_dataset[:DATASETS]],
        "more_datasets": len(by_dataset) - DATASETS,
    }


def _largest(held: dict[Any, usage.Held]) -> list[tuple[Any, usage.Held]]:
    return sorted(((key, one) for key, one in held.items() if one.runs), key=lambda row: -row[1].size)


def _runs(sources: list[Source], ids: list[int]) -> dict[str, list[Run]]:
    """The largest and the oldest runs, with the sources that are known already."""
    known = {source.pk: source for source in sources}
    lists = {"largest": usage.largest(ids), "oldest": usage.oldest(ids)}
    for runs in lists.values():
        for run in runs:
            run.source = known[run.source_id]
    return lists
