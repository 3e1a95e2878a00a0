"""What is live asks the database in two threads of its own, and holds no connection between two questions.

The site's pool has ten connections for everything; a thousand sockets use two of them at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from runs.streamed import let_go

P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(2, "live")


async def ask(question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer of a function that asks the database."""

    def answered() -> T:
        try:
            return question(*args, **kwargs)
        finally:
            let_go()

    return await asyncio.get_running_loop().run_in_executor(_threads, answered)
