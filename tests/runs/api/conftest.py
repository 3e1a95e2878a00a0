"""Callers of the API: by token of each scope, by session, by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

import trainmon.celery  # noqa: F401  else a task that a test stubs is another one than the site's
from runs.api.rates import buckets
from runs.models import ApiToken, Run, Trainer
from tests.runs.factories import make_run, make_source


@pytest.fixture(autouse=True)
def fresh_buckets() -> Iterator[None]:
    """No test pays for the calls of another."""
    buckets.clear()
    yield
    buckets.clear()


@pytest.fixture
def run(lora: Trainer) -> Run:
    """A run of the trainer lora."""
    return make_run(make_source(lora), name="first")


class Caller(Client):
    """A client whose every request carries a token; CSRF is enforced, as in life."""

    def __init__(self, secret: str) -> None:
        super().__init__(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})


def by_token(user: User, scope: str = "write", trainer: Trainer | None = None, **fields: Any) -> Caller:
    """A caller with a new token of this user."""
    name = f"{scope}-{ApiToken.objects.filter(user=user).count()}"
    return Caller(ApiToken.issue(user, name, scope, trainer=trainer, **fields)[1])


def send(client: Client, method: str, path: str, data: Any = None) -> Any:
    """A request with a JSON body."""
    return client.generic(method, path, b"" if data is None else _json(data), content_type="application/json")


def _json(data: Any) -> bytes:
    from runs.api.rendering import encode

    return data if isinstance(data, bytes) else encode(data)


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """The problem document of an answer, checked for its shape."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json"), answer.content
    told: dict[str, Any] = answer.json()
    assert told["type"] == f"urn:trainmon:problem:{kind}"
    assert told["status"] == status
    assert set(told) - {"errors"} == {"type", "title", "status", "detail", "instance", "correlation_id"}
    assert answer["Cache-Control"] == "no-store"
    return told
