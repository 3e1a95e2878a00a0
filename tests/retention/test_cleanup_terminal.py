"""manage.py cleanup on a real terminal: it asks, a wrong answer is asked again, and anything but yes is No."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retention.models import Plan
from runs.models import Run
from tests.retention.oldruns import run_at, source_at
from tests.runs.processes import ROOT, environment

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal:
    """A command that believes somebody sits there."""

    def __init__(self, *words: str, **env: str) -> None:
        self.fd, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=environment(TERM="xterm", COLUMNS="160", **env), stdin=inner,
            stdout=inner, stderr=inner)
        os.close(inner)
        self.said = ""

    def until(self, words: str) -> str:
        """Everything up to these words."""
        while words not in self.said:
            try:
                self.said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self.fd, 4096).decode())
            except OSError:
                break
        before, found, self.said = self.said.partition(words)
        assert found, before
        return before

    def answer(self, words: str) -> None:
        os.write(self.fd, f"{words}\n".encode())

    def end(self) -> tuple[int, str]:
        rest = self.rest()
        return self.process.wait(60), rest

    def rest(self) -> str:
        """What it says until it ends."""
        try:
            while data := os.read(self.fd, 4096):
                self.said += data.decode()
        except OSError:
            pass
        os.close(self.fd)
        return self.said


@pytest.mark.parametrize(("answer", "stage", "words"), [
    ("", "active", "Nothing was deleted."), ("y", "buried", "Nothing failed."),
])
def test_it_asks_what_and_whether_and_its_default_is_no(tmp_path: Path, answer, stage, words):
    run_at(source_at(tmp_path / "logs"), "a", sizes=(2048,))
    terminal = Terminal("cleanup", TRAINMON_ARCHIVE=str(tmp_path / "archive"))
    assert "1 run" in terminal.until("Select runs")
    terminal.answer("0 7-2")
    assert '"7-2": the larger number comes first' in terminal.until("Select runs")
    terminal.answer("0")
    assert "archived and checked first" in terminal.until("Clean up 1 run, 2.0 KiB? [y/N]")
    terminal.answer(answer)
    code, rest = terminal.end()
    assert (code, words in rest, Run.objects.get().lifecycle_stage) == (0, True, stage)
    assert Plan.objects.count() == (stage == "buried")
