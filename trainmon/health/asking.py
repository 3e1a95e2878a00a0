"""Questions that may hang, asked so that nobody hangs with them.

The question runs in a thread of its own, a daemon, which a process that ends does not wait for.  It is asked once
for all who want to know, and not again while its answer is fresh: whoever asks us often asks nobody else often.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from runs.streamed import let_go

T = TypeVar("T")

#: Seconds that an answer is good for, and after which a question that still hangs is asked anew: the line may be back.
FRESH, AGAIN = 1.0, 15.0
#: So many may hang at the same time: each may hold a connection.
MOST_HANGING = 3


class Hanging(Exception):
    """No answer in time."""


async def in_thread(question: Callable[[], T], name: str) -> T:
    """The answer of a function that may block for ever, and may ask the database."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()

    def tell(outcome: Callable[[], None]) -> None:
        if not answered.done():
            outcome()

    def work() -> None:
        try:
            try:
                outcome = partial(answered.set_result, question())
            finally:
                let_go()
        except Exception as error:
            outcome = partial(answered.set_exception, error)
        try:
            loop.call_soon_threadsafe(tell, outcome)
        except RuntimeError:
            pass  # the process ends: nobody wants to know any more

    threading.Thread(target=work, name=name, daemon=True).start()
    return await answered


class Asked(Generic[T]):
    """One question, and its answer while that is fresh."""

    def __init__(self, question: Callable[[], Coroutine[Any, Any, T]], patience: float) -> None:
        self.question, self.patience = question, patience
        self.tasks: list[asyncio.Task[T]] = []
        self.began = self.ended = 0.0

    async def answer(self) -> T:
        """What is so; raises Hanging, or what the question raises."""
        loop = asyncio.get_running_loop()
        task = self._current(loop)
        done, _ = await asyncio.wait([task], timeout=max(0.0, self.began + self.patience - loop.time()))
        if not done:
            raise Hanging(f"no answer within {self.patience:g} s")
        return task.result()

    def _current(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[T]:
        now = loop.time()
        if self.tasks and self.tasks[-1].get_loop() is not loop:
            self.tasks.clear()
        last = self.tasks[-1] if self.tasks else None
        old = last is None or (now > self.ended + FRESH if last.done() else now > self.began + AGAIN)
        self.tasks = [task for task in self.tasks if not task.done() or task is last]
        if last is None or old and sum(not task.done() for task in self.tasks) < MOST_HANGING:
            self.began = now
            last = loop.create_task(self.question())
            last.add_done_callback(self._note_end)
            self.tasks.append(last)
        return last

    def _note_end(self, task: asyncio.Task[T]) -> None:
        self.ended = task.get_loop().time()
        if not task.cancelled():
            task.exception()  # seen: whoever asked may have gone meanwhile


async def within(seconds: float, question: Awaitable[T]) -> T:
    """The same, given up after so long; for what can be given up."""
    try:
        async with asyncio.timeout(seconds):
            return await question
    except TimeoutError:
        raise Hanging(f"no answer within {seconds:g} s") from None
