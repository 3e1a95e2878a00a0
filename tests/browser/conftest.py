"""A real site (daphne in a process of its own, on the test's database) and a real Chromium."""

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
from urllib.parse import quote

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
    env = os.environ | {"DATABASE_URL": database_url(), "TRAINMON_SECRET_KEY": settings.SECRET_KEY}
    with (tmp_path_factory.mktemp("site") / "daphne.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=settings.BASE_DIR, stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def database_url() -> str:
    """The test's own database, for another process."""
    given = connection.settings_dict
    host, port, user = given["HOST"] or given["OPTIONS"].get("host", ""), given["PORT"], given["USER"]
    secret = f":{quote(given['PASSWORD'])}" if given["PASSWORD"] else ""
    if str(host).startswith("/"):
        return f"postgresql://{user}{secret}@/{given['NAME']}?host={host}" + (f"&port={port}" if port else "")
    return f"postgresql://{user}{secret}@{host}:{port}/{given['NAME']}"


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the site answers, at most 30 s."""
    until = time.monotonic() + 30
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


@pytest.fixture
def chromium(site: str) -> Iterator[Browser]:
    """Started after the rows were made: with its loop running Django refuses the ORM."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "no Chromium: apt-get install chromium, or name it in CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
