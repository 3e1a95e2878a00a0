"""Packed points come back bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runs import chunks

COUNTS = st.integers(1, 300)


@st.composite
def points(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(COUNTS)
    dtype = draw(st.sampled_from(sorted(chunks.CODES, key=str)))

    def column(kind: np.dtype) -> np.ndarray:
        size = n * kind.itemsize
        return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), kind)

    values = column(np.dtype("u1")).astype("?") if dtype == np.dtype("?") else None
    return column(np.dtype("<i8")), column(np.dtype("<f8")), column(dtype) if values is None else values[:n]


@given(points(), st.booleans())
def test_every_bit_comes_back_whatever_the_type(columns, raw):
    back = chunks.unpack(chunks.pack(*columns, raw=raw))
    for sent, got in zip(columns, back, strict=True):
        assert got.dtype == sent.dtype
        assert got.tobytes() == sent.tobytes()


@given(points(), st.booleans())
def test_unpacked_into_longer_columns_a_chunk_fills_its_place_and_no_other(columns, raw):
    data = chunks.pack(*columns, raw=raw)
    assert chunks.points_in(data) == (count := len(columns[0]))
    steps, walls, values = np.full(count + 2, 7, "<i8"), np.full(count + 2, 7.0), np.full(count + 2, 7.0)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        chunks.unpack_into(data, steps[1:-1], walls[1:-1], values[1:-1])
        floats = columns[2].astype("<f8")
    for sent, got in zip((*columns[:2], floats), (steps, walls, values), strict=True):
        assert got[1:-1].tobytes() == sent.tobytes() and got[0] == got[-1] == 7


def test_a_summary_leaves_nan_and_infinity_out_of_the_extremes_and_counts_them():
    values = np.array([1.5, np.nan, -2.0, np.inf], "<f4")
    summary = chunks.summarize(np.arange(4), np.arange(4.0), values)
    assert (summary.minimum, summary.maximum, summary.nonfinite, summary.last) == (-2.0, 1.5, 2, np.inf)


def test_a_summary_of_nothing_finite_has_no_extremes():
    summary = chunks.summarize(np.arange(2), np.arange(2.0), np.array([np.nan, -np.inf], "<f8"))
    assert (summary.minimum, summary.maximum, summary.nonfinite) == (None, None, 2)


@given(hnp.arrays("<f8", st.integers(1, 50), elements=st.floats(allow_nan=True)))
def test_extremes_are_those_of_the_finite_values(values):
    summary = chunks.summarize(np.arange(len(values)), np.zeros(len(values)), values)
    finite = values[np.isfinite(values)]
    assert summary.minimum == (finite.min() if len(finite) else None)
    assert summary.nonfinite == len(values) - len(finite)


def test_a_chunk_of_another_version_is_refused_by_name():
    with pytest.raises(ValueError, match="version 9"):
        chunks.unpack(chunks.HEAD.pack(9, 1, 1) + b"\0" * 20)


def test_a_chunk_cut_short_is_refused():
    whole = chunks.pack(np.arange(5), np.arange(5.0), np.arange(5.0), raw=True)
    with pytest.raises(ValueError, match="5 points"):
        chunks.unpack(whole[:-1])
