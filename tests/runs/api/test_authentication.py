from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from runs.models import ApiToken, Trainer
from tests.runs.api.conftest import Caller, by_token, problem
from tests.runs.conftest import signed_in

ME = "/api/me/"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "TOKEN"])
def test_a_token_says_who_calls(alice: User, scheme: str) -> None:
    _, secret = ApiToken.issue(alice, "laptop", "read")
    told = Client(headers={"Authorization": f"{scheme} {secret}"}).get(ME).json()
    assert (told["username"], told["roles"], told["token"]["scope"]) == ("alice", ["viewer"], "read")


def test_a_session_says_who_calls(bob: User) -> None:
    told = signed_in(bob).get(ME).json()
    assert (told["username"], told["token"]) == ("bob", None)
    assert "runs.change_run" in told["permissions"]


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer tmon_unknown", "Bearer x", "Token tmon_", "Bearer tmon_\xe9 \xff", "Basic YTpi"]
)
@pytest.mark.django_db
def test_no_or_a_wrong_token_is_401_and_says_how_to_sign_in(header: str) -> None:
    answer = Client(headers={"Authorization": header}).get(ME)
    problem(answer, 401, "not-authenticated" if header.startswith("Basic") else "authentication-failed")
    assert answer["WWW-Authenticate"] == 'Bearer realm="trainmon"'


def test_an_expired_token_is_refused(alice: User) -> None:
    client = by_token(alice, expires=now() - timedelta(seconds=1))
    problem(client.get(ME), 401, "authentication-failed")


def test_a_revoked_token_is_refused_at_once(alice: User) -> None:
    client = by_token(alice)
    assert client.get(ME).status_code == 200
    ApiToken.objects.all().delete()
    problem(client.get(ME), 401, "authentication-failed")


def test_a_token_ends_with_its_user(alice: User) -> None:
    client = by_token(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    problem(client.get(ME), 401, "authentication-failed")


def test_a_token_in_the_address_opens_nothing(alice: User) -> None:
    _, secret = ApiToken.issue(alice, "laptop", "read")
    for name in ("token", "access_token", "api_key", "Authorization"):
        problem(Client().get(ME, {name: secret}), 401, "not-authenticated")


def test_a_wrong_token_beside_a_session_is_refused_all_the_same(alice: User) -> None:
    client = signed_in(alice)
    problem(client.get(ME, headers={"Authorization": "Bearer tmon_wrong"}), 401, "authentication-failed")


def test_the_last_use_is_written_down_once_a_minute(alice: User, django_assert_num_queries: Any) -> None:
    client = by_token(alice)
    client.get(ME)
    first = ApiToken.objects.get().last_used
    client.get(ME)
    assert first is not None and ApiToken.objects.get().last_used == first
    ApiToken.objects.update(last_used=now() - timedelta(seconds=61))
    client.get(ME)
    used = ApiToken.objects.get().last_used
    assert used is not None and used >= first


def test_a_refused_token_is_in_no_log(caplog: pytest.LogCaptureFixture, db: None) -> None:
    secret = "tmon_" + "S3cr3t" * 8
    with caplog.at_level(logging.DEBUG):
        answer = Caller(secret).get(ME)
    assert answer.status_code == 401
    assert secret not in caplog.text and secret not in answer.content.decode()


def test_an_ingest_token_opens_nothing_that_is_read_or_written(alice: User, lora: Trainer) -> None:
    client = by_token(alice, "ingest", lora)
    for path in ("/api/", ME):
        answer = client.get(path)
        assert "only delivers events" in problem(answer, 403, "insufficient-scope")["detail"]
        assert 'error="insufficient_scope"' in answer["WWW-Authenticate"]


def test_a_token_opens_no_page(alice: User) -> None:
    client = by_token(alice)
    for path in ("/", "/runs/", "/admin/"):
        assert client.get(path)["Location"].startswith(("/login/", "/admin/login/"))
