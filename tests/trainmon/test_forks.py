"""Forked children never speak on their parent's database connections, pooled or not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.trainmon.machine import ROOT, environment, living, wait_until

FORK = """
import multiprocessing, os, django
from django.conf import settings
from trainmon.embedded.ensure import ensure
ensure(settings.HOME)
django.setup()
from django.db import connection, transaction

def backend():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]

def child(answers):
    answers.put(backend())

answers = multiprocessing.get_context("fork").Queue()
with transaction.atomic():
    before = backend()
    children = [multiprocessing.get_context("fork").Process(target=child, args=[answers]) for _ in range(3)]
    for process in children: process.start()
    theirs = {answers.get(timeout=60) for _ in children}
    for process in children: process.join()
    assert backend() == before
assert len(theirs) == 3 and before not in theirs, (before, theirs)
assert [process.exitcode for process in children] == [0, 0, 0]
connection.close()
print("apart", backend() > 0)
os._exit(0)
"""


@pytest.mark.parametrize("pool", ["0", "3"], ids=["alone", "pooled"])
def test_children_have_connections_of_their_own(home, pool):
    env = environment(home, TRAINMON_DB_POOL=pool, DJANGO_SETTINGS_MODULE="trainmon.settings")
    done = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "apart True\n" and "Traceback" not in done.stderr, done.stderr
    assert wait_until(lambda: not living(home))
