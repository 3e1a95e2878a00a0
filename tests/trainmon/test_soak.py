"""Long kill runs (`make soak`): whatever is killed, whenever, the next one works and nothing is left."""

from __future__ import annotations

import random
import signal
import time

import psutil
import pytest

from tests.trainmon.machine import ask, living, manage_in_background, wait_until
from tests.trainmon.test_up import up

pytestmark = pytest.mark.soak
COMMIT = "insert into kept select count(*) from kept returning n"


def test_commands_killed_at_random_lose_no_commit(home, tmp_path):
    dice = random.Random(1)
    assert ask(home, "create table kept (n bigint)").returncode == 0
    committed = 0
    for round_number in range(40):
        commands = [
            manage_in_background(home, "showmigrations", output=tmp_path / f"{round_number}-{number}") for number in range(4)
        ]
        time.sleep(dice.uniform(0.1, 2.5))
        for victim in dice.sample(living(home), 1):  # a command, a watcher, a postmaster or one of its own
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        for command in commands:
            command.wait(60)
        done = ask(home, COMMIT)
        assert done.stdout == f"said {committed}\n", (round_number, done.stderr)
        committed += 1
    assert wait_until(lambda: not living(home), 20), living(home)


def test_up_survives_the_death_of_any_process_of_its_own(home, tmp_path):
    dice = random.Random(2)
    for turn in range(5):
        site = up(home, tmp_path / f"up-{turn}")
        for _ in range(10):
            victims = psutil.Process(site.process.pid).children(recursive=True)
            try:
                dice.choice(victims).kill()
            except psutil.NoSuchProcess:
                continue
            time.sleep(dice.uniform(0, 3))
        assert wait_until(lambda site=site: site.status() == 200, 90), site.said()
        site.process.send_signal(dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
        site.process.wait(60)
        assert wait_until(lambda: not living(home), 20), living(home)
