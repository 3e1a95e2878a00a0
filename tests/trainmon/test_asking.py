"""Questions that may hang: asked once for all, given up in time, asked anew, and never by too many threads."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from trainmon.health import asking
from trainmon.health.asking import Asked, Hanging, in_thread


class Question:
    """Counts how often it is asked; answers only while ``open``."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        self.open.wait(20)
        return mine


@pytest.fixture
def question() -> Question:
    return Question()


@pytest.fixture
def asked(question: Question, monkeypatch: pytest.MonkeyPatch) -> Asked[int]:
    monkeypatch.setattr(asking, "FRESH", 3600)
    monkeypatch.setattr(asking, "AGAIN", 0.3)
    return Asked(lambda: in_thread(question, "question"), 0.1)


async def stale(asked: Asked[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all questions are answered, and the answers old."""
    while not all(task.done() for task in asked.tasks):
        await asyncio.sleep(0.01)
    monkeypatch.setattr(asking, "FRESH", -1)


async def test_many_who_want_to_know_ask_once(
    question: Question, asked: Asked[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.patience = 10
    assert await asyncio.gather(*(asked.answer() for _ in range(50))) == [1] * 50
    assert await asked.answer() == 1
    await stale(asked, monkeypatch)
    assert await asked.answer() == 2 == question.asked


async def test_nobody_waits_for_what_hangs_and_it_is_asked_anew(
    question: Question, asked: Asked[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "AGAIN", 3600)
    asked.patience = 1.5
    question.open.clear()
    with pytest.raises(Hanging, match="no answer within 1.5 s"):
        await asked.answer()
    began = time.monotonic()
    with pytest.raises(Hanging):
        await asked.answer()
    assert time.monotonic() - began < 1 and question.asked == 1
    asked.patience = 10
    question.open.set()
    await stale(asked, monkeypatch)
    assert await asked.answer() == 2


async def test_few_threads_hang_however_long_it_takes(
    question: Question, asked: Asked[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    question.open.clear()
    for _ in range(8):
        with pytest.raises(Hanging):
            await asked.answer()
        await asyncio.sleep(0.31)
    assert question.asked == asking.MOST_HANGING
    asked.patience = 10
    question.open.set()
    await stale(asked, monkeypatch)
    assert await asked.answer() == asking.MOST_HANGING + 1


async def test_what_a_question_raises_everybody_is_told() -> None:
    def broken() -> int:
        raise ValueError("no")

    asked = Asked(lambda: in_thread(broken, "broken"), 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await asked.answer()
