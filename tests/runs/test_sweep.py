"""Who may do what: docs/operations.md tells it in a table, and each route answers exactly so (P17)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.apps import apps
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.timezone import now

from retention.models import Hold, RetentionPolicy
from runs import audit
from runs.models import ApiToken, Bookmark, Job, Note, Sample, SavedView, Trainer
from runs.roles import fill_roles
from streaming.models import TensorBoard
from tests.retention.oldruns import make_tomb
from tests.runs.conftest import signed_in
from tests.runs.factories import make_checkpoint, make_file, make_points, make_run, make_source

if TYPE_CHECKING:
    from pytest_django import Settings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/operations.md"
WHO = ("anonymous", "stranger", "viewer", "operator", "admin", "write", "read", "ingest")
WORDS = {401: "401", 403: "no", 404: "hidden", 405: "-"}
#: What a page may be sent; each takes what it knows.
FORM = b"on=1&keep=mine&add=x&name=x&text=x"


def rows() -> list[tuple[list[str], list[str], list[str]]]:
    """The table: addresses, methods, an outcome for each in WHO."""
    section = DOCUMENT.read_text().split("## Who may do what")[1].split("\n## ")[0]
    found = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found.append((re.findall(r"`([^`]+)`", cells[0]), cells[1].split(", "), cells[2:]))
    return found


def is_api(path: str) -> bool:
    """Whether scripts call it: the description for people is a page."""
    return path.startswith(("/api/", "/tensorboard/")) and path != "/api/docs/"


def outcome(answer: Any) -> str:
    """An answer in the words of the table."""
    if answer.status_code == 302 and answer["Location"].startswith(("/login/", "/admin/login/")):
        return "sign in"
    assert answer.status_code < 500 or "Retry-After" in answer, answer  # a TensorBoard that does not run yet
    return WORDS.get(answer.status_code, "yes")


def routes(patterns: Any = None, prefix: str = "/") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every address of the site, with the names of its parameters, and its view."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        elif isinstance(entry, URLPattern):
            path = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", path).replace(".*", "<other>")
            yield re.sub(r"<\w+:(\w+)>", r"<\1>", path).translate({ord("^"): None, ord("$"): None}), entry.callback


def methods(path: str, view: Any) -> list[str]:
    """What is tried: of the API all that a view answers to, of pages GET and POST, of the admin its pages."""
    if cls := getattr(view, "cls", None):
        return [name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(cls, name)] or ["GET"]
    return ["GET"] if path.startswith("/admin/") else ["GET", "POST"]


@pytest.fixture
def things(lora: Trainer, bob: User) -> dict[str, int]:
    """One of each thing that an address leads to: of the trainer lora, the view and the token of bob."""
    run = make_run(make_source(lora), dataset="data")
    file = make_file(run)
    make_points(run, "loss", [1.0], file=file)
    where = {"run": run, "log_file": file, "generation": 0, "part": 0, "offset": 0, "length": 9}
    AccessAttempt.objects.create(username="x", failures_since_start=1, attempt_time=now())
    AccessLog.objects.create(username="x", attempt_time=now())
    AccessFailureLog.objects.create(username="x", attempt_time=now())
    Bookmark.objects.create(run=run, owner=bob)
    audit.record(None, "sync", run)
    TensorBoard.objects.create(trainer=lora)
    job = Job.objects.create(source=run.source, run=run, external_id="job")
    tomb = make_tomb(run)
    Hold.objects.create(run=run, reason="hold")
    return {
        "policy": RetentionPolicy.objects.create(name="policy", trainer=lora, keep_last=1).pk,
        "tomb": tomb.pk, "plan": tomb.planned.plan_id,
        "run": run.pk, "source": run.source_id, "file": file.pk, "job": job.pk, "checkpoint": make_checkpoint(job).pk,
        "note": Note.objects.create(run=run, author=bob, text="note").pk,
        "sample": Sample.objects.create(**where, kind="image", tag="tag", step=1, wall=1.0).pk,
        "view": SavedView.objects.create(owner=bob, name="view", shared=True).pk,
        "token": ApiToken.issue(bob, "other")[0].pk,
    }


def address(path: str, things: dict[str, int]) -> str:
    """An address of a thing that is there."""
    kinds = {"/jobs/": "job", "/sources/": "source", "/api/sources/": "source", "/runs/views/": "view",
             "/account/tokens/": "token", "/storage/policies/": "policy", "/storage/lost/": "source",
             "/storage/cleanups/": "plan", "/api/cleanups/": "plan",
             "/api/trash/": "tomb"}
    kind = next((kind for start, kind in kinds.items() if path.startswith(start)), "run")
    known = {"pk": things[kind], "slug": "lora", "app_label": "runs", "content_type_id": 1, "other": "x", "url": "x",
             "rest": "data/runs"} | things
    if path.startswith("/api/jobs/"):
        known["file"] = things["checkpoint" if "checkpoints" in path else "sample"]
    if found := re.match(r"/admin/(\w+)/(\w+)/", path):
        thing = apps.get_model(found[1], found[2]).objects.first() if "<" in path and found[1] != "r" else None
        known |= {"object_id": thing.pk if thing else 1, "id": thing.pk if thing else 1}
    return re.sub(r"<(\w+)>", lambda name: str(known.get(name[1], 1)), path)


@pytest.fixture
def callers(
    things: dict[str, int], lora: Trainer, charlie: User, alice: User, bob: User, ada: User, settings: Settings,
) -> dict[str, Client]:
    """Everybody in the table's head; the tokens are bob's."""
    settings.TRAINMON_API_RATE = [0, 0, 0]
    fill_roles()
    people = dict(zip(WHO, (Client(), *map(signed_in, (charlie, alice, bob, ada))), strict=False))
    for scope in WHO[5:]:  # in this order: of pages the strongest is tried
        _, secret = ApiToken.issue(bob, scope, scope, trainer=lora if scope == "ingest" else None)
        people[scope] = Client(headers={"Authorization": f"Bearer {secret}"})
    for client in people.values():  # one chain of middleware for all: making it takes longer than answering
        client.handler = people["anonymous"].handler
    return people


def ask(client: Client, method: str, path: str) -> str:
    """What comes of a request, whose deeds are undone."""
    kept, api = deepcopy(client.cookies), is_api(path)
    with transaction.atomic():
        kind = "application/json" if api else "application/x-www-form-urlencoded"
        answer = client.generic(method, path, b"" if method == "GET" else b"{}" if api else FORM, content_type=kind)
        if answer.streaming and not answer.is_async:
            list(answer)
        transaction.set_rollback(True)
    client.cookies = kept
    return outcome(answer)


def test_every_route_answers_everybody_as_the_table_says(callers: dict[str, Client], things: dict[str, int]) -> None:
    table, wrong = rows(), []
    for path, view in routes():
        found = {method: row for row in reversed(table) for method in row[1] if any(fnmatchcase(path, one) for one in row[0])}
        if not found:
            wrong.append(f"{path} is in no row")
        for method in methods(path, view):
            told = [ask(callers[who], method, address(path, things)) for who in (WHO if is_api(path) else WHO[:6])]
            told += told[5:6] * (len(WHO) - len(told))  # pages look at no token: what one gets, all get
            # what a page does with POST has a row of its own, or it is what GET does, or nothing
            allowed = [found[method][2]] if method in found else [found.get("GET", ("", "", []))[2]]
            if method == "POST" and method not in found and all(word in {"sign in", "-", "hidden"} for word in told):
                continue
            if told not in allowed:
                wrong.append(f"{path} {method}: {' | '.join(told)}, not {' | '.join(allowed[0])}")
    assert not wrong, "\n".join(wrong)


def test_the_table_names_no_address_that_is_not_there() -> None:
    known = [path for path, _ in routes()]
    unused = [one for row in rows() for one in row[0] if not any(fnmatchcase(path, one) for path in known)]
    assert unused == []
