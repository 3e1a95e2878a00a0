"""Figures of a metric over many runs, in one query each (CH-56)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Avg, Count, F, Max, Min, Q

from runs.compare import direction
from runs.models import Series

if TYPE_CHECKING:
    from runs.models.run import RunQuerySet

#: What a series is judged by: the column of Series that holds it.
FIGURES = {"last": "last", "min": "minimum", "max": "maximum"}
#: Datasets that one table shows.
DATASETS = 100


@dataclass(frozen=True, slots=True)
class DatasetFigures:
    """A metric over the runs of one dataset; ``dataset`` is None for runs without one."""

    dataset: int | None
    name: str
    trainer: str
    runs: int
    mean: float | None
    low: float | None
    high: float | None
    best: float | None


def by_dataset(runs: RunQuerySet, tag: str, figure: str = "last") -> list[DatasetFigures]:
    """Mean, lowest, highest and best of a metric for each dataset of these runs, the best known datasets first.

    A run counts with one figure of its series: its last value, its minimum or its maximum.
    Runs without the metric, or whose last value is NaN or Inf, do not count.  Which of the
    two ends is best is told by the metric's name (compare.direction); None where it tells nothing.
    """
    way = direction(tag)
    finite = ~Q(at__in=[float("nan"), float("inf"), float("-inf")])
    rows = (
        Series.objects.filter(run__in=runs.order_by().values("pk"), tag__name=tag)
        .annotate(at=F(FIGURES[figure]))
        .filter(finite, at__isnull=False)
        .order_by()
        .values("run__dataset", "run__dataset__name", "run__dataset__trainer__name")
        .annotate(runs=Count("pk"), mean=Avg("at"), low=Min("at"), high=Max("at"))
        .order_by("-runs", "run__dataset__name", "run__dataset")
    )
    return [
        DatasetFigures(
            row["run__dataset"], row["run__dataset__name"] or "", row["run__dataset__trainer__name"] or "",
            row["runs"], row["mean"], row["low"], row["high"],
            row["low"] if way < 0 else row["high"] if way > 0 else None,
        )
        for row in rows[:DATASETS]
    ]
