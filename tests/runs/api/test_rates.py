from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.api import rates
from runs.api.rates import Buckets
from tests.runs.api.conftest import Caller, by_token, problem
from tests.runs.conftest import signed_in

if TYPE_CHECKING:
    from pytest_django import Settings


def test_who_calls_too_often_is_told_when_to_come_again(alice: User, settings: Settings) -> None:
    settings.TRAINMON_API_RATE = [3, 1, 1]
    client = by_token(alice)
    assert [client.get("/api/me/").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get("/api/me/")
    problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 20


def test_each_token_and_each_session_has_calls_of_its_own(alice: User, settings: Settings) -> None:
    settings.TRAINMON_API_RATE = [1, 1, 1]
    for client in (by_token(alice), by_token(alice), signed_in(alice)):
        assert [client.get("/api/me/").status_code for _ in range(2)] == [200, 429]


@pytest.mark.django_db
def test_nobody_and_wrong_tokens_are_slowed_down_together(settings: Settings) -> None:
    settings.TRAINMON_API_RATE = [600, 120, 2]
    assert Client().get("/api/").status_code == Caller("tmon_wrong").get("/api/").status_code == 401
    problem(Caller("tmon_wronger").get("/api/"), 429, "throttled")
    problem(Client(headers={"X-Forwarded-For": "10.0.0.9"}).get("/api/nothing/"), 429, "throttled")


def test_zero_is_no_limit(alice: User, settings: Settings) -> None:
    settings.TRAINMON_API_RATE = [0, 0, 0]
    client = by_token(alice)
    assert {client.get("/api/me/").status_code for _ in range(5)} == {200}


def test_a_bucket_refills_evenly() -> None:
    buckets = Buckets()
    assert [buckets.take("a", 60, 100.0) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 60, 100.0) == pytest.approx(1.0)
    assert buckets.take("a", 60, 101.0) == 0.0
    assert buckets.take("a", 60, 101.0) > 0
    assert buckets.take("b", 60, 101.0) == 0.0


def test_many_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", 10)
    buckets = Buckets()
    for number in range(100):
        buckets.take(str(number), 60, 100.0 + number / 1000)
    assert len(buckets._left) <= 10
