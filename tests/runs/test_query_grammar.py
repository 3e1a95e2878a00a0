"""What people write is read as it is meant, and what cannot be read is refused in words; no database."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runs.query.conditions import looked_up
from runs.query.grammar import (
    Condition,
    Metric,
    Param,
    Unclear,
    key,
    metric_condition,
    number,
    param_condition,
    quoted,
    span,
)

NAMES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=60)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "tag", "of", "op", "value"),
    [
        ("loss<0.5", "loss", "last", "<", 0.5),
        ("last(loss) >= 2", "loss", "last", ">=", 2),
        ("min(eval/loss) <= 1e-3", "eval/loss", "min", "<=", 0.001),
        ('max("a<b")>2', "a<b", "max", ">", 2),
        ('"a<b"!=-1', "a<b", "last", "!=", -1),
        ("  acc@1 == .5 ", "acc@1", "last", "=", 0.5),
        ("Loss (train) < 1", "Loss (train)", "last", "<", 1),
        ("acc(top5)>0.9", "acc(top5)", "last", ">", 0.9),
        ('"mean(x)"<1', "mean(x)", "last", "<", 1),
        (r'"say \"hi\" \\ "=0', 'say "hi" \\ ', "last", "=", 0),
        ("loss≤3", "loss", "last", "<=", 3),
        ("min(f(x))<1", "f(x)", "min", "<", 1),
    ],
)
def test_a_metric_is_compared_with_a_number(text: str, tag: str, of: str, op: str, value: float) -> None:
    assert metric_condition(text) == Condition(Metric(tag, of), op, value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "compares nothing"),
        ("loss", "compares nothing"),
        ("loss<", "lacks a value"),
        ("<0.5", "lacks a name"),
        ("loss<abc", "“abc” is no number"),
        ("min(a<b)>2", "quoted"),
        ("loss<nan", "finite"),
        ("loss<-Infinity", "finite"),
        ("loss<1e999", "“1e999” is too large"),
        ("loss>1e-999", "too small"),
        ("loss<1_000", "is no number"),
        ("loss<٣", "is no number"),
        ("mean(loss)<1", "last, min or max"),
        ("min()<1", "names nothing"),
        ('"loss<1', "does not end"),
        ('""<1', "empty"),
        ("x" * 3000 + "<1", "3,002 characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_a_way_out(text: str, words: str) -> None:
    with pytest.raises(Unclear, match=r"(?s)\.$") as refused:
        metric_condition(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "op", "value"),
    [
        ("lr=0.1", "lr", "=", Decimal("0.1")),
        ("opt.lr<1e-3", "opt.lr", "<", Decimal("0.001")),
        ("optimizer!=adam", "optimizer", "!=", "adam"),
        ("optimizer=a=b<c", "optimizer", "=", "a=b<c"),
        ('seed="007"', "seed", "=", "007"),
        ('"a=b"="x y"', "a=b", "=", "x y"),
        ("scale=inf", "scale", "=", "inf"),
    ],
)
def test_a_parameter_is_compared_with_a_number_or_a_text(text: str, name: str, op: str, value: object) -> None:
    assert param_condition(text) == Condition(Param(name), op, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["optimizer<adam", 'seed>"007"', "lr<1e999", "lr=1e999", "lr", "=3"])
def test_words_are_not_compared_by_size(text: str) -> None:
    with pytest.raises(Unclear):
        param_condition(text)


@given(NAMES, st.sampled_from(["last", "min", "max"]), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), FINITE)
@example("\\", "last", "<", 1e-320)
@example('"', "min", "=", -0.0)
def test_a_condition_written_out_is_read_back(tag: str, of: str, op: str, value: float) -> None:
    condition = Condition(Metric(tag, of), op, value)
    assert metric_condition(str(condition)) == condition


@given(NAMES, st.one_of(NAMES, FINITE.map(lambda value: Decimal(repr(value)))))
def test_a_parameter_written_out_is_read_back(name: str, value: Decimal | str) -> None:
    condition = Condition(Param(name), "=", value)
    assert param_condition(str(condition)) == condition


@given(NAMES, st.sampled_from(["last", "min", "max"]))
def test_a_key_written_out_is_read_back(tag: str, of: str) -> None:
    if tag == tag.strip():
        assert key(str(Metric(tag, of))) == Metric(tag, of)
        assert key(str(Param(tag))) == Param(tag)


@given(st.text(max_size=200))
@example('min("')
@example('"' * 100)
@example("(" * 100 + "<1")
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (metric_condition, param_condition, key, span, number):
        try:
            parse(text)
        except Unclear as refused:
            assert len(str(refused)) < 400


@given(FINITE)
def test_a_number_is_the_float_that_was_written(value: float) -> None:
    assert number(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604800), ("12h", 43200), ("30 m", 1800), ("1.5h", 5400), ("2w", 1209600), ("0s", 0)]
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["7", "d", "-1d", "1y", "9999999999d", "99999999w", "1e3d", "", "1d2h"])
def test_other_spans_are_refused(text: str) -> None:
    with pytest.raises(Unclear):
        span(text)


def test_a_dotted_name_finds_nested_parameters_and_keys_with_dots() -> None:
    assert looked_up({"opt": {"lr": 1}}, "opt.lr") == 1
    assert looked_up({"opt.lr": 2, "opt": {"lr": 1}}, "opt.lr") == 2
    assert looked_up({"a.b": {"c": 3}}, "a.b.c") == 3
    assert looked_up({"a": {"b.c": None}}, "a.b.c") is None
    assert looked_up({"opt": 1}, "opt.lr") is looked_up([], "x") is None


def test_quotes_hide_every_sign() -> None:
    name = 'a"b\\c<=>!= d'
    assert metric_condition(f"{quoted(name)} != 1").subject == Metric(name)
    assert math.isfinite(number("1.7976931348623157e308"))
