"""Each example of docs/api.md is run, as it stands, against a real site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group

from runs.models import ApiToken, Note, Run
from runs.roles import OPERATOR, fill_roles
from tests.runs.factories import make_points, make_run, make_source, make_trainer, make_user

TEXT = (Path(__file__).resolve().parents[3] / "docs/api.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced examples in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def site(live_server: Any) -> Iterator[dict[str, str]]:
    """A site with three runs, and the environment that the examples want."""
    fill_roles()
    source = make_source(make_trainer())
    for number in range(3):
        make_points(make_run(source, name=f"run {number}", params={"lr": 0.1}), "loss", [1.0, number / 10])
    operator = make_user("otto")
    operator.groups.add(Group.objects.get(name=OPERATOR))
    secret = ApiToken.issue(operator, "examples", "write")[1]
    yield {**os.environ, "TRAINMON_URL": live_server.url, "TRAINMON_TOKEN": secret}


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_in_python_run_one_after_the_other(site: dict[str, str]) -> None:
    said = run([sys.executable, "-c", "\n".join(blocks("python"))], site)
    assert "otto ['operator'] write" in said
    assert "400 urn:trainmon:problem:invalid" in said
    assert "['run 0', 'run 1', 'run 2']" in said
    best = Run.objects.get(name="best so far")
    assert best.pinned and not best.tags and not Note.objects.exists()


def test_the_examples_in_the_shell_run_each_on_its_own(site: dict[str, str]) -> None:
    examples = blocks("sh")
    assert len(examples) >= 4
    said = [run(["bash", "-euo", "pipefail", "-c", example], site) for example in examples]
    assert '"username":"otto"' in said[0]
    assert '"min(loss)":0.0' in said[1] and '"finished":3' in said[1]
