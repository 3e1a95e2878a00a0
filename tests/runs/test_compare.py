"""Runs beside one another: joins, bands and differences, without a database."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.colours import looks
from runs.compare import (
    Curve,
    band,
    best_of,
    curve,
    direction,
    flat,
    grid,
    is_path,
    joined,
    metric_row,
    parameter_rows,
    read,
)

numbers = st.floats(allow_nan=True, allow_infinity=True)
lines = st.lists(st.tuples(st.integers(-(2**40), 2**40), numbers), max_size=30)


def made(*points: tuple[float, float]) -> Curve:
    return curve([(np.array([p[0] for p in points]), np.array([p[1] for p in points]))])


def as_curve(points: list[tuple[int, float]]) -> Curve:
    return made(*points) if points else curve([])


def test_a_curve_is_in_step_order_whatever_the_order_of_its_lines() -> None:
    one = curve([(np.array([3, 4]), np.array([30.0, 40.0])), (np.array([1, 2]), np.array([10.0, 20.0]))])
    assert one.at.tolist() == [1, 2, 3, 4]
    assert one.values.tolist() == [10, 20, 30, 40]


def test_parallel_writers_at_one_step_count_as_their_mean() -> None:
    one = curve([(np.array([1, 2]), np.array([1.0, 5.0])), (np.array([1, 2]), np.array([3.0, 7.0]))])
    assert one.values.tolist() == [2.0, 6.0]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_single_values_stay_bit_for_bit(values: list[float]) -> None:
    assert made(*enumerate(values)).values.tolist() == values


def test_a_point_stands_at_the_x_that_was_measured_last() -> None:
    accuracy = made((10, 0.5), (20, 0.7))
    loss = made((5, 9.0), (10, 4.0), (15, 3.0), (20, 2.0), (99, 1.0))
    x, y = joined(accuracy, loss)
    assert x.tolist() == [0.5, 0.5, 0.7, 0.7]
    assert y.tolist() == [4.0, 3.0, 2.0, 1.0]


def test_a_point_whose_x_is_not_a_number_has_no_place() -> None:
    x, y = joined(made((1, math.nan), (3, 0.1)), made((1, 5.0), (2, 6.0), (3, 7.0)))
    assert (x.tolist(), y.tolist()) == ([0.1], [7.0])


@given(lines, lines)
def test_a_join_never_looks_ahead(first: list[tuple[int, float]], second: list[tuple[int, float]]) -> None:
    x, y = as_curve(first), as_curve(second)
    where, values = joined(x, y)
    expected = []
    for step, value in zip(y.at, y.values, strict=True):
        earlier = [v for s, v in zip(x.at, x.values, strict=True) if s <= step]
        if earlier and math.isfinite(earlier[-1]):
            expected.append((earlier[-1], value))
    assert np.array_equal(where, [e[0] for e in expected])
    assert np.array_equal(values, [e[1] for e in expected], equal_nan=True)


def test_only_an_x_that_keeps_its_way_is_a_path() -> None:
    assert is_path(np.array([1, 1, 2]))
    assert is_path(np.array([3, 2, 2]))
    assert not is_path(np.array([1, 3, 2]))


def test_a_curve_is_read_between_its_points_and_not_beyond() -> None:
    found = read(made((0, 0.0), (10, 10.0)), np.array([-1, 0, 5, 10, 11]))
    assert np.array_equal(found, [np.nan, 0, 5, 10, np.nan], equal_nan=True)


def test_a_curve_is_not_read_across_what_is_not_a_number() -> None:
    found = read(made((0, 0.0), (10, math.inf), (20, 20.0)), np.array([0, 5, 10, 15, 20]))
    assert np.array_equal(found, [0, np.nan, np.nan, np.nan, 20], equal_nan=True)


def test_three_seeds_make_a_mean_a_band_and_a_count() -> None:
    seeds = [made((0, 1.0), (10, 3.0)), made((0, 3.0), (10, 5.0)), made((0, 5.0))]
    made_of = band(seeds, grid(seeds, 100))
    assert made_of.at.tolist() == [0, 10]
    assert made_of.mean.tolist() == [3, 4]
    assert (made_of.low.tolist(), made_of.high.tolist()) == ([1, 3], [5, 5])
    assert made_of.count.tolist() == [3, 2]


def test_the_deviation_is_that_of_a_sample_and_nothing_for_one_run() -> None:
    seeds = [made((0, 1.0), (10, 3.0)), made((0, 3.0))]
    made_of = band(seeds, grid(seeds, 100), "std")
    assert made_of.high.tolist() == [pytest.approx(2 + math.sqrt(2)), 3.0]
    assert made_of.low.tolist() == [pytest.approx(2 - math.sqrt(2)), 3.0]


def test_too_many_places_become_evenly_spaced_ones() -> None:
    places = grid([made(*[(step, 0.0) for step in range(1000)])], 11)
    assert places.tolist() == pytest.approx(np.linspace(0, 999, 11).tolist())


@given(st.lists(lines, max_size=6), st.sampled_from(["range", "std"]), st.integers(2, 40))
def test_a_mean_lies_between_the_curves_that_reach_it(
    runs: list[list[tuple[int, float]]], spread: str, points: int
) -> None:
    curves = [as_curve(run) for run in runs]
    made_of = band(curves, grid(curves, points), spread)
    assert (made_of.count >= 1).all()
    assert (made_of.count <= len(curves)).all()
    assert np.isfinite(made_of.mean).all()
    for place, mean in zip(made_of.at, made_of.mean, strict=True):
        values = [read(one, np.array([place]))[0] for one in curves]
        known = [v for v in values if not math.isnan(v)]
        assert min(known) <= mean <= max(known)
    assert (made_of.low <= made_of.mean).all()
    assert (made_of.high >= made_of.mean).all()


def test_parameters_that_differ_come_first_and_missing_is_told_from_null() -> None:
    rows = parameter_rows([{"seed": 1, "lr": 0.1, "model": {"size": None}}, {"seed": 1.0, "lr": 0.2}])
    assert [(row.name, row.differs) for row in rows] == [("lr", True), ("model.size", True), ("seed", False)]
    assert [cell.missing for cell in rows[1].cells] == [False, True]


def test_true_is_not_one_and_nan_is_nan() -> None:
    assert parameter_rows([{"a": True}, {"a": 1}])[0].differs
    assert not parameter_rows([{"a": math.nan}, {"a": math.nan}])[0].differs


def test_nested_parameters_get_dotted_names() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": [1, 2]}) == {"a.b.c": 1, "a.d": {}, "e": [1, 2]}


def test_a_parameter_of_a_thousand_levels_does_not_crash() -> None:
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"x": deep}
    assert len(flat(deep)) == 1


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("loss", -1), ("train/loss", -1), ("val_loss", -1), ("evalLoss", -1), ("eval/perplexity", -1),
        ("val/accuracy", 1), ("top_1_acc", 1), ("eval/f1", 1), ("reward/mean", 1), ("accuracy_loss", -1),
        ("samples_per_second", 1), ("time_per_step", -1), ("learning_rate", 0), ("grad_norm", 0), ("", 0),
        ("epoch", 0), ("glossary", 0), ("r2", 1),
    ],
)
def test_which_way_is_better_is_read_from_the_name(name: str, way: int) -> None:
    assert direction(name) == way


def test_the_best_of_a_row_is_marked_by_the_direction_of_its_metric() -> None:
    row = metric_row("train/loss", "last", [0.5, None, 0.25, math.nan])
    assert [cell.best for cell in row.cells] == [False, False, True, False]
    assert [cell.missing for cell in row.cells] == [False, True, False, False]
    assert not any(cell.best for cell in metric_row("lr", "last", [1.0, 2.0]).cells)


def test_nothing_is_best_where_all_are_alike() -> None:
    assert best_of([0.5, 0.5, None], -1) is None
    assert best_of([0.5], -1) is None


def test_two_runs_have_a_delta() -> None:
    row = metric_row("loss", "last", [0.5, 0.25])
    assert (row.delta, row.percent) == (-0.25, -50.0)
    assert metric_row("loss", "last", [0.0, 0.25]).percent is None
    rank = parameter_rows([{"rank": 16}, {"rank": 8}])[0]
    assert (rank.delta, rank.is_whole, rank.percent) == (-8, True, -50.0)
    assert parameter_rows([{"a": "x"}, {"a": 2}])[0].delta is None
    assert metric_row("loss", "last", [1.0, 2.0, 3.0]).delta is None


def test_numbers_beyond_all_bounds_are_compared_without_a_crash() -> None:
    assert parameter_rows([{"a": 10**400}, {"a": 1}])[0].differs
    assert metric_row("loss", "last", [-1.7e308, 1.7e308]).percent is None


def test_a_run_keeps_its_colour_and_no_two_look_alike() -> None:
    assert looks([7])[7].colour == looks([7, 17, 27])[7].colour == 7
    assert [looks([17, 7])[run].dash for run in (7, 17)] == [0, 1]


@given(st.sets(st.integers(1, 10**9), max_size=60))
def test_up_to_sixty_runs_are_told_apart(runs: set[int]) -> None:
    found = looks(runs)
    assert len(set(found.values())) == len(runs) == len(found)
