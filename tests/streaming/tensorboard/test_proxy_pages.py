"""What one is shown where TensorBoard does not answer: wait, it failed, it is stopped (CH-7, CH-10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from runs.models import Trainer
from streaming.models import TensorBoard
from tests.runs.conftest import signed_in
from tests.streaming.tensorboard.behind import make_board

PAGE = "/tensorboard/lora/"


def page(who: User, path: str = PAGE) -> Any:
    return signed_in(who).get(path, headers={"Accept": "text/html"})


@pytest.mark.parametrize(("state", "title"), [
    ("starting", "TensorBoard starts"), ("running", "TensorBoard starts"), ("asleep", "TensorBoard wakes up"),
    ("stopped", "TensorBoard is stopped"), ("failed", "TensorBoard failed"),
])  # fmt: skip
def test_each_state_says_what_it_is_and_when_to_come_again(lora: Trainer, alice: User, state: str, title: str) -> None:
    make_board(lora, "", state=state, reason="the reason of it")
    answer = page(alice)
    assert answer.status_code == 503 and int(answer["Retry-After"]) > 0
    assert f"<h1>{title}</h1>" in answer.content.decode()
    assert (b"the reason of it" in answer.content) == (state in ("starting", "stopped", "failed"))
    script = signed_in(alice).get(PAGE + "data/runs")
    assert (script.status_code, script["Content-Type"], script["Retry-After"]) == (
        503, "text/plain; charset=utf-8", answer["Retry-After"])  # fmt: skip
    assert script.content.decode().startswith(f"{title}. ")


def test_who_comes_to_one_that_sleeps_wakes_it(lora: Trainer, alice: User, charlie: User) -> None:
    board = make_board(lora, "", state="asleep", visited=now() - timedelta(seconds=1))
    page(charlie)
    before = board.visited
    board.refresh_from_db()
    assert board.visited == before
    page(alice)
    board.refresh_from_db()
    assert board.visited is not None and before is not None and board.visited > before


def test_the_end_of_its_log_is_an_operators_and_without_secrets(lora: Trainer, alice: User, bob: User) -> None:
    tail = "first line\nloading with HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz012345 <script>alert(1)</script>"
    make_board(lora, "", state="failed", reason="it ended with status 1: password=hunter2", log_tail=tail)
    shown = page(bob).content.decode()
    assert "first line" in shown and "&lt;script&gt;" in shown and "<script>alert" not in shown
    assert "hf_abcdef" not in shown and "hunter2" not in shown
    assert "first line" not in page(alice).content.decode()


def test_one_that_nothing_looks_after_says_so(lora: Trainer, alice: User) -> None:
    make_board(lora, "", state="asleep", seen=now() - timedelta(minutes=5))
    assert b"manage.py tensorboards" in page(alice).content


def test_a_trainer_without_one_says_what_it_takes(lora: Trainer, alice: User) -> None:
    assert b"There is no TensorBoard yet" in page(alice).content


def test_its_pages_may_stand_in_the_runs_page_and_nowhere_else(lora: Trainer, alice: User) -> None:
    make_board(lora, "", state=TensorBoard.State.STARTING)
    answer = page(alice)
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    policy = answer["Content-Security-Policy"].split("; ")
    assert "frame-ancestors 'self'" in policy and "script-src 'self'" in policy


def test_who_is_not_signed_in_is_sent_there_and_returns(lora: Trainer) -> None:
    answer = Client().get(PAGE + "?runFilter=a%2Fb", headers={"Accept": "text/html"})
    assert answer.status_code == 302
    assert answer["Location"] == "/login/?next=/tensorboard/lora/%3FrunFilter%3Da%252Fb"
    script = Client().get(PAGE, headers={"Accept": "text/html", "Authorization": "Bearer tmon_none"})
    assert script.status_code == 401 and script["WWW-Authenticate"].startswith("Bearer")
    assert Client().get(PAGE + "data/runs", headers={"Accept": "application/json"}).status_code == 401


def test_its_fonts_which_it_asks_for_at_the_root_are_found(alice: User) -> None:
    client, path = signed_in(alice), "/font-roboto/oMMgfZMQthOryQo9n22dcuvvDin1pK8aKteLpeZ5c0A.woff2"
    answer = client.get(path, headers={"Referer": "http://testserver/tensorboard/lora/index.js?x"})
    assert (answer.status_code, answer["Location"]) == (302, f"/tensorboard/lora{path}")
    for referer in ("", "http://testserver/runs/", "http://testserver/tensorboard/", "http://["):
        assert client.get(path, headers={"Referer": referer}).status_code == 404, referer
    assert client.get("/font-roboto/x.html", headers={"Referer": "http://testserver/tensorboard/lora/"}).status_code == 404
