"""The site in little memory: what it does not load, and what it does not keep."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

from trainmon.absent import absent
from trainmon.answering import Answering
from trainmon.embedded.programs import ROOT

#: What other programs of ours need, or a page that few open.
OTHERS = {
    "OpenSSL", "aiohttp", "apprise", "fastparquet", "google.protobuf", "jinja2", "markdown", "pandas", "playwright",
    "pyarrow", "pygments", "pytest", "requests", "rich", "tensorboard", "textual", "watchfiles",
}  # fmt: skip
LOADED = """
import sys, trainmon.web, trainmon.asgi
from django.urls import get_resolver
get_resolver().url_patterns
print(*sys.modules)
"""


def test_a_web_process_loads_nothing_that_only_other_programs_need():
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "trainmon.settings"}
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert OTHERS & set(done.stdout.split()) == set()


def test_what_is_hidden_for_a_moment_can_be_loaded_afterwards():
    sys.modules.pop("this", None)
    with absent("this", "json"):
        assert found("json") and not found("this")
    assert "this" not in sys.modules


def found(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


class Recording(Answering):
    async def run_get_response(self, request: Any) -> Any:
        self.answer = await super().run_get_response(request)
        self.whole = self.answer.content
        return self.answer


def test_an_answer_is_sent_whole_and_then_kept_by_nobody(db: None):
    handler, sent = Recording(), []
    scope = {"type": "http", "method": "GET", "path": "/login/", "query_string": b"", "headers": [(b"host", b"localhost")]}

    async def ask() -> None:
        waiting = asyncio.Event()
        messages = iter([{"type": "http.request", "body": b""}])

        async def receive() -> Any:
            return next(messages, None) or await waiting.wait()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        await handler(scope, receive, send)

    asyncio.run(ask())
    assert b"".join(sent) == handler.whole and b"password" in handler.whole
    assert handler.answer.content == b""
