"""What the pages tell of a TensorBoard, and what people ask of it there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now
from tensorboardX import SummaryWriter

from runs.models import AuditEntry, LogFile, Run, Segment, Source, Trainer
from runs.roles import fill_roles
from runs.sync import sync
from streaming.models import TensorBoard, TensorBoardTransition
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source, make_trainer
from tests.runs.test_pages import EVIL, text
from tests.streaming.tensorboard.boards import make_board

if TYPE_CHECKING:
    from pytest_django import DjangoAssertMaxNumQueries, Settings

pytestmark = pytest.mark.django_db
PAGE = "/trainers/lora/tensorboard/"


@pytest.fixture(autouse=True)
def roles(db: None) -> None:
    """What each role may do."""
    fill_roles()


@pytest.fixture
def source(lora: Trainer) -> Source:
    return make_source(lora, root="/logs/lora")


def ask(user: User, status: int = 302, **said: object) -> TensorBoard | None:
    assert signed_in(user).post(PAGE, said).status_code == status
    return TensorBoard.objects.filter(trainer__slug="lora").first()


def test_the_trainers_page_tells_how_its_tensorboard_stands(alice: User, lora: Trainer, source: Source) -> None:
    board = make_board(lora, restarts=3, reason="Somebody asked for it.")
    TensorBoardTransition.objects.create(tensorboard=board, old="running", new="failed", reason="It ended with code 9.")
    shown = text(signed_in(alice), lora.get_absolute_url())
    for words in ("running", "Somebody asked for it.", "18 of 18 on disk", "300 MiB of 4.0 GiB", "1 h 00 m", "Restarts 3",
                  "2.21.0", "4711", "always on", "It ended with code 9.", "Open TensorBoard"):
        assert words in shown


def test_none_of_18_runs_served_is_an_error(alice: User, lora: Trainer, source: Source) -> None:
    make_board(lora, runs_served=0)
    assert "0 runs served but 18 on disk." in text(signed_in(alice), PAGE)
    TensorBoard.objects.update(runs_served=17)
    assert "0 runs served" not in text(signed_in(alice), PAGE)


def test_one_that_nobody_looks_after_is_not_called_running(alice: User, lora: Trainer, source: Source) -> None:
    make_board(lora, seen=now() - timedelta(minutes=5))
    answer = signed_in(alice).get(PAGE).content.decode()
    assert "Nothing looks after it since" in answer
    assert 'class="status unknown"' in answer


def test_a_failed_one_says_why_and_shows_operators_its_log(alice: User, bob: User, lora: Trainer, source: Source) -> None:
    tail = "Traceback\npassword=hunter2hunter2\nMemoryError"
    make_board(lora, state="failed", reason="It ended with code 1.", log_tail=tail, next_try=now() + timedelta(minutes=1))
    for user, shown in ((alice, False), (bob, True)):
        page = text(signed_in(user), PAGE)
        assert "It ended with code 1." in page and "tried again by itself" in page
        assert ("MemoryError" in page) is shown
        assert "hunter2hunter2" not in page
    TensorBoard.objects.update(state="starting", reason="It ended with code 1. This is another try.")
    for user, shown in ((alice, False), (bob, True)):
        page = text(signed_in(user), PAGE)
        assert "This is another try." in page and ("MemoryError" in page) is shown


def test_a_trainer_without_one_says_what_makes_it(alice: User, lora: Trainer) -> None:
    assert "No source of this trainer is enabled." in text(signed_in(alice), PAGE)
    make_source(lora)
    assert "manage.py tensorboards" in text(signed_in(alice), PAGE)


def test_what_is_told_cannot_be_markup(bob: User, lora: Trainer, source: Source) -> None:
    board = make_board(lora, state="failed", reason=EVIL, log_tail=EVIL, version=EVIL[:50])
    TensorBoardTransition.objects.create(tensorboard=board, old="running", new="failed", reason=EVIL)
    assert "<script>alert" not in signed_in(bob).get(PAGE).content.decode()


def test_viewers_see_no_buttons_and_may_not_press_them(alice: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    assert 'name="wish"' not in signed_in(alice).get(PAGE).content.decode()
    board = ask(alice, 403, wish="stop")
    assert board and board.mode == "always"


def test_a_stranger_is_told_that_there_is_no_such_page(charlie: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    ask(charlie, 404, wish="stop")
    assert signed_in(charlie).get(PAGE).status_code == signed_in(charlie).get("/trainers/none/tensorboard/").status_code == 404


def test_buttons_need_the_token_of_the_form(bob: User, lora: Trainer) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob, backend="runs.signing.Accounts")
    assert client.post(PAGE, {"wish": "stop"}).status_code == 403


def test_operators_stop_and_start_it_and_that_is_written_down(bob: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    board = ask(bob, wish="stop")
    assert board and board.mode == "stopped"
    TensorBoard.objects.update(state="stopped")
    board = ask(bob, wish="start")
    assert board and board.mode == "always" and board.restart_asked
    told = AuditEntry.objects.order_by("id").values_list("who", "action", "subject")
    assert list(told) == [("bob", "stop tensorboard", "lora"), ("bob", "start tensorboard", "lora")]


def test_a_restart_is_asked_for_and_a_start_of_what_runs_is_none(bob: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    board = ask(bob, wish="start")
    assert board and board.restart_asked is None
    board = ask(bob, wish="restart")
    assert board and board.restart_asked and board.mode == "always"


def test_for_some_minutes_it_stops_by_itself(bob: User, lora: Trainer, source: Source) -> None:
    """CH-9."""
    make_board(lora)
    assert 'name="minutes" value="60"' in signed_in(bob).get(PAGE).content.decode()
    board = ask(bob, wish="start", minutes=90)
    assert board and board.until and board.mode == "stopped"
    assert timedelta(minutes=89) < board.until - now() <= timedelta(minutes=90)
    assert "then stopped" in text(signed_in(bob), PAGE)
    board = ask(bob, wish="always")
    assert board and board.until is None and board.mode == "always"


def test_one_that_sleeps_while_nobody_looks_goes_on_doing_so_after_its_minutes(bob: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    board = ask(bob, wish="demand")
    assert board and board.mode == "demand" and board.visited
    board = ask(bob, wish="start", minutes=5)
    assert board and board.until and board.mode == "demand"


@pytest.mark.parametrize("said", [
    {}, {"wish": "delete"}, {"wish": "\0"}, {"wish": "start", "minutes": "0"}, {"wish": "start", "minutes": "9" * 40},
    {"wish": "start", "minutes": "1e999"}, {"wish": "stop", "minutes": "5"},
])
def test_what_cannot_be_asked_is_told_beside_the_form(said: dict[str, str], bob: User, lora: Trainer, source: Source) -> None:
    make_board(lora)
    answer = signed_in(bob).post(PAGE, said)
    assert answer.status_code == 400 and b'id="asked-errors"' in answer.content
    assert TensorBoard.objects.get().mode == "always" and not AuditEntry.objects.exists()


def test_a_wish_before_there_is_a_row_makes_it(bob: User, lora: Trainer, source: Source) -> None:
    board = ask(bob, wish="stop")
    assert board and board.mode == "stopped" and board.state == "stopped"


def test_where_viewers_see_no_raw_logs_the_page_says_so(
    alice: User, bob: User, lora: Trainer, source: Source, settings: Settings
) -> None:
    """P18."""
    make_board(lora)
    settings.TRAINMON_VIEWERS_RAW = False
    assert "Operators may open it" in text(signed_in(alice), PAGE)
    assert "/tensorboard/lora/" not in signed_in(alice).get(PAGE).content.decode()
    assert "Open TensorBoard" in text(signed_in(bob), PAGE)


def test_runs_of_which_it_shows_less_are_named(alice: User, lora: Trainer, source: Source) -> None:
    names = ("restarted", "replaced", "cut", "false", "whole")
    runs = {name: make_run(source, name=f"the-{name}", dataset="alpaca") for name in names}
    files = {name: make_file(run, f"{name}.tfevents", last_wall=1.0) for name, run in runs.items()}
    for part, (first, last) in enumerate(((0, 900), (500, 700))):
        Segment.objects.create(run=files["restarted"].run, log_file=files["restarted"], generation=0, part=part,
                               reason="steps went back", offset=part, first_step=first, last_step=last)
    LogFile.objects.filter(pk=files["replaced"].pk).update(generation=1, replaced=now())
    for name, kind in (("cut", "length crc"), ("false", "payload crc")):
        damage = {"offset": 4096, "length": 9, "kind": kind, "detail": ""}
        LogFile.objects.filter(pk=files[name].pk).update(bad_records=1, damages=[damage])
    make_board(lora)
    shown = text(signed_in(alice), lora.get_absolute_url())
    assert "TensorBoard shows less of 4 runs than these pages" in shown
    assert "Restarted inside restarted.tfevents: steps 500 to 900 from before the restart are hidden." in shown
    assert "the-replaced alpaca" in shown
    assert "replaced.tfevents was replaced" in shown
    assert "cut.tfevents is damaged at byte 4,096: nothing that comes after it is shown." in shown
    assert "false.tfevents holds a damaged record at byte 4,096" in shown
    page = signed_in(alice).get(lora.get_absolute_url()).content.decode()
    less = page[page.index('id="tensorboard-less"'):page.index('id="latest"')]
    assert files["cut"].run.get_absolute_url() in less and files["whole"].run.get_absolute_url() not in less


def test_steps_that_a_later_file_of_the_folder_tells_again_are_named(alice: User, lora: Trainer, tmp_path: Path) -> None:
    for run, later in (("again", {"loss": 5, "other": 3}), ("on", {"loss": 10}), ("apart", {"other": 0})):
        for suffix, begins in ((".a", {"loss": 0}), (".b", later)):
            with SummaryWriter(str(tmp_path / run), filename_suffix=suffix) as writer:
                for tag, first in begins.items():
                    for step in range(first, first + 10):
                        writer.add_scalar(tag, step, step)
    sync(make_source(lora, root=str(tmp_path)).pk, isolate="here")
    make_board(lora)
    shown = text(signed_in(alice), lora.get_absolute_url())
    assert "TensorBoard shows less of 1 run than these pages" in shown
    assert ".b goes back: steps 5 to 9 of the same tags in files before it are hidden." in shown
    run = Run.objects.get(name="again")
    assert "goes back: steps 5 to 9" in text(signed_in(alice), f"/runs/{run.pk}/tensorboard/")


def test_one_that_was_started_since_has_what_replaced_a_file(alice: User, lora: Trainer, source: Source) -> None:
    make_file(make_run(source), generation=1, replaced=now() - timedelta(minutes=5))
    board = make_board(lora)
    assert "TensorBoard shows less of 1 run" in text(signed_in(alice), lora.get_absolute_url())
    for started in (now(), None):
        TensorBoard.objects.filter(pk=board.pk).update(started=started)
        assert "shows less" not in text(signed_in(alice), lora.get_absolute_url())


def test_a_restart_that_goes_on_and_a_run_that_it_does_not_read_are_not_named(
    alice: User, lora: Trainer, source: Source
) -> None:
    file = make_file(make_run(source))
    make_file(make_run(source, lifecycle_stage="buried"), generation=1, replaced=now())
    make_file(make_run(make_source(lora, enabled=False)), generation=1, replaced=now())
    for part in range(2):
        Segment.objects.create(run=file.run, log_file=file, generation=0, part=part, reason="a new session", offset=part,
                               first_step=part * 100, last_step=part * 100 + 99)
    assert "shows less" not in text(signed_in(alice), lora.get_absolute_url())


def test_the_number_of_queries_does_not_follow_the_runs_that_are_named(
    alice: User, lora: Trainer, source: Source, django_assert_max_num_queries: DjangoAssertMaxNumQueries
) -> None:
    make_board(lora)
    for _ in range(30):
        make_file(make_run(source), generation=1, replaced=now())
    client = signed_in(alice)
    with django_assert_max_num_queries(9):
        client.get(PAGE)
    with django_assert_max_num_queries(26):
        shown = text(client, lora.get_absolute_url())
    assert "The first 20 of 30." in shown


def test_one_page_lists_those_of_all_trainers_that_one_sees(
    alice: User, lora: Trainer, source: Source, django_assert_max_num_queries: DjangoAssertMaxNumQueries
) -> None:
    """CH-15."""
    make_board(lora, runs_on_disk=20)
    make_board(make_trainer("hidden", "others"))
    for number in range(10):
        make_source(make_trainer(f"open-{number}"))
    client = signed_in(alice)
    with django_assert_max_num_queries(10):
        shown = text(client, "/tensorboard/")
    for words in ("lora", "running", "18", "20", "300 MiB", "open-9", "Nothing has made it yet"):
        assert words in shown
    assert "hidden" not in shown
