"""The whole way, kept by the real supervisor: whatever is killed, the page is TensorBoard's again by itself (CH-8, P16)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from runs.models import ApiToken, Trainer
from runs.roles import fill_roles
from streaming.models import TensorBoard
from tests.runs.factories import make_source
from tests.runs.processes import ROOT, environment
from tests.streaming.sites import Site, until
from tests.streaming.tensorboard.behind import event_files, get
from tests.trainmon.machine import at_rest

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/tensorboard/lora/"


@contextmanager
def supervisor(home: Path) -> Iterator[int]:
    """`manage.py tensorboards` on the test's database."""
    command, env = [sys.executable, "manage.py", "tensorboards"], environment(TRAINMON_HOME=str(home))
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def test_whatever_is_killed_it_opens_again(deaf: Site, lora: Trainer, alice: User, tmp_path: Path) -> None:
    fill_roles()
    (tmp_path / "logs").mkdir()
    event_files(tmp_path / "logs")
    make_source(lora, root=str(tmp_path / "logs"))
    _, secret = ApiToken.issue(alice, "script", "read")

    def opens() -> bool:
        answer, said = get(deaf, PAGE, secret)
        assert answer.status == 200 or (answer.status == 503 and int(answer.headers["Retry-After"]) > 0), said
        return answer.status == 200

    with supervisor(tmp_path / "home") as pid:
        until(opens)
        until(lambda: b"data/first" in get(deaf, PAGE + "data/runs", secret)[1])
        killed = child()
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until(lambda: child() not in (None, killed) and opens(), at_rest(15))
        os.kill(pid, signal.SIGKILL)
        until(lambda: not opens())
    with supervisor(tmp_path / "home"):
        until(opens, at_rest(15))
    until(lambda: TensorBoard.objects.get().state == "stopped")
    assert not opens()


def child() -> int | None:
    return TensorBoard.objects.get().pid
