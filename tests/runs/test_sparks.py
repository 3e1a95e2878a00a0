"""A sparkline is drawn anew when a person would see that it moved."""

from __future__ import annotations

import math

import pytest

from runs.charts import Main
from runs.dressing import dress_rows
from runs.models import Run
from runs.sparks import BEHIND, Curve
from tests.runs.factories import make_file, make_points, make_run

DRAWN = Curve("M0 0h80", low=0.0, high=1.0, version=7, points=1000, at=100.0)


def later(points: int, last: float | None = 0.5, version: int = 8) -> tuple[Run, Main]:
    return Run(version=version), Main("loss", 1, points, None, last)


def test_a_run_that_did_not_change_keeps_its_curve() -> None:
    assert DRAWN.shows(*later(1000, 99.0, version=7), now=1e9)


def test_a_step_of_less_than_a_pixel_waits_for_the_next_ones() -> None:
    assert DRAWN.shows(*later(1001), now=101.0)
    assert not DRAWN.shows(*later(1013), now=101.0)
    assert not DRAWN.shows(*later(1001), now=100.0 + BEHIND)


@pytest.mark.parametrize("last", [1.5, -0.5, math.nan, math.inf, None])
def test_a_value_beyond_what_was_drawn_is_drawn_at_once(last: float | None) -> None:
    assert not DRAWN.shows(*later(1001, last), now=101.0)


def test_a_run_that_was_read_anew_is_drawn_at_once() -> None:
    assert not DRAWN.shows(*later(900), now=101.0)


@pytest.mark.django_db
def test_a_list_shows_the_newest_curve() -> None:
    run = make_run()
    series = make_points(run, "loss", [1.0, 2.0], file=make_file(run))
    dress_rows([run])
    before = run.main and run.main.d
    series.delete()
    make_points(run, "loss", [1.0, 2.0, 0.0], file=run.log_files.get())
    run.version += 1
    dress_rows([run])
    assert before and run.main and run.main.d != before
