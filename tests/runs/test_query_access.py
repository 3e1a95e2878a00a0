"""A question finds only what its user may see, whatever it says, and costs the same whatever it finds."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from runs.models import Bookmark, Run, Source
from runs.query import RunQuery, TooLarge
from runs.query.columns import PLAIN
from runs.query.limits import bounded
from tests.runs.conftest import signed_in
from tests.runs.factories import make_points, make_run, make_source, make_trainer


def ask(user: Any, **conditions: Any) -> RunQuery:
    return RunQuery(QueryDict(urlencode(conditions, doseq=True)), user)


@pytest.fixture
def hidden(source: Source) -> Run:
    """A run of lora with all that a question can touch."""
    run = make_run(source, name="secret", dataset="secret", params={"secret": 0.5}, tags=["secret"], pinned=True, size=7)
    make_points(run, "secret", [1.0])
    return run


CONDITIONS: list[dict[str, Any]] = [
    {}, {"metric": "secret=1"}, {"param": "secret=0.5"}, {"q": "secret"}, {"name": "secret"}, {"tag": "secret"}, {"pinned": 1},
    {"status": "finished"}, {"bookmarked": "shared"}, {"sort": "last(secret)"}, {"sort": "-param:secret"},
    {"column": ["last(secret)", "param:secret"]}, {"age": "fresh"}, {"newer": "7d"},
]


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_a_stranger_finds_and_counts_nothing_of_it(
    hidden: Run, alice: User, bob: User, charlie: User, conditions: dict[str, Any]
) -> None:
    """P17."""
    Bookmark.objects.create(run=hidden, owner=bob, shared=True)
    assert [run.pk for run in ask(alice, **conditions).page().rows] == [hidden.pk]
    for user in (charlie, AnonymousUser()):
        query = ask(user, **conditions, run=hidden.pk)
        assert query.page().rows == query.ids(10) == list(query.iterate()) == []
        assert query.totals() == {"runs": 0, "points": 0, "size": 0, "status": {}}
        assert not [column for column in query.available_columns() if "secret" in column.key]


def test_the_cursor_of_another_leads_to_no_row_of_theirs(hidden: Run, alice: User, charlie: User) -> None:
    make_run(hidden.source, name="also secret")
    own = make_run(make_source(make_trainer("open")), size=1)
    cursor = ask(alice, sort="size", limit=1).page().after
    assert cursor
    rows = [ask(charlie, sort="size", **{side: cursor}).page().rows for side in ("after", "before")]
    assert all(run.pk == own.pk for found in rows for run in found)


def test_a_hidden_trainer_is_refused_as_one_that_does_not_exist(hidden: Run, charlie: User) -> None:
    said = [str(ask(charlie, trainer=slug).errors["trainer"]).replace(slug, "…") for slug in ("lora", "nobody")]
    assert said[0] == said[1]
    said = [str(ask(charlie, dataset=pk).errors["dataset"]).replace(str(pk), "…") for pk in (hidden.dataset_id, 99999)]
    assert said[0] == said[1]


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


HOSTILE = [
    "metric=loss<1e999", "metric=loss<nan", "metric=loss", "metric=%00<1", "metric=" + "a" * 9999, "metric=loss<" + "9" * 2000,
    "param=a<b", "param=%00=1", "param=" + "x." * 1500 + "=1", "q=%00", "q=***", "q=" + "a" * 201, "name=%00", "tag=" + "t" * 101,
    "trainer=%00", "dataset=0", "dataset=-1", "dataset=1e3", "dataset=99999999999999999999", "run=x", "run=" + "9" * 99,
    "status=odd", "age=young", "newer=x", "newer=99999999999999d", "older=-1d", "bookmarked=all", "pinned=yes", "demo=2",
    "sort=password", "sort=source__root", "sort=--name", "sort=tags", "sort=mean(x)", "sort=last()", "sort=param:", "sort=%00",
    "sort=last(%00)", "column=x", "column=last(", "limit=0", "limit=501", "limit=x", "after=x", "before=%00",
    "after=" + "A" * 5000, "after=é", "after=" + cursor(),
    "after=" + cursor(1, 2), "after=" + cursor("x", 0, "", 1), "after=W10", "after=" + "W" * 3000,
    "&".join(f"metric=m{n}<1" for n in range(11)), "&".join(f"column=last(m{n})" for n in range(21)),
    "&".join(f"run={n}" for n in range(1, 502)),
]


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: query[:30])
def test_a_hostile_question_is_answered_with_400_and_words(alice: User, source: Source, query: str) -> None:
    run = make_run(source, name="kept-back")
    answer = signed_in(alice).get(f"{reverse('runs')}?{query}")
    assert answer.status_code == 400
    assert run.name not in answer.content.decode()
    (said, *_) = RunQuery(QueryDict(query), alice).errors.values()
    assert str(said[0]).endswith(".") and len(str(said[0])) < 500


@pytest.mark.parametrize("value", ["", "nan", "0x1p+99999", "abc", "\0", "\ud800", "1" * 3000, None, 1, [], {}])
@pytest.mark.parametrize("sort", ["size", "name", "modified", "duration", "last(loss)", "param:lr"])
def test_a_forged_cursor_is_refused_or_leads_somewhere(alice: User, source: Source, sort: str, value: Any) -> None:
    for number in range(2):
        make_run(source, size=number)
    honest = ask(alice, sort=sort, limit=1).page().after
    assert honest
    mark, *_ = json.loads(base64.urlsafe_b64decode(honest + "=="))
    for parts in ((mark, 0, value, 1), (mark, 1, value, 2**63), (mark, -1, value, 1), (mark, 0, value, True), (mark, 0, value)):
        query = ask(alice, sort=sort, after=cursor(*parts))
        assert query.page().rows == [] or query.is_valid()


def test_odd_but_readable_questions_are_answered(alice: User, source: Source) -> None:
    make_run(source, params={"a": 1})
    for query in ("metric=%22%5C%22%22<1", "param='; DROP TABLE runs_run; --=1", "name=%25%25%5C", "metric=%25s<1",
                  "q=%27%27+%22+x", "tag=%27%22", "sort=last(%25s)", "sort=param:%25s.%28", "column=param:%7B%7D", "unknown=1",
                  "trainer=", "metric=", "sort=", "metric=x<1e308&metric=x>-1e308", "newer=0s", "older=100w"):
        assert signed_in(alice).get(f"{reverse('runs')}?{query}").status_code == 200, query


@pytest.mark.parametrize(
    ("conditions", "most"),
    [({}, 9), ({"sort": "-last(loss)"}, 10), ({"column": ["last(loss)", "max(acc)", "param:lr", "notes"]}, 10),
     ({"sort": "param:lr", "metric": ["loss<99", "acc<99"]}, 11)],
)
def test_a_page_costs_the_same_queries_whatever_it_holds(
    alice: User, source: Source, conditions: dict[str, Any], most: int
) -> None:
    """P20."""
    def queries(limit: int) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert ask(alice, **conditions, limit=limit).page().rows
        return len([one for one in seen.captured_queries if "SAVEPOINT" not in one["sql"]])

    for number in range(30):
        run = make_run(source, dataset=f"d{number % 5}", params={"lr": number})
        make_points(run, "loss", [number])
        make_points(run, "acc", [number])
    queries(1)  # the user's roles are asked for once
    assert queries(2) == queries(20) <= queries(40) <= most


def test_totals_are_one_query_beside_the_look_at_who_sees_what(alice: User, source: Source) -> None:
    make_run(source)
    query = ask(alice)
    assert query.is_valid()
    with CaptureQueriesContext(connection) as seen:
        assert query.totals()["runs"] == 1
    assert len([one for one in seen.captured_queries if "runs_run" in one["sql"]]) == 1


def test_a_list_that_takes_too_long_is_given_up_with_a_way_out(db: None) -> None:
    with pytest.raises(TooLarge, match="Narrow it"), bounded(0.05), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")
    assert Run.objects.count() == 0  # the connection lives on


def test_a_page_that_takes_too_long_is_a_bad_request(
    alice: User, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', '50', true)")
            cursor.execute("SELECT pg_sleep(5)")

    monkeypatch.setattr("runs.query.question.stretches", slow)
    answer = signed_in(alice).get(reverse("runs"))
    assert answer.status_code == 400


def test_cells_alone_need_no_other_field_of_a_run(alice: User, lora: Any, django_assert_num_queries: Any) -> None:
    """Each column says what it reads: bare rows ask for nothing more, one by one."""
    for _ in range(3):
        make_run(make_source(lora), dataset="alpaca", tags=["t"], gpu_count=2, host="h", step=1, total_steps=2)
    query = RunQuery(QueryDict("&".join(f"column={key}" for key in PLAIN)), alice)
    rows = query.bare_page().rows
    whole = RunQuery(QueryDict("&".join(f"column={key}" for key in PLAIN)), alice).page().rows
    with django_assert_num_queries(0):
        cells = [[column.cell(run) for column in query.columns] for run in rows]
    assert cells == [[column.cell(run) for column in query.columns] for run in whole]
