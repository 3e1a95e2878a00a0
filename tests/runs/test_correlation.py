"""One id for a request and all that it leads to."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from runs import correlation
from tests.runs.conftest import signed_in

HEADER = correlation.HEADER
BAD = ["", "a b", "a\nb", "x" * 129, "<script>", "../etc", "é", "a;b", "\x00", "%0d%0aSet-Cookie:x"]


def test_an_id_that_is_given_comes_back(db: None) -> None:
    answer = Client().get("/login/", headers={HEADER: "deploy-7:step.1_a"})
    assert answer[HEADER] == "deploy-7:step.1_a"


def test_without_one_each_request_gets_its_own(db: None) -> None:
    first, second = (Client().get("/login/")[HEADER] for _ in range(2))
    assert correlation.is_valid(first) and correlation.is_valid(second) and first != second


@pytest.mark.parametrize("said", BAD[1:], ids=range(1, len(BAD)))
def test_an_invalid_one_is_replaced_and_the_log_says_so(db: None, caplog: pytest.LogCaptureFixture, said: str) -> None:
    answer = Client().get("/login/", headers={HEADER: said})
    assert correlation.is_valid(answer[HEADER]) and answer[HEADER] != said
    assert [record.__dict__["event"] for record in caplog.records] == ["correlation.replaced"]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse:Warning")
@pytest.mark.parametrize("path", ["/", "/nothing/", "/static/icon.svg", "/api/runs/", "/api/nothing/", "/runs/999999/", "/%ff"])
def test_every_answer_names_it(alice: User, path: str) -> None:
    for client in (Client(), signed_in(alice)):
        assert client.get(path, headers={HEADER: "mine"})[HEADER] == "mine"


def test_a_problem_document_and_an_error_page_show_it(alice: User) -> None:
    client = signed_in(alice)
    assert client.get("/api/runs/999999/", headers={HEADER: "mine"}).json()["correlation_id"] == "mine"
    assert "<code>mine</code>" in client.get("/nothing/", headers={HEADER: "mine"}).content.decode()


def test_an_error_of_ours_names_it_too(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError
    monkeypatch.setattr("trainmon.views.held", broken)
    client = signed_in(alice)
    client.raise_request_exception = False
    answer = client.get("/", headers={HEADER: "mine"})
    assert (answer.status_code, answer[HEADER]) == (500, "mine")
    assert "<code>mine</code>" in answer.content.decode()


async def test_it_holds_across_threads_and_tasks_of_a_request() -> None:
    with correlation.bound("mine"):
        assert await sync_to_async(correlation.current)() == "mine"
        assert await sync_to_async(async_to_sync(sync_to_async(correlation.current)))() == "mine"
    assert correlation.current() != "mine"


async def test_an_asynchronous_client_gets_it_back() -> None:
    answer = await AsyncClient().get("/api/nothing/", headers={HEADER: "mine"})
    assert answer[HEADER] == answer.json()["correlation_id"] == "mine"


def test_two_threads_do_not_mix_theirs() -> None:
    def asked(name: str) -> bool:
        with correlation.bound(name):
            return all(correlation.current() == name for _ in range(1000))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(asked, "abcdefgh"))


def test_a_child_process_is_told_by_its_environment() -> None:
    with correlation.bound("mine"):
        env = os.environ | correlation.environment()
    said = subprocess.run([sys.executable, "-c", "from runs import correlation; print(correlation.current())"],
                          env=env, capture_output=True, text=True, check=True)
    assert said.stdout == "mine\n"


def test_an_invalid_one_of_the_environment_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(correlation.VARIABLE, "no good")
    correlation._own.cache_clear()
    try:
        assert correlation.is_valid(correlation.current())
    finally:
        correlation._own.cache_clear()


def test_the_log_line_of_a_replaced_one_belongs_to_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    made = correlation.taken("no good")
    assert correlation.is_valid(made) and caplog.records[0].__dict__["context"] == {"said": "no good"}
