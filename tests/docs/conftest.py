"""A real site that is started, killed and started again on one port, and the client as a trainer has it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from runs import pushed
from runs.models import ApiToken, Trainer
from runs.roles import fill_roles
from tests.browser.conftest import wait_for
from tests.runs.factories import make_trainer, make_user
from tests.runs.processes import ROOT, environment

if TYPE_CHECKING:
    from pytest_django import Settings

EXAMPLES = ROOT / "docs/examples"


class Site:
    """daphne, on the test's database."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), "trainmon.asgi:application"]
        env = environment(TRAINMON_HOME=str(self.home), TRAINMON_PUSH_FREE="1", TRAINMON_INGEST_RATE="0")
        with (self.home / "daphne.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
        wait_for(self.port, self.process)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


@pytest.fixture
def site(transactional_db: None, tmp_path: Path, settings: Settings) -> Iterator[Site]:
    """Not started yet."""
    settings.HOME, settings.TRAINMON_PUSH_FREE = tmp_path / "home", 1
    settings.HOME.mkdir()
    pushed._sums.clear()
    fill_roles()
    site = Site(settings.HOME)
    yield site
    site.kill()


@pytest.fixture
def lora(site: Site) -> Trainer:
    return make_trainer("lora", "team-lora")


@pytest.fixture
def bob(lora: Trainer) -> User:
    return make_user("bob", "operator", "team-lora")


@pytest.fixture
def token(bob: User, lora: Trainer) -> str:
    return ApiToken.issue(bob, "machine", "ingest", trainer=lora)[1]


@pytest.fixture(scope="session")
def module() -> ModuleType:
    """docs/examples/trainmon_client.py, quick to try again."""
    spec = importlib.util.spec_from_file_location("trainmon_client", EXAMPLES / "trainmon_client.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["trainmon_client"] = module
    spec.loader.exec_module(module)
    module.PAUSE = module.LONGEST_PAUSE = module.REFUSED_PAUSE = 0.2
    module.SEGMENT = 50_000  # so that files of the spool take turns
    module.SHIP_EVERY = module.ASK_EVERY = 0.3
    return module


def script(code: str, *words: str, **env: str) -> subprocess.Popen[str]:
    """A trainer in a process of its own."""
    head = "import sys, os, time\nfrom trainmon_client import Client\n"
    path = {"PYTHONPATH": str(EXAMPLES)}
    return subprocess.Popen([sys.executable, "-c", head + code, *words], env=os.environ | path | env, text=True,
                            stdout=subprocess.PIPE)
