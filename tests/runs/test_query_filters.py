"""Each filter of the query string finds what it says, and its chip says what it finds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.timezone import now

from runs.models import Bookmark, Note, Run, Source
from runs.query import RunQuery
from tests.runs.factories import make_points, make_run, make_source, make_trainer, make_user


def asked(user: User, **conditions: Any) -> RunQuery:
    """A question that is well put."""
    query = RunQuery(QueryDict(urlencode(conditions, doseq=True)), user)
    assert query.is_valid(), query.errors
    return query


def found(user: User, **conditions: Any) -> list[str]:
    """The names of the runs that are found, sorted by name."""
    return [run.name for run in asked(user, sort="name", **conditions).page().rows]


@pytest.fixture
def measured(source: Source) -> None:
    """Four runs: falling, risen, not a number at last, without the metric."""
    make_points(make_run(source, name="a"), "eval/loss", [2.0, 0.25])
    make_points(make_run(source, name="b"), "eval/loss", [0.5, 4.0])
    make_points(make_run(source, name="c"), "eval/loss", [1.0, float("nan")])
    make_points(make_run(source, name="d"), "other", [0.0])


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("eval/loss<0.25", ""), ("eval/loss<=0.25", "a"), ("eval/loss>0.25", "b"), ("last(eval/loss)>=-1e300", "ab"),
        ("eval/loss=4", "b"), ("eval/loss!=4", "ac"), ("min(eval/loss)<0.6", "ab"), ("max(eval/loss) >= 1", "abc"),
        ("max(eval/loss)=1", "c"), ("nowhere<1", ""), ("EVAL/LOSS<1", ""),
    ],
)
def test_metrics_are_compared_and_nan_is_neither_above_nor_below(
    measured: None, alice: User, condition: str, names: str
) -> None:
    assert found(alice, metric=condition) == list(names)


def test_all_conditions_must_hold(measured: None, alice: User) -> None:
    assert found(alice, metric=["min(eval/loss)<0.6", "last(eval/loss)>1"]) == ["b"]
    assert found(alice, metric=["eval/loss<1", "other<1"]) == []


def test_infinity_lies_above_all_numbers(source: Source, alice: User) -> None:
    make_points(make_run(source, name="inf"), "loss", [float("inf")])
    make_points(make_run(source, name="-inf"), "loss", [float("-inf")])
    assert found(alice, metric="loss>1e308") == ["inf"]
    assert found(alice, metric="loss<-1e308") == ["-inf"]


PARAMS = {
    "lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.95]}, "a.b": 3, "x.y": {"z": 4}, "flag": True, "none": None,
    "text": "1e-3", "seed": "007", "big": 2**80, "odd": "0x10",
}


@pytest.mark.parametrize(
    "condition",
    ["lr=0.1", "lr=1e-1", "lr=0.10", "lr<0.11", "lr>=0.1", "lr!=0.2", "opt.name=adam", "opt.name!=sgd", "opt.betas.1=0.95",
     "a.b=3", "x.y.z>3", "flag=true", "flag=True", "none=null", "none=None", "text<0.002", "text=0.001", 'text="1e-3"',
     'seed="007"', "seed=7", "big>1e24", "big=1208925819614629174706176", "odd=0x10", "opt.name!=3"],
)
def test_parameters_are_compared_as_numbers_or_as_words(source: Source, alice: User, condition: str) -> None:
    make_run(source, name="a", params=PARAMS)
    make_run(source, name="bare")
    assert found(alice, param=condition) == ["a"]


@pytest.mark.parametrize(
    "condition", ["lr=0.2", "lr>0.1", "lr!=0.1", 'seed="7"', "opt=adam", "odd>1", "none=3", "flag=1", "opt.name=Adam",
                  "missing=1", "missing!=1", "lr.x=1", "opt.name<1"],
)
def test_parameters_that_do_not_fit(source: Source, alice: User, condition: str) -> None:
    make_run(source, name="a", params=PARAMS)
    assert found(alice, param=condition) == []


def test_hostile_parameters_stop_no_list(source: Source, alice: User) -> None:
    """Numbers that no float and no cast can hold, and names that look like SQL."""
    params = {"x": "1e99999", "y": "9" * 5000, "z": 10**4000, "'; DROP TABLE x": 1, '"}': 2, "": 3, "%s": 4}
    make_run(source, name="a", params=params)
    for name, value in (("x", '"1e99999"'), ("z", "1"), ("'; DROP TABLE x", "1"), ('"\\"}"', "2"), ("%s", "4")):
        asked(alice, param=f"{name}={value}").page()
        asked(alice, sort=f"param:{name}").page()
    assert found(alice, param="z>1e300") == found(alice, param='"%s"=4') == found(alice, param='"\\"}"=2') == ["a"]


@pytest.mark.parametrize(
    ("text", "names"),
    [("qwen", ["first"]), ("QW", ["first"]), ("first qwen", ["first"]), ("qwen second", []), ("wen", []), ("oom", ["second"]),
     ("promising", ["first"]), ("adamw", ["first"]), ("baseline", ["second"]), ("it's", ["first"]), (r"a\b", ["second"]),
     ("100%", ["second"]), ("' | !", None), ("first & !qwen", ["first"]), ("straße", ["second"]), ("STRASSE", [])],
)
def test_words_are_found_by_their_beginnings_wherever_they_stand(
    source: Source, alice: User, text: str, names: list[str] | None
) -> None:
    first = make_run(source, name="first", dataset="Qwen-data", params={"optimizer": "AdamW"})
    Note.objects.create(run=first, text="It's promising")
    make_run(source, name="second", error_type="OOM", error=r"a\b: 100% full on Straße", tags=["baseline"])
    if names is None:
        assert "no letter or digit" in str(RunQuery(QueryDict(urlencode({"q": text})), alice).errors)
    else:
        assert found(alice, q=text) == names


@pytest.mark.parametrize("name", ["50%_done", "it's", 'a"b', r"back\slash", "(x)", "Äpfel"])
def test_a_part_of_a_name_is_found_as_it_is_written(source: Source, alice: User, name: str) -> None:
    make_run(source, name=f"run {name} one")
    make_run(source, name="run 50xydone its ab backslash x apfel")
    assert found(alice, name=name.upper()) == [f"run {name} one"]


def test_several_of_one_kind_are_alternatives_but_tags_add_up(source: Source, alice: User) -> None:
    other = make_source(make_trainer("router"))
    a = make_run(source, name="a", dataset="x", status="failed", tags=["t", "u"])
    b = make_run(other, name="b", dataset="y", status="running", stalled=True, tags=["t"])
    make_run(other, name="c", status="running")
    assert found(alice, trainer="router") == ["b", "c"]
    assert found(alice, trainer=["router", "lora"]) == ["a", "b", "c"]
    assert found(alice, dataset=[a.dataset_id, b.dataset_id]) == ["a", "b"]
    assert found(alice, status=["failed", "stalled"]) == ["a", "b"]
    assert found(alice, status="running") == ["b", "c"]
    assert found(alice, tag="t") == ["a", "b"]
    assert found(alice, tag=["t", "u"]) == ["a"]
    assert found(alice, run=[a.pk, b.pk]) == ["a", "b"]


def test_ages_are_those_of_the_colours(source: Source, alice: User) -> None:
    """CH-31."""
    for name, days in (("fresh", 0.5), ("recent", 3), ("old", 30)):
        make_run(source, name=name, modified=now() - timedelta(days=days))
    make_run(source, name="unknown", modified=None)
    for word in ("fresh", "recent", "old", "unknown"):
        assert found(alice, age=word) == [word]
    assert found(alice, newer="4d") == ["fresh", "recent"]
    assert found(alice, older="4d") == ["old"]
    assert found(alice, older="13h", newer="1w") == ["recent"]


def test_marks_of_a_run(source: Source, alice: User, bob: User) -> None:
    runs = {name: make_run(source, name=name) for name in ("mine", "bobs", "shared", "pinned", "missing", "demo")}
    Run.objects.filter(pk=runs["pinned"].pk).update(pinned=True)
    Run.objects.filter(pk=runs["missing"].pk).update(files_missing=True)
    Run.objects.filter(pk=runs["demo"].pk).update(demo=True)
    Bookmark.objects.create(run=runs["mine"], owner=alice)
    Bookmark.objects.create(run=runs["bobs"], owner=bob)
    Bookmark.objects.create(run=runs["shared"], owner=bob, shared=True)
    assert found(alice, bookmarked="mine") == ["mine"]
    assert found(alice, bookmarked="shared") == ["shared"]
    assert found(alice, pinned=1) == ["pinned"]
    assert found(alice, missing=1) == ["missing"]
    assert found(alice, demo=1) == ["demo"]
    assert "demo" not in found(alice, demo=0)


def test_buried_runs_are_in_no_list(source: Source, alice: User) -> None:
    make_run(source, name="gone", lifecycle_stage="buried")
    assert found(alice) == []
    assert asked(alice).totals()["runs"] == 0


def test_chips_say_each_condition_and_lead_to_the_question_without_it(source: Source, alice: User) -> None:
    run = make_run(source, name="a", dataset="alpaca")
    query = asked(alice, trainer="lora", dataset=run.dataset_id, status=["failed", "stalled"], metric=["min(a&b)<=0.5", "c>1"],
                  param="lr!=0.1", tag="x", older="36h", run=[run.pk, 99], q="oom", sort="size", limit=5)
    assert [chip.sentence for chip in query.chips] == [
        "trainer is lora", "dataset is alpaca", "status is failed", "status is stalled", "says “oom”", "tagged x",
        "lr ≠ 0.1", "lowest a&b ≤ 0.5", "last c > 1", "unchanged for 1.5 d", "2 chosen runs",
    ]
    without = {chip.sentence: QueryDict(chip.without) for chip in query.chips}
    assert without["lowest a&b ≤ 0.5"].getlist("metric") == ["c>1"]
    assert without["status is failed"].getlist("status") == ["stalled"]
    assert "run" not in without["2 chosen runs"]
    for left in without.values():
        assert left["sort"] == "size"
        assert len(RunQuery(left, alice).chips) == len(query.chips) - 1


def test_a_chip_leads_to_the_first_page(source: Source, alice: User) -> None:
    for _ in range(3):
        make_run(source, tags=["x"])
    page = asked(alice, limit=2).page()
    (chip,) = asked(alice, tag="x", limit=2, after=page.after).chips
    assert QueryDict(chip.without) == QueryDict("limit=2")


def test_columns_show_what_was_asked_for(source: Source, alice: User) -> None:
    run = make_run(source, name="a", params={"opt": {"lr": 0.1}}, gpu_type="A100", gpu_count=8, step=5, total_steps=10)
    make_points(run, "loss", [3.0, 1.0, 2.0])
    Note.objects.create(run=run, text="x")
    keys = ["min(loss)", "max(loss)", "last(loss)", "param:opt.lr", "param:no", "last(no)", "notes", "gpu", "progress", "metric"]
    query = asked(alice, column=keys)
    (row,) = query.page().rows
    assert [column.key for column in query.columns] == ["name", *keys]
    assert [column.cell(row) for column in query.columns] == [
        "a", 1.0, 3.0, 2.0, 0.1, None, None, 1, "8 x A100", 0.5, 2.0
    ]


def test_the_picker_offers_what_visible_runs_have(source: Source, alice: User) -> None:
    run = make_run(source, params={"lr": 1, "opt": {"b": 2}, "": 0})
    make_points(run, "loss", [1.0])
    hidden = make_run(make_source(make_trainer("hidden", "others")), params={"secret": 1})
    make_points(hidden, "hidden/loss", [1.0])
    offered = [column.key for column in asked(alice).available_columns()]
    assert {"status", "name", "last(loss)", "param:lr", "param:opt.b"} <= set(offered)
    assert not [key for key in offered if "hidden" in key or "secret" in key]


def test_totals_are_over_all_pages(source: Source, alice: User) -> None:
    for number in range(5):
        make_run(source, size=10, point_count=3, status="running" if number else "failed", stalled=number == 1)
    assert asked(alice, limit=2).totals() == {
        "runs": 5, "points": 15, "size": 50, "status": {"running": 3, "stalled": 1, "failed": 1}
    }


def test_someone_without_a_sight_of_anything_finds_nothing(db: None) -> None:
    make_run(make_source(make_trainer("hidden", "others")))
    user = make_user("eve")
    assert found(user) == [] and asked(user).totals()["runs"] == 0


def test_the_picker_leaves_out_what_cannot_be_asked_for(source: Source, alice: User) -> None:
    """A trainer may call a metric nothing at all, and a parameter by ten thousand letters."""
    run = make_run(source, params={"x" * 10_000: 1, '"': 2, "lr": 3})
    for tag in ("", " ", '"a', " lead ", "a<b", ")"):
        make_points(run, tag, [1.0])
    keys = [column.key for column in asked(alice).available_columns() if column.source]
    assert keys == ['last(" ")', 'last(" lead ")', 'last("\\"a")', "last())", "last(a<b)", 'param:"', "param:lr"]
    row, = asked(alice, column=keys).page().rows
    assert {row.cells[key] for key in keys} == {1.0, 2, 3}
