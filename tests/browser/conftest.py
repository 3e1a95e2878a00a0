"""A real site (daphne in a process of its own, on the test's database) and a real Chromium; one of each a worker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils.timezone import now

from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user
from tests.runs.processes import environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

#: Milliseconds that what is expected may take to come on a busy machine.
SOON = 30_000
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here need Chromium; without it they fail, they never skip."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def rows(transactional_db: None) -> int:
    """Runs of every status with long names, and one with everything in it; its id."""
    make_user("alice", "viewer")
    source = make_source(make_trainer("lora"))
    make_source(make_trainer("router"), status="error", last_error="Permission denied: " + "x" * 300)
    for status in ("running", "finished", "failed", "killed", "lost", "unknown", "queued"):
        make_run(source, name=f"{status}-" + "long-name-" * 12, dataset="alpaca", status=status, step=4, total_steps=10)
    run = make_run(source, name="everything", started=now() - timedelta(days=9), files_missing=True,
                   params={"path": "/very" * 60, "lr": 0.1}, status_reason="data arrived " + "long ago " * 30)
    file = make_file(run, "x" * 200, bad_records=1, damages=[{"offset": 1, "length": 2, "kind": "payload crc"}])
    for tag in ("loss", "train/loss", "eval/" + "long" * 30):
        make_points(run, tag, np.linspace(3, 1, 500), file=file)
    return run.pk


@pytest.fixture(scope="session")
def serving(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one site for all tests: starting it takes longer than most of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "trainmon.asgi:application"]
    env = environment(TRAINMON_SECRET_KEY=settings.SECRET_KEY)
    with (tmp_path_factory.mktemp("site") / "daphne.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=settings.BASE_DIR, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the site answers, at most two minutes."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("daphne did not answer")


@pytest.fixture
def site(rows: int, serving: str) -> str:
    """The address of the running site, once the rows of the test are there."""
    return serving


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests: starting it costs two seconds of a processor."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=SOON)
    assert CHROMIUM, "no Chromium: apt-get install chromium, or name it in CHROMIUM"
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's loop runs in this thread, although no coroutine of it ever asks the database
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def chromium(browser: Browser, site: str) -> Iterator[Browser]:
    """The browser of a site with rows, whose pages are closed after the test."""
    yield browser
    for context in browser.contexts:
        context.close()


def enter(context: BrowserContext, site: str, name: str) -> None:
    """Be signed in as this user; signing in by the form is what test_walk does."""
    value = signed_in(User.objects.get(username=name)).cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": site}])
