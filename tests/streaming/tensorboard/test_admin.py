"""TensorBoards in the admin: what operators may change there, and that its form is no shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from runs.models import AuditEntry, Trainer
from runs.roles import fill_roles
from streaming.models import TensorBoard
from tests.runs.conftest import signed_in
from tests.runs.factories import make_trainer
from tests.runs.test_pages import text
from tests.streaming.tensorboard.boards import make_board

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db
LIST = "/admin/streaming/tensorboard/"


@pytest.fixture
def board(lora: Trainer, settings: Settings) -> TensorBoard:
    fill_roles()
    settings.TRAINMON_TB_PROGRAMS = [sys.executable]
    return make_board(lora)


@pytest.fixture
def other(board: TensorBoard) -> TensorBoard:
    """One of a trainer that bob may not see."""
    return make_board(make_trainer("router", "team-router"))


def save(user: User, board: TensorBoard, **said: Any) -> str:
    form = {"mode": "always", "until_0": "", "until_1": "", "executable": "", "arguments": "[]", "reload_interval": "30",
            "memory_limit": "4096", "idle_after": "30"}
    answer = signed_in(user).post(f"{LIST}{board.pk}/change/", form | said)
    assert answer.status_code in (200, 302, 403, 404)
    return "" if answer.status_code == 302 else answer.content.decode()


def act(user: User, action: str, *boards: TensorBoard) -> None:
    signed_in(user).post(LIST, {"action": action, "_selected_action": [board.pk for board in boards]})


def test_the_list_shows_those_of_trainers_that_one_sees(board: TensorBoard, other: TensorBoard, bob: User, ada: User) -> None:
    assert "lora" in text(signed_in(bob), LIST) and "router" not in text(signed_in(bob), LIST)
    for words in ("lora", "router", "running", "always on", "2.21.0", "300 MiB", "18 of 18"):
        assert words in text(signed_in(ada), LIST)


def test_actions_reach_no_board_of_others(board: TensorBoard, other: TensorBoard, bob: User) -> None:
    act(bob, "stop", board, other)
    assert {one.trainer.slug: one.mode for one in TensorBoard.objects.all()} == {"lora": "stopped", "router": "always"}
    assert [entry.subject for entry in AuditEntry.objects.all()] == ["lora"]


def test_stopped_ones_are_started_and_running_ones_started_anew(board: TensorBoard, bob: User) -> None:
    TensorBoard.objects.update(mode="stopped", state="stopped")
    act(bob, "start", board)
    board.refresh_from_db()
    assert board.mode == "always"
    asked = board.restart_asked
    act(bob, "restart", board)
    board.refresh_from_db()
    assert asked and board.restart_asked and board.restart_asked > asked


def test_what_is_wanted_is_changed_and_how_it_stands_is_not(board: TensorBoard, bob: User) -> None:
    """CH-12."""
    arguments = '["--samples_per_plugin=images=50"]'
    assert save(bob, board, reload_interval="5", arguments=arguments, executable=sys.executable, state="failed", pid="1") == ""
    board.refresh_from_db()
    assert (board.reload_interval, board.arguments, board.executable) == (5, ["--samples_per_plugin=images=50"], sys.executable)
    assert (board.state, board.pid) == ("running", 4711)
    assert AuditEntry.objects.get().details["reload_interval"] == "5"


def test_a_form_does_not_write_what_the_supervisor_wrote_meanwhile(board: TensorBoard, bob: User) -> None:
    TensorBoard.objects.update(state="failed", memory_limit=1024)
    assert save(bob, board, reload_interval="5", memory_limit="1024") == ""
    board.refresh_from_db()
    assert (board.state, board.memory_limit, board.reload_interval) == ("failed", 1024, 5)


@pytest.mark.parametrize("program", ["/bin/sh", "sh", "../../bin/sh", f"{sys.executable} -c x", "/bin/sh\0"])
def test_only_programs_that_this_machine_names_may_be_chosen(program: str, board: TensorBoard, ada: User) -> None:
    assert "Select a valid choice" in save(ada, board, executable=program)
    assert TensorBoard.objects.get().executable == ""


def test_a_program_that_is_named_no_more_cannot_be_saved_again(board: TensorBoard, bob: User, settings: Settings) -> None:
    TensorBoard.objects.update(executable=sys.executable)
    settings.TRAINMON_TB_PROGRAMS = []
    assert "not one of TRAINMON_TB_PROGRAMS" in save(bob, board, executable=sys.executable)
    assert save(bob, board) == ""


@pytest.mark.parametrize("arguments", [
    '["--logdir=/etc"]', '["--host=0.0.0.0"]', '["--port=6006"]', '["--path_prefix=/"]', '["--db=x"]', '["--bind_all=true"]',
    '["--window_title", "x"]', '["--window_title=a\\nb"]', '["; rm -rf /"]', '{"a": 1}', '[1]', '"x"', "[", '["--logd=/etc"]',
    '["--samples_per_plugin=\\u0000"]',
])
def test_arguments_name_no_file_address_or_program(arguments: str, board: TensorBoard, ada: User) -> None:
    assert "errorlist" in save(ada, board, arguments=arguments)
    assert TensorBoard.objects.get().arguments == []


def test_nobody_adds_or_deletes_one_by_hand(board: TensorBoard, ada: User) -> None:
    assert signed_in(ada).get(f"{LIST}add/").status_code == 403
    assert signed_in(ada).post(f"{LIST}{board.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in signed_in(ada).get(LIST).content.decode()


def test_an_operator_changes_none_of_others(board: TensorBoard, other: TensorBoard, bob: User) -> None:
    assert signed_in(bob).get(f"{LIST}{other.pk}/change/").status_code == 302
    save(bob, other, reload_interval="5")
    other.refresh_from_db()
    assert other.reload_interval == 30


def test_the_end_of_its_log_is_shown_without_secrets(board: TensorBoard, bob: User) -> None:
    TensorBoard.objects.update(state="failed", log_tail="MemoryError\npassword=hunter2hunter2", reason="password=hunter2hunter2")
    page = text(signed_in(bob), f"{LIST}{board.pk}/change/")
    assert "MemoryError" in page and "hunter2hunter2" not in page + text(signed_in(bob), LIST)
