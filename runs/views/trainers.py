"""The page of a trainer: who sees it, where its logs lie, how its runs stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Count, Prefetch
from django.shortcuts import get_object_or_404, render

from runs.aggregates import DatasetFigures, by_dataset
from runs.charts import MAIN_TAGS
from runs.counts import held
from runs.dressing import dress_rows
from runs.models import Dataset, Run, Series, Source, Tag, Trainer
from runs.views.latest import latest

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models.run import RunQuerySet

#: Datasets that the page shows.
DATASETS = 100
UNMEASURED = DatasetFigures(dataset=None, name="", trainer="", runs=0, mean=None, low=None, high=None, best=None)


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset, how many runs it has, and their main metric."""

    dataset: Dataset
    runs: int
    figures: DatasetFigures


def trainer_page(request: HttpRequest, slug: str) -> HttpResponse:
    """A trainer that the user may see, else 404."""
    few = Prefetch("sources", Source.objects.defer("verdicts", "fingerprint"))  # TensorBoard's panel asks for them, too
    trainers = Trainer.objects.visible_to(request.user).prefetch_related("groups", few)
    trainer = get_object_or_404(trainers, slug=slug)
    sources = list(trainer.sources.all())
    everything = held()
    counts = everything.of(source.pk for source in sources)
    # by id: the planner knows how many runs a source has, and nothing of a trainer
    runs = Run.objects.filter(source__in=[source.pk for source in sources]).active()
    tag = _main_tag(runs)
    context = {
        "trainer": trainer,
        "sources": [(source, everything.of([source.pk])) for source in sources],
        "counts": counts,
        "database": everything.database_share(counts.points),
        "recent": dress_rows(latest(runs)),
        "private": settings.TRAINMON_PRIVATE,
        "metric": tag,
        "datasets": _datasets(runs, tag),
    }
    return render(request, "trainer.html", context)


def _main_tag(runs: RunQuerySet) -> str:
    """The main tag that most of these runs have, of those in datasets; of several the first."""
    names = dict(Tag.objects.filter(name__in=MAIN_TAGS).values_list("pk", "name"))
    counted = Series.objects.filter(tag__in=names, run__in=runs.exclude(dataset=None).order_by()).order_by()
    found = counted.values_list("tag").annotate(runs=Count("pk"))
    ranked = sorted((-count, MAIN_TAGS.index(names[tag])) for tag, count in found)
    return MAIN_TAGS[ranked[0][1]] if ranked else ""


def _datasets(runs: RunQuerySet, tag: str) -> list[DatasetRow]:
    """The datasets with most runs, each with its figures of the main metric."""
    counts = dict(
        runs.exclude(dataset=None).order_by().values_list("dataset").annotate(runs=Count("pk"))
        .order_by("-runs", "dataset")[:DATASETS]
    )
    figures = {one.dataset: one for one in by_dataset(runs, tag)} if tag else {}
    datasets = Dataset.objects.in_bulk(list(counts))
    return [DatasetRow(datasets[pk], count, figures.get(pk, UNMEASURED)) for pk, count in counts.items()]
