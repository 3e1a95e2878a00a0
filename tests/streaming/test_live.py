"""The socket of a page, with real processes: what is committed elsewhere arrives, whatever is lost on the way."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from runs.models import Run
from tests.runs.factories import make_run, make_source
from tests.runs.processes import ROOT, environment
from tests.streaming.sites import Site, change, page, site_running, valkey_running

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


#: Dies where a commit is about to be told.
DIES = "; from streaming import publish; publish._publisher.tell = lambda *_: os.kill(os.getpid(), 9)"
#: Changes the run in a forked child, as a source's sync does.
FORKS = """
pid = os.fork()
if pid == 0:
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk={pk})
        run.version += 1; run.step = 4712; run.save()
        signals.tell(runs={{run.pk: run.version}})
    from streaming import publish
    assert publish.flush(5)
    os._exit(0)
os.waitpid(pid, 0)
"""


def elsewhere(bus: str, run: Run, step: int, *, ready: str = "", then: str = "") -> subprocess.CompletedProcess[str]:
    """Change a run in a process of its own."""
    code = ELSEWHERE.replace("django.setup()", "django.setup()" + ready).format(
        pk=run.pk, step=step, then=then.format(pk=run.pk))
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
        html = one.until("run-row", run.pk, 1)
    assert "4,711" in html and 'data-version="1"' in html


def test_a_change_is_found_where_the_bus_is_down(deaf: Site, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(deaf, alice) as one:
        one.say(watch=[row(run, 0)])
        time.sleep(0.5)
        version = change(run, step=4711)
        assert "4,711" in one.until("run-row", run.pk, version)


def test_a_process_killed_between_commit_and_notice_costs_two_seconds_and_not_the_state(whole: Site, bus: str, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(whole, alice) as one:
        one.say(watch=[row(run, 0)])
        time.sleep(0.5)
        assert elsewhere(bus, run, 4711, ready=DIES).returncode == -signal.SIGKILL
        assert Run.objects.get(pk=run.pk).step == 4711
        assert "4,711" in one.until("run-row", run.pk, 1)


def test_a_forked_child_tells_of_its_own_commits(bused: Site, bus: str, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(bused, alice) as one:
        one.say(watch=[row(run, 0)])
        time.sleep(0.5)
        done = elsewhere(bus, run, 4711, then=FORKS)
        assert done.returncode == 0, done.stderr
        assert "4,712" in one.until("run-row", run.pk, 2)


def test_a_bus_that_dies_and_returns_is_heard_again(tmp_path: Path, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with contextlib.ExitStack() as site_of:
        with valkey_running(tmp_path) as bus:
            site = site_of.enter_context(site_running(tmp_path, bus))
            one = site_of.enter_context(page(site, alice))
            one.say(watch=[row(run, 0)])
            time.sleep(0.5)
        assert "4,711" in one.until("run-row", run.pk, change(run, step=4711))
        with valkey_running(tmp_path):
            time.sleep(4)  # the site looks for it every second
            done = elsewhere(bus, run, 4712)
            assert done.returncode == 0, done.stderr
            assert "4,712" in one.until("run-row", run.pk, 2)


@pytest.mark.soak
@pytest.mark.usefixtures("told")
def test_sockets_outlive_the_connections_to_the_database(bused: Site, alice: User):
    run = make_run(make_source(alice.groups.get(name="team-lora").trainers.get()), step=1)
    with page(bused, alice) as one:
        one.say(watch=[row(run, 0)])
        for step in range(3):
            time.sleep(0.7)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                               "WHERE datname = current_database() AND pid <> pg_backend_pid()")
            version = change(run, step=step)
            one.until("run-row", run.pk, version)
