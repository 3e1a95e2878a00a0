"""Which rows a selection means, and what is wrong with one that means none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.selection import Invalid, age, select


@pytest.mark.parametrize(("said", "numbers"), [
    ("0 2 5", [0, 2, 5]), ("0-5", [0, 1, 2, 3, 4, 5]), ("1-3 2", [1, 2, 3]), ("5 1 5", [1, 5]), ("all", list(range(8))),
    ("old", [0, 1, 6]), ("OLD 7", [0, 1, 6, 7]), ("", []), ("  \t", []), ("3-3", [3]), ("007", [7]),
])
def test_a_selection_means_each_row_once_in_order(said, numbers):
    assert select(said, 8, {6, 0, 1}) == numbers


@pytest.mark.parametrize(("said", "named"), [
    ("5-0", '"5-0": the larger number comes first; 0-5'), ("8", '"8": out of range, the rows are 0 to 7'),
    ("0-99", '"0-99": out of range'), ("-1", '"-1": is no number'), ("0,2", '"0,2": is no number'), ("1.5", '"1.5"'),
    ("1- 2", '"1-"'), ("٣", '"٣"'), ("9" * 5000, '"999'), ("\x1b[2J", '"\\x1b[2j"'), ("\udcff", '"\\udcff"'), ("1–3", '"1–3"'),
])
def test_a_wrong_token_is_named_and_nothing_of_the_selection_holds(said, named):
    with pytest.raises(Invalid) as error:
        select(f"0 {said} 1", 8, set())
    assert str(error.value).startswith(named) and len(str(error.value)) < 300


def test_every_wrong_token_is_named_up_to_ten():
    with pytest.raises(Invalid, match='"x0".*"x9".*and 90 more'):
        select(" ".join(f"x{n}" for n in range(100)), 8, set())


def test_an_empty_list_has_no_row_to_select():
    assert select("all", 0, set()) == []
    with pytest.raises(Invalid, match="there are no rows"):
        select("0", 0, set())


@given(st.text(max_size=40), st.integers(0, 20))
def test_no_text_selects_a_row_that_is_not_there(said, count):
    try:
        numbers = select(said, count, set())
    except Invalid as error:
        assert str(error)
    else:
        assert numbers == sorted(set(numbers)) and all(0 <= number < count for number in numbers)


@pytest.mark.parametrize(("said", "meant"), [
    ("7d", timedelta(days=7)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30)), (" 2W ", timedelta(weeks=2)),
    ("0.5d", timedelta(hours=12)),
])
def test_an_age_has_a_number_and_a_unit(said, meant):
    assert age(said) == meant


@pytest.mark.parametrize("said", ["", "7", "d", "-7d", "nand", "infd", "1e9d", "7 d", "7y", "9999999d"])
def test_what_is_no_age_names_itself(said):
    with pytest.raises(Invalid, match="is no age such as"):
        age(said)


@pytest.mark.parametrize("said", ["999999d", "36501d", "6000w"])
def test_an_age_beyond_the_calendar_is_refused(said):
    with pytest.raises(Invalid, match=f'"{said}": is longer than 36,500d'):
        age(said)
