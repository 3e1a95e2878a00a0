"""The socket of a page, with real processes: what is committed elsewhere arrives, whatever is lost on the way."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from django.contrib.auth.models import User

from runs.models import Run
from tests.runs.factories import make_run, make_source
from tests.runs.processes import ROOT, environment
from tests.streaming.sites import Site, change, page

pytestmark = pytest.mark.django_db(transaction=True)

ELSEWHERE = """
import django, os; django.setup()
from django.db import transaction
from runs import signals
from runs.models import Run
with transaction.atomic():
    run = Run.objects.select_for_update().get(pk={pk})
    run.version += 1; run.step = {step}; run.save()
    signals.tell(runs={{run.pk: run.version}})
{then}
print(run.version)
"""


def elsewhere(bus: str, run: Run, step: int, *, before: str = "", then: str = "") -> subprocess.CompletedProcess[str]:
    """Change a run in a process of its own."""
    code = before + ELSEWHERE.format(pk=run.pk, step=step, then=then)
    env = environment(DJANGO_SETTINGS_MODULE="trainmon.settings", REDIS_URL=bus)
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
                          check=False)


def row(run: Run, version: int = -1, spec: str = "column=step") -> dict[str, object]:
    return {"kind": "run-row", "id": run.pk, "version": version, "spec": spec}


def test_a_commit_in_another_process_reaches_a_page_over_the_bus(bused: Site, bus: str, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(bused, alice) as one:
        one.say(watch=[row(run)])
        assert f'id="run-{run.pk}"' in one.until("run-row", run.pk, 0)
        done = elsewhere(bus, run, 4711)
        assert done.returncode == 0, done.stderr
        html = one.until("run-row", run.pk, 1, 1.5)
    assert "4,711" in html and 'data-version="1"' in html


def test_a_change_is_found_where_the_bus_is_down(deaf: Site, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(deaf, alice) as one:
        one.say(watch=[row(run, 0)])
        time.sleep(0.5)
        version = change(run, step=4711)
        assert "4,711" in one.until("run-row", run.pk, version, 4)
