"""However points are cut into commits, the same points and the same summaries come of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.chunks import CHUNK_POINTS, TAIL_POINTS, unpack
from runs.models import Series, SeriesChunk, SeriesTail
from runs.points import SeriesWriter
from runs.readers.records import Points
from runs.series import NAME_BYTES, ensure_tags, recount, tag_name
from tests.runs.factories import make_file, make_run
from tests.runs.trees import WALL

pytestmark = pytest.mark.django_db

Row = tuple[int, int, float, Any]  # part, step, wall, value


def pieces(rows: list[Row], tag: str = "loss") -> list[Points]:
    """Rows as a reader hands them over: neighbours of one part and type together."""
    found: list[Points] = []
    at = 0
    for here in range(1, len(rows) + 1):
        first = rows[at]
        if here == len(rows) or (rows[here][0], rows[here][3].dtype) != (first[0], first[3].dtype):
            some = rows[at:here]
            found.append(Points(tag, first[0], np.array([r[1] for r in some], "<i8"),
                                np.array([r[2] for r in some], "<f8"), np.array([r[3] for r in some], first[3].dtype)))
            at = here
    return found


def store(rows: list[Row], cuts: list[int], *, resume: bool = True, tag: str = "loss") -> Series:
    """Write these rows in commits that end at the cuts, each by a new writer or all by one."""
    run = make_run()
    file = make_file(run)
    ensure_tags({tag})
    writer = SeriesWriter(run.pk, file.pk, 0, fresh=True)
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        written = writer.write(pieces(rows[start:stop], tag), shown=True)
        assert written == stop - start
        if resume:
            writer = SeriesWriter(run.pk, file.pk, 0, fresh=False)
    return Series.objects.get(run=run)


def stored(series: Series) -> list[tuple[int, int, int, str, bytes]]:
    """Every bit of every point, in order, by part."""
    found = []
    for model in (SeriesChunk, SeriesTail):
        found += [(row.part, row.start, *unpack(bytes(row.data))) for row in model.objects.filter(series=series)]
    points = []
    ends: dict[int, int] = {}
    for part, start, steps, walls, values in sorted(found, key=lambda row: row[:2]):
        assert start == ends.get(part, 0), "a gap, or points stored twice"
        ends[part] = start + len(steps)
        points += [(part, int(s), int(w), v.dtype.str, v.tobytes())
                   for s, w, v in zip(steps, walls.view("<i8"), values, strict=True)]
    return points


def wanted(rows: list[Row]) -> list[tuple[int, int, int, str, bytes]]:
    in_parts = sorted(rows, key=lambda row: row[0])
    return [(part, step, int(np.float64(wall).view("<i8")), value.dtype.str, value.tobytes())
            for part, step, wall, value in in_parts]


def summary(series: Series) -> tuple[Any, ...]:
    fields = ("count", "first_step", "last_step", "last", "last_wall", "minimum", "maximum", "nonfinite")
    return tuple(repr(value) for value in Series.objects.values_list(*fields).get(pk=series.pk))


INT64 = st.integers(-(2**63), 2**63 - 1)
WALLS = st.one_of(st.floats(1.6e9, 1.8e9), st.floats(width=64), st.just(math.nan), st.just(WALL))
VALUES = st.one_of(
    st.floats(width=32).map(np.float32), st.floats().map(np.float64), INT64.map(np.int64),
    st.integers(0, 2**64 - 1).map(np.uint64), st.just(np.float32(-0.0)), st.just(np.float64("nan")))


@st.composite
def some_rows(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Rows whose parts go up, and where they are cut into commits."""
    count = draw(st.integers(1, 40))
    parts = sorted(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    kinds = draw(st.lists(VALUES, min_size=1, max_size=4))
    rows = [(part, draw(st.one_of(st.integers(0, 100), INT64)), draw(WALLS), kinds[i % len(kinds)] if draw(
        st.booleans()) else kinds[0]) for i, part in enumerate(parts)]
    cuts = sorted(draw(st.sets(st.integers(1, max(1, count - 1)), max_size=6))) if count > 1 else []
    return rows, cuts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_rows(), st.booleans())
def test_any_cut_stores_the_same_bits_and_the_summaries_of_a_recount(db, found, resume):
    rows, cuts = found
    cut, whole = store(rows, cuts, resume=resume), store(rows, [])
    assert stored(cut) == stored(whole) == wanted(rows)
    incremental = summary(cut)
    assert incremental == summary(whole)
    assert recount(cut.run_id) == len(rows)
    assert summary(cut) == incremental


def regular(count: int, part: int = 0, start: int = 0, kind: type = np.float32) -> list[Row]:
    return [(part, start + n, WALL + start + n, kind(n * 0.5)) for n in range(count)]


@pytest.mark.parametrize("cuts", [[1], [100], [101], [4096], [100, 200, 300], list(range(90, 9000, 90)), [4000, 4097, 8200]])
@pytest.mark.parametrize("resume", [True, False])
def test_long_series_are_cut_into_bounded_chunks_wherever_commits_end(cuts, resume):
    rows = regular(9000)
    series = store(rows, cuts, resume=resume)
    assert stored(series) == wanted(rows)
    assert max(SeriesChunk.objects.values_list("count", flat=True)) <= CHUNK_POINTS
    assert all(count <= TAIL_POINTS for count in SeriesTail.objects.values_list("count", flat=True))
    assert SeriesChunk.objects.count() <= 9000 / 512


def test_a_slow_series_does_not_end_in_a_chunk_for_each_arrival():
    rows = regular(2000)
    series = store(rows, list(range(7, 2000, 7)))
    assert stored(series) == wanted(rows)
    assert SeriesChunk.objects.count() <= 4


@pytest.mark.parametrize("resume", [True, False])
def test_two_jobs_that_write_one_tag_in_turn_keep_their_parts(resume):
    rows = [*regular(150, 0), *regular(120, 1), *regular(30, 0, 150), *regular(200, 1, 120), *regular(10, 3),
            *regular(5, 0, 180), *regular(4, 2)]
    for cuts in ([], [150], [100, 200, 300, 400, 500], [150, 270, 300, 500, 510, 515]):
        assert stored(store(rows, cuts, resume=resume)) == wanted(rows)


def test_a_tail_that_changes_its_type_keeps_both():
    rows = [*regular(30), *regular(40, kind=np.float64, start=30), *regular(200, start=70), *regular(3, kind=np.float64)]
    for cuts in ([], [30], [10, 35, 60, 71, 271]):
        assert stored(store(rows, cuts)) == wanted(rows)


def test_walls_of_nan_alone_leave_the_last_wall_unknown():
    rows = [(0, step, math.nan, np.float32(step)) for step in range(5)]
    series = store(rows, [2, 3])
    found = Series.objects.get(pk=series.pk)
    assert (found.last, found.last_step, found.last_wall) == (4.0, 4, None)
    recount(series.run_id)
    assert summary(found) == summary(series)


def test_the_last_value_is_that_with_the_latest_wall_time():
    rows = [(0, 1, WALL + 5, np.float32(1)), (0, 2, WALL + 9, np.float32(2)), (0, 3, WALL + 1, np.float32(3))]
    for cuts in ([], [1], [2], [1, 2]):
        assert Series.objects.get(pk=store(rows, cuts).pk).last == 2.0


def test_no_name_is_longer_than_an_index_takes_and_none_is_taken_for_another():
    names = [tag_name("é" * 1500 + "/", f"{'x' * 1000}{number}") for number in range(3)]
    assert len(set(names)) == 3
    assert all(len(name.encode()) <= NAME_BYTES for name in names)
    assert tag_name("eval/", "loss") == "eval/loss"
    ensure_tags(set(names))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs_tag WHERE name = ANY(%s)", [names])
        assert cursor.fetchone() == (3,)
