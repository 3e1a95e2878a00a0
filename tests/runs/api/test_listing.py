from __future__ import annotations

import json
import math
from typing import Any

import pytest
from django.contrib.auth.models import User

from runs.api.listing import FILTERS, PAGING
from runs.models import Run, Trainer
from runs.query import RunQuery
from tests.runs.api.conftest import by_token, problem
from tests.runs.api.test_nouns import pages
from tests.runs.factories import make_points, make_run, make_source, make_trainer


@pytest.fixture
def five(lora: Trainer) -> list[Run]:
    """Five runs with losses 0.0 to 0.4, of which the last is NaN."""
    source = make_source(lora)
    runs = [make_run(source, name=f"run {number}", params={"lr": number / 10}, step=number) for number in range(5)]
    for number, run in enumerate(runs):
        make_points(run, "loss", [math.nan if number == 4 else number / 10])
    return runs


def test_the_list_is_told_with_the_columns_asked_for(five: list[Run], alice: User) -> None:
    query = {"column": ["name", "last(loss)", "param:lr"], "sort": "-name", "limit": 2}
    told = json.loads(by_token(alice, "read").get("/api/runs/", query).content, parse_constant=pytest.fail)
    assert [column["key"] for column in told["columns"]] == ["name", "last(loss)", "param:lr"]
    assert [row["values"] for row in told["results"]] == [
        {"name": "run 4", "last(loss)": "NaN", "param:lr": 0.4}, {"name": "run 3", "last(loss)": 0.3, "param:lr": 0.3},
    ]
    assert told["results"][0]["url"] == f"/api/runs/{five[4].pk}/"
    assert (told["sort"], told["previous"]) == ("-name", None)


@pytest.mark.parametrize("sort", ["name", "-name", "last(loss)", "-last(loss)", "-modified", "param:lr", "step"])
def test_pages_of_any_order_are_complete(five: list[Run], alice: User, sort: str) -> None:
    rows = pages(by_token(alice), f"/api/runs/?limit=2&sort={sort}")
    assert sorted(row["id"] for row in rows) == sorted(run.pk for run in five)


def test_the_page_before_is_the_one_that_one_came_from(five: list[Run], alice: User) -> None:
    client = by_token(alice)
    first = client.get("/api/runs/?limit=2&sort=name").json()
    second = client.get(first["next"]).json()
    assert second["previous"].startswith("/api/runs/?")
    assert client.get(second["previous"]).json()["results"] == first["results"]


def test_filters_are_those_of_the_page(five: list[Run], alice: User) -> None:
    client = by_token(alice)
    for query, names in {
        "metric=loss<0.15": ["run 0", "run 1"], "param=lr>=0.4": ["run 4"], "q=run+3": ["run 3"], "status=failed": [],
        f"run={five[2].pk}": ["run 2"], "trainer=lora&name=1": ["run 1"],
    }.items():
        told = client.get(f"/api/runs/?sort=name&{query}").json()
        assert [row["values"]["name"] for row in told["results"]] == names, query


def test_totals_are_those_of_all_pages(five: list[Run], alice: User) -> None:
    Run.objects.filter(pk=five[0].pk).update(status="failed", size=7)
    told = by_token(alice).get("/api/runs/totals/").json()
    assert (told["runs"], told["size"], told["status"]) == (5, 7, {"failed": 1, "finished": 4})
    assert by_token(alice).get("/api/runs/totals/?status=failed").json()["runs"] == 1


@pytest.mark.parametrize("query, field", [
    ("metric=loss", "metric"), ("param=x", "param"), ("sort=nothing", "sort"), ("limit=0", "limit"), ("limit=501", "limit"),
    ("after=x", "after"), ("statsu=failed", "statsu"), ("trainer=none", "trainer"), ("column=source__trainer__groups", "column"),
    ("metric=loss<1e999", "metric"), ("name=%00", "name"), ("sort=user__password", "sort"),
])
def test_a_wrong_question_names_the_parameter(five: list[Run], alice: User, query: str, field: str) -> None:
    for path in ("/api/runs/", "/api/runs/totals/"):
        assert field in problem(by_token(alice).get(f"{path}?{query}"), 400, "invalid")["errors"]


def test_strangers_get_a_list_without_what_is_not_theirs(five: list[Run], charlie: User) -> None:
    make_run(make_source(make_trainer("open")), name="for all")
    client = by_token(charlie)
    assert [row["values"]["name"] for row in client.get("/api/runs/").json()["results"]] == ["for all"]
    assert client.get("/api/runs/totals/").json()["runs"] == 1
    assert client.get(f"/api/runs/?run={five[0].pk}").json()["results"] == []


def test_the_queries_of_a_page_do_not_grow_with_it(five: list[Run], alice: User, django_assert_num_queries: Any) -> None:
    client = by_token(alice)
    client.get("/api/")
    query = {"column": ["name", "status", "last(loss)", "param:lr", "notes"], "metric": "loss<1"}
    for limit in (1, 3):
        # the token with its role, the metrics' ids, trainers; between two savepoints a time limit and what the page needs
        with django_assert_num_queries(10):
            client.get("/api/runs/", query | {"limit": limit})


def test_a_list_that_did_not_change_is_not_sent_again(five: list[Run], alice: User) -> None:
    client = by_token(alice)
    etag = client.get("/api/runs/")["ETag"]
    assert client.get("/api/runs/", headers={"If-None-Match": etag}).status_code == 304
    Run.objects.filter(pk=five[0].pk).update(step=99, version=1)
    assert client.get("/api/runs/", headers={"If-None-Match": etag}).status_code == 200


def test_the_schema_names_every_parameter_of_the_list_and_no_other(alice: User) -> None:
    from django.http import QueryDict

    assert [one.name for one in [*FILTERS, *PAGING]] == list(RunQuery(QueryDict(), alice).fields)
