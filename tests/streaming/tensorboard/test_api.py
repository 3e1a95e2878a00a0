"""TensorBoard for scripts: /api/trainers/<slug>/tensorboard/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils.timezone import now

from runs.models import AuditEntry, Trainer
from runs.roles import fill_roles
from streaming.models import TensorBoard, TensorBoardTransition
from tests.runs.api.conftest import by_token, fresh_buckets, problem, send  # noqa: F401
from tests.runs.factories import make_file, make_run, make_source
from tests.streaming.tensorboard.boards import make_board

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db
ADDRESS = "/api/trainers/lora/tensorboard/"


@pytest.fixture
def board(lora: Trainer) -> TensorBoard:
    fill_roles()
    return make_board(lora)


def test_it_tells_how_it_stands(board: TensorBoard, alice: User, lora: Trainer) -> None:
    TensorBoardTransition.objects.create(tensorboard=board, old="starting", new="running", reason="token=abcdefabcdef1234")
    run = make_run(make_source(lora), name="replaced")
    make_file(run, generation=1, replaced=now())
    told = by_token(alice, "read").get(ADDRESS).json()
    assert {name: told[name] for name in ("trainer", "address", "state", "mode", "kept", "version", "pid", "memory_bytes")} == {
        "trainer": "lora", "address": "/tensorboard/lora/", "state": "running", "mode": "always", "kept": True,
        "version": "2.21.0", "pid": 4711, "memory_bytes": 300 * 2**20}
    assert (told["runs_served"], told["runs_on_disk"], told["memory_limit_bytes"]) == (18, 18, 4 * 2**30)
    assert told["transitions"][0]["new"] == "running" and "abcdefabcdef1234" not in told["transitions"][0]["reason"]
    assert (told["shows_less"][0]["run"], told["shows_less"][0]["name"]) == (run.pk, "replaced")


def test_where_none_was_made_yet_it_says_so(lora: Trainer, alice: User) -> None:
    told = by_token(alice, "read").get(ADDRESS).json()
    assert (told["state"], told["kept"], told["reason"]) == ("stopped", False, "No source of this trainer is enabled.")


def test_operators_ask_and_that_is_written_down(board: TensorBoard, bob: User) -> None:
    answer = send(by_token(bob), "POST", ADDRESS, {"wish": "start", "minutes": 30})
    assert (answer.status_code, answer.json()["mode"]) == (202, "stopped") and answer.json()["until"].endswith("Z")
    told = AuditEntry.objects.get()
    assert (told.who, told.action, told.details) == ("bob", "start tensorboard", {"mode": "stopped", "minutes": 30})


@pytest.mark.parametrize(("said", "field"), [
    ({}, "wish"), ({"wish": "rm"}, "wish"), ({"wish": "stop", "minutes": 5}, "minutes"),
    ({"wish": "start", "minutes": 0}, "minutes"), ({"wish": "start", "executable": "/bin/sh"}, "executable"), ([], "request"),
])
def test_what_cannot_be_asked_is_a_problem(said: Any, field: str, board: TensorBoard, bob: User) -> None:
    told = problem(send(by_token(bob), "POST", ADDRESS, said), 400, "invalid")
    assert field in told["errors"]
    assert TensorBoard.objects.get().mode == "always"


def test_viewers_and_reading_tokens_ask_nothing(board: TensorBoard, alice: User, bob: User) -> None:
    for caller in (by_token(alice), by_token(bob, "read")):
        assert send(caller, "POST", ADDRESS, {"wish": "stop"}).status_code == 403
    assert send(Client(), "POST", ADDRESS, {"wish": "stop"}).status_code == 401
    assert TensorBoard.objects.get().mode == "always"


def test_an_operator_of_others_is_told_that_there_is_none(board: TensorBoard, charlie: User, settings: Settings) -> None:
    hidden, missing = (by_token(charlie).get(f"/api/trainers/{slug}/tensorboard/") for slug in ("lora", "none"))
    assert problem(hidden, 404, "not-found")["detail"] == problem(missing, 404, "not-found")["detail"]
    charlie.groups.add(Group.objects.get(name="operator"))
    assert send(by_token(charlie), "POST", ADDRESS, {"wish": "stop"}).status_code == 404
    assert TensorBoard.objects.get().mode == "always"
