"""What a figure shows: attempts in order, writers apart, nothing hidden (P3, P4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from runs import charts, figures
from runs.charts import arrange, span
from runs.dressing import dress_rows
from runs.models import LogFile, Series
from runs.pieces import Piece
from runs.thinning import nice_ticks, thin
from tests.runs.factories import make_file, make_points, make_run

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries


def piece(file: int, steps: list[int] | range, value: float = 1.0, part: int = 0) -> Piece:
    x = np.array(list(steps))
    return Piece(file, part, x, x + 1e9, np.full(len(x), value), int(x[0]), int(x.max()))


def spans(**walls: tuple[float, float]) -> dict[int, charts.Span]:
    """f1=(0, 10) and so on: files by number with their first and last wall time."""
    return {int(name[1:]): span(int(name[1:]), f"run/{name}", *wall) for name, wall in walls.items()}


def drawn(drawing: charts.Drawing) -> list[tuple[int, bool, list[int]]]:
    return [(line.writer, line.old, line.steps.tolist()) for line in drawing.lines]


def test_one_file_is_one_line() -> None:
    assert drawn(arrange([piece(1, range(3))], spans(f1=(0, 10)))) == [(0, False, [0, 1, 2])]


def test_a_resumed_session_joins_the_one_before() -> None:
    drawing = arrange([piece(2, [3, 4]), piece(1, [0, 1, 2])], spans(f1=(0, 10), f2=(20, 30)))
    assert sorted(drawn(drawing)) == [(0, False, [0, 1, 2]), (0, False, [3, 4])]
    assert [(r.step, r.why) for r in drawing.restarts] == [(3, "resumed")]


def test_the_overlapped_tail_of_an_earlier_session_is_superseded_not_lost() -> None:
    drawing = arrange([piece(1, range(6)), piece(2, range(3, 8))], spans(f1=(0, 10), f2=(20, 30)))
    assert drawn(drawing) == [(0, True, [3, 4, 5]), (0, False, [0, 1, 2]), (0, False, [3, 4, 5, 6, 7])]
    assert [(r.step, r.why) for r in drawing.restarts] == [(3, "steps went back")]


def test_files_that_overlap_in_time_are_drawn_side_by_side_and_never_cut() -> None:
    drawing = arrange([piece(1, range(5)), piece(2, range(5))], spans(f1=(0, 10), f2=(5, 15)))
    assert drawn(drawing) == [(0, False, [0, 1, 2, 3, 4]), (1, False, [0, 1, 2, 3, 4])]
    assert drawing.restarts == []
    assert drawing.writers == ["f1", "f2"]


def test_the_order_of_files_is_that_of_their_clocks_not_of_their_numbers() -> None:
    drawing = arrange([piece(1, [5, 6]), piece(2, [0, 1, 2])], spans(f1=(20, 30), f2=(0, 10)))
    assert [line.steps.tolist() for line in drawing.lines] == [[0, 1, 2], [5, 6]]


def test_a_start_from_zero_supersedes_the_whole_attempt_before() -> None:
    drawing = arrange([piece(1, range(4)), piece(1, range(2), part=1)], spans(f1=(0, 10)))
    assert drawn(drawing) == [(0, True, [0, 1, 2, 3]), (0, False, [0, 1])]


def test_three_attempts_are_cut_by_each_later_one() -> None:
    pieces = [piece(1, range(9)), piece(1, range(6, 8), part=1), piece(1, range(3, 5), part=2)]
    drawing = arrange(pieces, spans(f1=(0, 10)))
    kept = [line.steps.tolist() for line in drawing.lines if not line.old]
    assert kept == [[0, 1, 2], [3, 4]]
    assert sum(len(line.steps) for line in drawing.lines) == 13


def test_each_of_two_writers_is_resumed_by_its_own() -> None:
    walls = {
        1: span(1, "run/events.out.tfevents.1.hosta.1.0", 0, 10),
        2: span(2, "run/events.out.tfevents.1.hostb.2.0", 1, 11),
        3: span(3, "run/events.out.tfevents.2.hosta.3.0", 20, 30),
        4: span(4, "run/events.out.tfevents.2.hostb.4.0", 21, 31),
    }
    assert charts.writers([4, 3, 2, 1], walls) == [[1, 3], [2, 4]]


@pytest.mark.parametrize("wall", [None, math.nan])
def test_files_without_a_clock_are_still_drawn(wall: float | None) -> None:
    walls = {1: span(1, "a", wall, wall), 2: span(2, "b", wall, wall)}
    drawing = arrange([piece(1, range(3)), piece(2, range(3, 5))], walls)
    assert sum(len(line.steps) for line in drawing.lines) == 5


def test_a_spike_survives_thinning() -> None:
    values = np.zeros(100_000)
    values[54_321] = 7.0
    strokes = thin(np.arange(100_000), values, 0, 99_999, 300)
    assert max(y.max() for _, y in strokes) == 7.0
    assert sum(len(x) for x, _ in strokes) <= 600


def test_nan_leaves_a_gap() -> None:
    values = np.array([1.0, 2.0, np.nan, 3.0, np.inf, 4.0])
    strokes = thin(np.arange(6), values, 0, 5, 300)
    assert [y.tolist() for _, y in strokes] == [[1.0, 2.0], [3.0], [4.0]]


def test_nan_leaves_a_gap_in_thinned_lines_too() -> None:
    values = np.ones(100_000)
    values[40_000:60_000] = np.nan
    strokes = thin(np.arange(100_000), values, 0, 99_999, 300)
    assert len(strokes) == 2
    assert strokes[0][0].max() < 40_000
    assert strokes[1][0].min() >= 60_000


def test_missing_steps_leave_a_gap_and_a_changed_interval_does_not() -> None:
    holed = np.concatenate([np.arange(50), np.arange(500, 550)])
    assert len(thin(holed, np.ones(100), 0, 549, 300)) == 2
    slower = np.concatenate([np.arange(50), np.arange(50, 1000, 50)])
    assert len(thin(slower, np.ones(len(slower)), 0, 950, 300)) == 1


def test_ticks_are_round_and_within_bounds() -> None:
    assert nice_ticks(0, 10, 4) == [0, 2.5, 5, 7.5, 10]
    assert nice_ticks(3, 3, 4) == []
    assert nice_ticks(-math.inf, math.inf, 4) == []
    assert all(1e300 < tick < 2e300 for tick in nice_ticks(1.1e300, 1.9e300, 4))


@pytest.mark.django_db
def test_only_the_shown_generation_is_drawn() -> None:
    run = make_run()
    file = make_file(run)
    series = make_points(run, "loss", [9.0, 9.0], file=file, generation=0)
    make_points(run, "loss", [1.0, 2.0, 3.0], file=file, generation=1)
    LogFile.objects.filter(pk=file.pk).update(generation=1)
    (line,) = charts.drawings([series])[series.pk].lines
    assert line.values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.django_db
def test_chunks_and_tail_are_one_line() -> None:
    run = make_run()
    series = make_points(run, "loss", np.arange(8250, dtype="<f4"))
    (line,) = charts.drawings([series])[series.pk].lines
    assert line.values.tolist() == list(range(8250))


@pytest.mark.django_db
def test_long_series_are_drawn_from_the_extremes_of_their_chunks(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    """P20: a page decodes a bounded number of points."""
    run = make_run()
    values = np.zeros(20_000)
    values[12_345] = 5.0
    series = make_points(run, "loss", values)
    with django_assert_max_num_queries(6):
        drawing = charts.drawings([series], points=10_000)[series.pk]
    assert drawing.coarse
    assert max(line.values.max() for line in drawing.lines) == 5.0


@pytest.mark.django_db
@pytest.mark.parametrize(
    "values",
    [
        [1.0], [0.0, 0.0], [math.nan] * 3, [math.inf, -math.inf], [1.7e308, -1.7e308], [5e-324, 0.0],
        [1e-12, 1.0000001e-12], [1000.0005, 1000.0006], np.array([2**63, 2**64 - 1], "<u8"), np.array([0.1], "<f2"),
    ],
)
def test_any_values_make_a_figure(values: object) -> None:
    """P4."""
    run = make_run()
    (figure,) = figures.figures([make_points(run, "loss", values)])  # type: ignore[arg-type]
    assert figure.paths
    for path in figure.paths:
        assert "nan" not in path.d.lower()
        assert "inf" not in path.d.lower()


@pytest.mark.django_db
def test_steps_at_the_ends_of_int64_make_a_figure() -> None:
    run = make_run()
    (figure,) = figures.figures([make_points(run, "loss", [1.0, 2.0], steps=[-(2**63), 2**63 - 1])])
    assert figure.paths[0].d.startswith("M0 ")


@pytest.mark.django_db
def test_nan_and_inf_are_marked_on_the_edge_with_where_they_began() -> None:
    run = make_run()
    (figure,) = figures.figures([make_points(run, "loss", [1.0, math.nan, math.nan, math.inf, 2.0])])
    titles = [path.title for path in figure.paths if path.css.startswith("mark")]
    assert titles == ["2 NaN, first at step 1", "1 +Inf, first at step 3"]


@pytest.mark.django_db
def test_a_series_without_shown_points_makes_an_empty_figure() -> None:
    run = make_run()
    series = make_points(run, "loss", [1.0])
    LogFile.objects.update(generation=5)
    (figure,) = figures.figures([Series.objects.get(pk=series.pk)])
    assert figure.paths == []


@pytest.mark.django_db
def test_the_main_metric_is_the_first_known_tag() -> None:
    run, other = make_run(), make_run()
    make_points(run, "eval/loss", [2.0])
    make_points(run, "train/loss", [3.0, 1.0])
    make_points(other, "lr", [0.1])
    dress_rows([run, other])
    assert run.main is not None
    assert (run.main.tag, run.main.last) == ("train/loss", 1.0)
    assert other.main is None


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 0.25, 0.5], ["0", "0.25", "0.50"]),
        ([1000.0005, 1000.001], ["1000.0005", "1000.0010"]),
        ([9e-5, 9.5e-5, 1e-4], ["9.00e-05", "9.50e-05", "1.00e-04"]),
        ([1e6, 2e6], ["1e+06", "2e+06"]),
        ([-1e-17, 0.5], ["0", "0.5"]),
        ([12000.0, 13000.0], ["12000", "13000"]),
        ([7.0], ["7"]),
        ([], []),
    ],
)
def test_numbers_beside_an_axis_are_written_alike_and_tell_themselves_apart(
    values: list[float], texts: list[str]
) -> None:
    assert figures.axis_numbers(values) == texts
