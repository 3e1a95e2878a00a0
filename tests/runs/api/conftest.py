"""Callers of the API: by token of each scope, by session, by nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

import trainmon.celery  # noqa: F401  else a task that a test stubs is another one than the site's
from runs import pushed
from runs.api.rates import buckets
from runs.models import ApiToken, Run, Trainer
from runs.roles import fill_roles
from tests.runs.factories import make_run, make_source

if TYPE_CHECKING:
    from pytest_django import Settings

EVENTS, FILES = "/api/ingest/events/", "/api/ingest/files/"


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


# pushing


@pytest.fixture
def home(db: None, settings: Settings, tmp_path: Path) -> Path:
    """A data directory of the test's own."""
    settings.HOME, settings.TRAINMON_PUSH_FREE = tmp_path / "home", 1
    pushed._sums.clear()
    fill_roles()
    return settings.HOME


@pytest.fixture
def trainer(home: Path, bob: User, lora: Trainer) -> Caller:
    """A machine that delivers for lora."""
    return by_token(bob, "ingest", lora)


def record(number: int = 1, job: str = "job-1", event: str = "training.step", **fields: Any) -> dict[str, Any]:
    """A line of a job's log."""
    fields = fields or {"step": number, "total_steps": 100, "loss": 1 / number}
    return {"event_id": f"{job}:{number}", "ts": f"2026-11-25T18:00:{number % 60:02}.000Z", "level": "INFO",
            "job_id": job, "msg": f"Step {number}", "event": event, "fields": fields}


def batch(*records: Any, run: str = "data/first", **more: Any) -> dict[str, Any]:
    """Records as they are delivered."""
    return {"run": run, "events": list(records), **more}


def lines(home: Path, run: str = "data/first") -> list[dict[str, Any]]:
    """What of a run lies on our disk."""
    return [json.loads(line) for line in (home / "pushed/lora" / run / "pushed.jsonl").read_text().splitlines()]


def put(client: Caller, data: bytes, path: str = "data/first/events.out.tfevents.1.host", **query: Any) -> Any:
    """Deliver a piece of a file."""
    where = "&".join(f"{name}={value}" for name, value in {"path": path, "offset": 0, **query}.items())
    return client.put(f"{FILES}?{where}", data, content_type="application/octet-stream")
