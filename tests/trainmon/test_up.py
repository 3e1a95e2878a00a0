"""`make up`: one process that looks after the rest, survives what can be killed, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tensorboardX import SummaryWriter

from tests.runs.following import step
from tests.trainmon.machine import ROOT, as_user, ask, asking, at_rest, environment, living, manage, spawn, wait_until
from trainmon.embedded import port
from trainmon.embedded.places import Places
from trainmon.embedded.rotation import Logs
from trainmon.management.commands.up import Command

UP = [sys.executable, "manage.py", "up"]


@dataclass
class Site:
    """An `up` that runs."""

    process: subprocess.Popen[bytes]
    home: Path
    output: Path

    def said(self) -> str:
        """What it has printed until now."""
        return self.output.read_text()

    @property
    def address(self) -> str:
        """Where it says that the site is."""
        found = re.search(r"running at +(\S+)", self.said())
        assert found, self.said()
        return found[1]

    def status(self) -> int:
        """What the login page answers with; 0 for nothing."""
        try:
            return int(urllib.request.urlopen(self.address + "login/", timeout=60).status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def child(self, *words: str) -> psutil.Process | None:
        """The supervisor's child whose command line holds these words."""
        for process in psutil.Process(self.process.pid).children():
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:  # it has just been killed
                continue
            if all(word in line for word in words):
                return process
        return None


def up(home: Path, output: Path, uid: int = 0, **env: str) -> Site:
    """Start it and wait for its block."""
    logs = home.parent / "logs"
    if not logs.exists():
        with SummaryWriter(str(logs / "first run")) as writer:
            writer.add_scalar("loss", 0.5, 1)
    variables = {"PORT": "0", "LOGS": f"trainer={logs}"} | env
    process = spawn(as_user(uid, UP) if uid else UP, home, output, **variables)
    site = Site(process, home, output)
    assert wait_until(lambda: "running at" in site.said() or process.poll() is not None), site.said()
    assert process.poll() is None, site.said()
    return site


@pytest.fixture(scope="module")
def site(shared_home: Path) -> Iterator[Site]:
    """One that the tests of this file share; each leaves it running."""
    shared_home.parent.mkdir(exist_ok=True)
    browser = shared_home.parent / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {browser}.opened\n')
    browser.chmod(0o755)
    site = up(shared_home, shared_home.parent / "output", TRAINMON_ADMIN_USER="ada", OPEN="1", BROWSER=str(browser))
    yield site
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(60) == 0, site.said()
    assert not living(shared_home), living(shared_home)


def test_the_site_answers_and_its_first_admin_is_shown(site):
    assert site.status() == 200
    assert "sign in as           ada" in site.said()
    assert re.search(r"password +[\w-]{16} +\(shown only now\)", site.said())


def test_the_site_is_opened_in_the_browser_where_that_is_asked(site):
    opened = site.home.parent / "browser.opened"
    assert wait_until(opened.exists) and opened.read_text().strip() == site.address


def test_the_first_admin_is_an_admin(site):
    query = (
        "select u.is_superuser and u.is_staff and g.name = 'admin' from auth_user u "
        "join auth_user_groups m on m.user_id = u.id join auth_group g on g.id = m.group_id where username = 'ada'"
    )
    assert ask(site.home, query).stdout == "said True\n"


def test_the_named_logs_are_read_before_the_address_is_shown(site):
    query = (
        "select t.slug || ': ' || r.name || ', ' || r.point_count from runs_run r "
        "join runs_source s on s.id = r.source_id join runs_trainer t on t.id = s.trainer_id"
    )
    assert ask(site.home, query).stdout == "said trainer: first run, 1\n"


def test_what_is_written_later_is_read_as_it_comes(site):
    query = "select point_count from runs_run where name = 'second run'"
    path = site.home.parent / "logs" / "second run" / "events.out.tfevents.1700000000.host.1.0"
    path.parent.mkdir()
    with path.open("ab", buffering=0) as file:
        file.write(step(0))
        assert wait_until(lambda: ask(site.home, query).stdout == "said 2\n"), site.said()
        file.write(step(1))
        assert wait_until(lambda: ask(site.home, query).stdout == "said 4\n", at_rest(10)), site.said()


def test_a_second_up_says_who_runs_it(site):
    second = manage(site.home, "up")
    assert second.returncode == 1
    assert f"pid {site.process.pid}, since 20" in second.stderr and site.address in second.stderr
    assert site.status() == 200


@pytest.mark.parametrize(
    "words",
    [("trainmon.web",), ("manage.py tensorboards",), ("--watch",), ("celery", "worker"), ("celery", "beat"), ("valkey-server",),
     ("postgres", "-D")],
    ids=["site", "tensorboards", "follower", "worker", "beat", "valkey", "postgres"],
)
def test_a_killed_child_comes_back(site, words):
    before = site.child(*words)
    assert before, site.said()
    before.kill()
    assert wait_until(lambda: (now := site.child(*words)) is not None and now.pid != before.pid), site.said()
    assert wait_until(lambda: site.status() == 200), site.said()


def test_a_child_that_needs_the_database_leaves_its_start_to_up(site, tmp_path):
    site.process.send_signal(signal.SIGSTOP)
    try:
        site.child("postgres", "-D").kill()
        child = spawn(asking(site.home), site.home, tmp_path / "said", TRAINMON_SUPERVISED=str(site.home))
        time.sleep(1)
        assert child.poll() is None
    finally:
        site.process.send_signal(signal.SIGCONT)
    assert child.wait(60) == 0 and (tmp_path / "said").read_text() == "said 42\n"
    assert site.child("postgres", "-D"), site.said()
    assert wait_until(lambda: site.status() == 200), site.said()


def tensorboard(site: Site) -> int:
    """The process of the TensorBoard that answers; 0 while none does."""
    said = ask(site.home, "select pid from streaming_tensorboard where state = 'running'").stdout[5:].strip()
    return int(said) if said.isdigit() and psutil.pid_exists(int(said)) else 0


def test_tensorboards_end_with_their_supervisor_and_are_there_again_within_fifteen_seconds(site):
    assert wait_until(lambda: tensorboard(site)), site.said()
    before, supervisor = tensorboard(site), site.child("manage.py tensorboards")
    assert before and supervisor
    supervisor.kill()
    assert wait_until(lambda: not psutil.pid_exists(before), at_rest(5))
    assert wait_until(lambda: tensorboard(site) not in (0, before), at_rest(15)), site.said()


def test_what_a_child_left_behind_is_found_by_its_mark(site):
    worker = site.child("celery", "worker")
    assert worker and worker.environ()["TRAINMON_SUPERVISED"] == str(site.home)


def test_a_taken_port_that_was_asked_for_is_an_error_that_offers_the_next(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = manage(home, "up", PORT=str(number))
    assert done.returncode == 1
    assert f"Port {number} on 127.0.0.1 is taken by pid {os.getpid()}" in done.stderr
    assert re.search(r"\d+ is free: make up PORT=\d+", done.stderr) and not Places(home).data.exists()


def test_a_taken_default_port_gives_way_to_the_next_one(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr("trainmon.management.commands.up.DEFAULT_PORT", number)
        command, said = Command(), []
        command.host, command.port, command.say = "127.0.0.1", "", said.append
        with command.open_port() as listener:
            assert number < listener.getsockname()[1] < number + port.NEXT_PORTS
    assert f"Port {number} on 127.0.0.1 is taken" in said[0]


@pytest.mark.parametrize(("host", "number"), [("no.such.host.invalid", "0"), ("127.0.0.1", "99999"), ("", "http")])
def test_an_impossible_address_is_said_clearly(home, host, number):
    done = manage(home, "up", HOST=host, PORT=number)
    assert done.returncode == 1 and "PORT=" in done.stderr and "Traceback" not in done.stderr


def test_killing_the_supervisor_leaves_nothing_and_the_next_up_works(home, with_tables, tmp_path):
    with_tables(home)
    first = up(home, tmp_path / "1", TRAINMON_ADMIN_PASSWORD="correct horse battery")
    assert "correct horse" not in first.said() and "from TRAINMON_ADMIN_PASSWORD" in first.said()
    first.process.kill()
    first.process.wait()
    assert wait_until(lambda: not living(home)), living(home)
    second = up(home, tmp_path / "2")
    assert second.status() == 200 and "password" not in second.said()
    assert manage(home, "down").returncode == 0
    assert second.process.wait(60) == 0
    assert not living(home), living(home)
    assert "Nothing runs" in manage(home, "down").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which only root can")
def test_an_ordinary_user_without_a_name_runs_it_all(home, tmp_path):
    home.mkdir()
    os.chown(home, 12345, 12345)
    site = up(home, tmp_path / "out", uid=12345)
    assert site.status() == 200
    assert {process.uids().real for process in living(home)} == {12345}
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(60) == 0, site.said()
    assert not living(home), living(home)


def test_a_closed_terminal_stops_it_all(home, with_tables, tmp_path):
    with_tables(home)
    reader, writer = os.pipe()
    env = environment(home, PORT="0", LOGS=f"trainer={tmp_path}")
    process = subprocess.Popen(UP, cwd=ROOT, env=env, stdout=writer, stderr=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    with open(reader) as terminal:
        for line in terminal:
            if "stop  " in line:
                break
    assert len(living(home)) > 5
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) is not None
    assert not living(home), living(home)


def test_a_long_log_is_cut_while_its_writer_goes_on(tmp_path):
    places = Places(tmp_path)
    places.logs.mkdir()
    with (places.logs / "web.log").open("ab", buffering=0) as writer:
        writer.write(b"x" * 1000)
        Logs(places, limit=500).cut(every=0)
        writer.write(b"y")
    assert (places.logs / "web.log").read_bytes() == b"y"
    assert (places.logs / "web.log.1").stat().st_size == 1000


def test_so_many_older_parts_of_a_log_are_kept_as_is_said(tmp_path):
    places = Places(tmp_path)
    places.logs.mkdir()
    for parts, begin in ((2, 1), (2, 2), (2, 3), (1, 4), (0, 5)):
        (places.logs / "web.log").write_bytes(b"%d" % begin * 1000)
        Logs(places, limit=500, parts=parts).cut(every=0)
        kept = {path.name: path.read_bytes()[:1] for path in places.logs.iterdir()}
        assert kept == {"web.log": b""} | {f"web.log.{n}": b"%d" % (begin - n + 1) for n in range(1, parts + 1) if begin >= n}


def test_a_restart_puts_the_logs_of_the_last_session_away_and_keeps_so_many_sessions(tmp_path):
    """ISG-10."""
    places = Places(tmp_path)
    places.logs.mkdir()
    for session in range(4):
        for name in ("web.log", "web.log.1", "tensorboard-lora.log", "postgres.log"):
            (places.logs / name).write_text(f"{name} {session}")
            os.utime(places.logs / name, (1_700_000_000 + session // 2,) * 2)  # two sessions that ended in one second
        Logs(places, sessions=3).put_away()
    assert [path.name for path in places.logs.glob("*.log*")] == ["postgres.log"]
    assert [folder.name for folder in places.old_logs] == ["20231114_221321", "20231114_221322", "20231114_221323"]
    assert {path.name: path.read_text() for path in places.old_logs[-1].iterdir()} == {
        name: f"{name} 3" for name in ("web.log", "web.log.1", "tensorboard-lora.log")}
    Logs(places, sessions=3).put_away()
    assert len(places.old_logs) == 3


@pytest.mark.parametrize("pause", [0, 0.15, 0.4])
def test_ctrl_c_during_the_start_leaves_nothing(home, tmp_path, pause):
    process = spawn(UP, home, tmp_path / "out", PORT="0")
    assert wait_until(lambda: "migrations" in (tmp_path / "out").read_text())
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, (tmp_path / "out").read_text()
    assert not living(home), living(home)
