"""A metric over the runs of each dataset (CH-56)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from runs.aggregates import by_dataset
from runs.models import Run
from tests.runs.factories import make_points, make_run

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


def test_mean_lowest_highest_and_best_of_each_dataset(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for dataset, values in (("alpaca", [3.0, 1.0]), ("alpaca", [4.0, 2.0]), ("dolly", [5.0]), ("", [7.0])):
        make_points(make_run(dataset=dataset), "loss", values)
    make_run(dataset="alpaca")
    with django_assert_num_queries(1):
        rows = by_dataset(Run.objects.all(), "loss")
    assert [(row.name, row.runs, row.mean, row.low, row.high, row.best) for row in rows] == [
        ("alpaca", 2, 1.5, 1.0, 2.0, 1.0), ("dolly", 1, 5.0, 5.0, 5.0, 5.0), ("", 1, 7.0, 7.0, 7.0, 7.0),
    ]


def test_the_figure_is_chosen_and_the_best_follows_the_name_of_the_metric() -> None:
    for values in ([0.2, 0.9, 0.5], [0.1, 0.4]):
        make_points(make_run(dataset="alpaca"), "accuracy", values)
        make_points(Run.objects.first(), "lr", values)  # type: ignore[arg-type]
    assert by_dataset(Run.objects.all(), "accuracy", "max")[0].best == 0.9
    assert by_dataset(Run.objects.all(), "accuracy", "min")[0].low == 0.1
    assert by_dataset(Run.objects.all(), "lr")[0].best is None


def test_a_run_that_ended_in_nan_does_not_spoil_its_dataset() -> None:
    make_points(make_run(dataset="alpaca"), "loss", [1.0, math.nan])
    make_points(make_run(dataset="alpaca"), "loss", [3.0])
    (row,) = by_dataset(Run.objects.all(), "loss")
    assert (row.runs, row.mean) == (1, 3.0)


def test_runs_with_the_same_name_of_dataset_in_two_trainers_stay_apart() -> None:
    from tests.runs.factories import make_source, make_trainer

    for slug in ("lora", "router"):
        make_points(make_run(make_source(make_trainer(slug)), dataset="alpaca"), "loss", [1.0])
    assert sorted(row.trainer for row in by_dataset(Run.objects.all(), "loss")) == ["lora", "router"]
