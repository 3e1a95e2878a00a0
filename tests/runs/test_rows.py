"""Saving many rows at once: what changed of them, and nothing else."""

from __future__ import annotations

import pytest

from runs.models import Run
from runs.rows import Standing
from tests.runs.factories import make_run, make_source

FIELDS = ["step", "error", "params", "point_count"]


@pytest.mark.django_db
def test_only_rows_and_columns_that_changed_are_written(django_assert_num_queries):
    source = make_source()
    runs = [make_run(source, name=name, step=1, error="as it was", params={"lr": 1}) for name in ("one", "two", "three")]
    standing = Standing(runs, FIELDS)
    runs[0].step, runs[1].params = 2, {"lr": True}
    Run.objects.filter(pk=runs[0].pk).update(error="said by another")
    Run.objects.filter(pk=runs[2].pk).update(step=7)
    with django_assert_num_queries(1):
        standing.save()
    assert list(Run.objects.order_by("pk").values_list("step", "error")) == [
        (2, "said by another"), (1, "as it was"), (7, "as it was")]
    assert Run.objects.get(pk=runs[1].pk).params["lr"] is True


@pytest.mark.django_db
def test_rows_of_which_nothing_changed_are_not_written(django_assert_num_queries):
    run = make_run(step=3)
    standing = Standing([run], FIELDS)
    run.step = 3
    with django_assert_num_queries(0):
        standing.save()
        Standing([], FIELDS).save()
