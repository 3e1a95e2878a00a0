"""Every command works on its own: the embedded database is there for whoever needs it, and goes with the last."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from manage import uses_database
from tests.trainmon.machine import (
    as_user,
    ask,
    asking,
    holding,
    living,
    manage,
    manage_in_background,
    spawn,
    wait_until,
)
from trainmon.embedded import locks
from trainmon.embedded.ensure import take_lease
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres

SLOWLY = "from django.db import connection as c; c.cursor().execute('select 1'); import time; time.sleep(1)"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which only root can")


def gone(home: Path) -> bool:
    return wait_until(lambda: not living(home))


def test_a_command_starts_what_it_needs_and_the_last_one_out_stops_it(home):
    done = manage(home, "showmigrations", "auth")
    assert done.returncode == 0 and "[ ] 0001_initial" in done.stdout, done.stderr
    assert gone(home), living(home)


def test_eight_commands_from_cold_and_three_of_them_killed(home, tmp_path):
    outputs = [tmp_path / str(number) for number in range(8)]
    commands = [manage_in_background(home, "shell", "-v0", "-c", SLOWLY, output=output) for output in outputs]
    for victim, pause in zip(commands[::3], (0.5, 0.6, 0.7), strict=True):
        time.sleep(pause)  # during imports, initdb, the start, or its use: wherever it is
        victim.kill()
    codes = [command.wait(120) for command in commands]
    assert codes.count(0) == 5 and codes.count(-signal.SIGKILL) == 3, [output.read_text() for output in outputs]
    assert gone(home), living(home)
    assert ask(home).stdout == "said 42\n"


def test_two_commands_share_one_server_which_outlives_the_first(home, with_tables, tmp_path):
    with_tables(home)
    server = Postgres(Places(home))
    assert ask(home).returncode == 0
    with holding(home, tmp_path):
        pid = server.pid()
        assert ask(home).returncode == 0
        time.sleep(1.5)  # longer than the watcher lingers
        assert pid and server.pid() == pid
    assert gone(home)


def test_a_killed_watcher_is_replaced_by_the_next_command(home, with_tables, tmp_path):
    with_tables(home)
    with holding(home, tmp_path):
        watcher = next(p for p in living(home) if "trainmon.embedded.watcher" in p.cmdline())
        watcher.kill()
    assert Postgres(Places(home)).pid()  # nobody is left to stop it
    assert ask(home).returncode == 0
    assert gone(home)


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(home, with_tables):
    with_tables(home)
    assert ask(home).returncode == 0
    assert gone(home)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        data = Places(home).data
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n\n\n  1 1\nready\n")
        done = ask(home)
        assert done.stdout == "said 42\n", done.stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_postmaster_killed_outright_is_started_again_with_its_data(home, with_tables, tmp_path):
    with_tables(home)
    assert ask(home, "create table kept as select 7 as n").returncode == 0
    with holding(home, tmp_path):
        pid = Postgres(Places(home)).pid()
        assert pid
        os.kill(pid, signal.SIGKILL)
        done = ask(home, "select n from kept")
        assert done.stdout == "said 7\n", done.stderr
    assert gone(home)


@pytest.mark.parametrize("name", ["x" * 120, "blanks, 'quotes\" größe"], ids=["long", "odd"])
def test_any_name_of_the_data_directory_works(home, name):
    done = ask(home.with_name(name))
    assert done.stdout == "said 42\n", done.stderr
    folder = Places(home.with_name(name)).sockets
    assert len(os.fsencode(folder)) < 90 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert gone(home.with_name(name))
    shutil.rmtree(folder)  # in /tmp for the long one


def test_a_foreign_folder_in_the_place_of_the_sockets_is_refused(home, tmp_path):
    home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (home / "run").symlink_to(tmp_path / "elsewhere")
    done = manage(home, "migrate")
    assert done.returncode == 1 and "not a folder of trainmon's own" in done.stderr and "Traceback" not in done.stderr
    assert gone(home)


@root_only
def test_root_under_a_closed_directory_uses_a_namespace_and_changes_no_parent(home):
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    done = ask(closed / "home")
    assert done.stdout == "said 42\n", done.stderr
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert Places(closed / "home").data.stat().st_uid == 0
    assert ask(closed / "home").returncode == 0  # the second start finds data that root owns
    assert gone(closed / "home")


@root_only
def test_root_runs_the_server_as_somebody_else(home, tmp_path):
    with holding(home, tmp_path):
        pid = Postgres(Places(home)).pid()
        assert pid and psutil.Process(pid).uids().effective != 0
    assert gone(home)


@root_only
@pytest.mark.parametrize("uid", [65534, 12345], ids=["nobody", "not-in-passwd"])
def test_an_ordinary_user(home, uid, tmp_path):
    home.mkdir()
    os.chown(home, uid, uid)
    out = tmp_path / "out"
    command = spawn(as_user(uid, asking(home)), home, out)
    assert command.wait(60) == 0 and out.read_text() == "said 42\n", out.read_text()
    assert Places(home).data.stat().st_uid == uid
    assert gone(home)


@pytest.mark.parametrize("line", ["", "help", "migrate --help", "--version", "check", "collectstatic", "up", "down --timeout 3"])
def test_some_commands_need_no_database(line):
    assert not uses_database(["manage.py", *line.split()])


@pytest.mark.parametrize("line", ["migrate", "shell", "makemigrations --check", "sync_runs x=/y", "check --database default"])
def test_the_others_do(line):
    assert uses_database(["manage.py", *line.split()])


def test_a_command_without_need_starts_nothing(home):
    assert manage(home, "check").returncode == 0
    assert not Places(home).data.exists() and not living(home)


def test_a_broken_program_folder_is_said_clearly(home):
    done = manage(home, "migrate", TRAINMON_PG_BIN="/nowhere")
    assert done.returncode == 1 and "TRAINMON_PG_BIN=/nowhere" in done.stderr and "Traceback" not in done.stderr


def test_a_lock_ends_with_its_holder(tmp_path):
    path = tmp_path / "lock"
    code = f"from trainmon.embedded import locks; from pathlib import Path; c = locks.locked(Path({str(path)!r}));"
    code += "c.__enter__(); print(1, flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"1\n"
    assert locks.is_held(path)
    holder.kill()
    holder.communicate()
    assert not locks.is_held(path)


def test_a_watcher_that_wakes_just_then_turns_nobody_away(tmp_path):
    places = Places(tmp_path)
    watcher = locks.open_lock(places.lease)
    locks.wait_for_lock(watcher)
    threading.Timer(0.2, locks.unlock, [watcher]).start()
    lease = take_lease(places)
    assert locks.is_held(places.lease)
    lease.release()
    os.close(watcher)


def test_any_command_may_be_the_first_on_a_new_database(home, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    done = manage(home, "sync_runs", f"lora={logs}", "--json")
    assert done.returncode == 0 and '"runs": 0' in done.stdout, done.stderr
    assert gone(home), living(home)


def test_a_database_without_tables_is_named_with_the_way_out(home):
    assert manage(home, "migrate", "contenttypes", "-v0").returncode == 0
    done = manage(home, "sync_runs")
    assert done.returncode == 1 and "manage.py migrate" in done.stderr and "Traceback" not in done.stderr
    assert gone(home), living(home)
