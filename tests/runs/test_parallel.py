"""Axes of parallel coordinates, without a database."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from runs.parallel import OTHERS, WORDS, axis, by_name, telling

MISSING = object()
values = st.one_of(st.just(MISSING), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))


def test_numbers_stay_numbers_and_a_wide_span_is_logarithmic() -> None:
    assert axis("n", [1, 2.5, None]).values == [1.0, 2.5, None]
    assert axis("n", [1, 99]).kind == "number"
    assert axis("lr", [1e-5, 1e-2]).kind == "log"
    assert axis("n", [0, 1e9]).kind == "number"


def test_words_stand_in_order_and_the_rare_ones_share_a_place() -> None:
    few = axis("optimizer", ["sgd", "Adam", None, "sgd"])
    assert (few.kind, few.words, few.values) == ("word", ("Adam", "sgd"), [1.0, 0.0, None, 1.0])
    many = axis("path", ["common", "common", *(str(n) for n in range(WORDS * 2))])
    assert len(many.words) == WORDS + 1
    assert many.words[-1] == OTHERS


@given(st.lists(values, max_size=40))
def test_any_values_make_an_axis_that_json_can_carry(found: list[object]) -> None:
    made = axis("x", found, MISSING)
    assert len(made.values) == len(found)
    assert all(value is None or math.isfinite(value) for value in made.values)
    assert all(value is None for value, given_ in zip(made.values, found, strict=True) if given_ is MISSING)


def test_what_tells_runs_apart_comes_first() -> None:
    params = [{"lr": 0.1 * n, "seed": 1, "model": {"size": "big" if n % 2 else "small"}, "out": f"/tmp/{n}"} for n in range(4)]
    params[0].pop("model")
    columns = by_name(params, MISSING)
    assert columns["model.size"][0] is MISSING
    assert telling(columns, MISSING) == ["lr", "model.size"]
    assert telling(by_name([*params, *params], MISSING), MISSING) == ["lr", "out", "model.size"]
