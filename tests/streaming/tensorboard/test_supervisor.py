"""TensorBoard is always there (P16): started, watched, started anew, put to rest; and all of it is told. With a real one."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings as ours
from django.core.management import CommandError, call_command
from django.utils.timezone import now
from tensorboardX import SummaryWriter

from runs.models import Run
from runs.sync import sync
from streaming.models import TensorBoard
from streaming.tensorboard import asked, child, kept, supervisor
from streaming.tensorboard.child import Child
from streaming.tensorboard.measured import Process
from streaming.tensorboard.supervisor import Supervisor, sole
from tests.retention.oldruns import aged
from tests.runs.factories import make_source, make_trainer
from tests.streaming.tensorboard.boxes import AS_ROOT, ORDINARY, answered_as, until
from tests.streaming.tensorboard.hung import hung

State, Mode = TensorBoard.State, TensorBoard.Mode


class Stage:
    """One trainer with two runs, and a supervisor that the test moves on."""

    def __init__(self, root: Path) -> None:
        self.trainer = make_trainer("lora")
        self.source = make_source(self.trainer, root=str(root))
        sync(self.source.pk, isolate="here")
        self.supervisor = Supervisor()

    @property
    def row(self) -> TensorBoard:
        """As it stands."""
        return TensorBoard.objects.get(trainer=self.trainer)

    @property
    def child(self) -> Child:
        """What runs."""
        (one,) = self.supervisor.kept.values()
        assert one.child is not None
        return one.child

    def set(self, **fields: Any) -> None:
        """What people want of it."""
        TensorBoard.objects.filter(trainer=self.trainer).update(**fields)

    def comes(self, condition: Callable[[TensorBoard], object], within: float = 40.0) -> TensorBoard:
        """Look until a condition holds of the row, and have that."""
        def holds() -> object:
            self.supervisor.look()
            return condition(self.row)

        assert until(holds, within), (self.told(), [one.child and one.child.tail() for one in self.supervisor.kept.values()])
        return self.row

    def runs(self) -> TensorBoard:
        """Until it runs."""
        return self.comes(lambda row: row.state == State.RUNNING)

    def told(self) -> list[tuple[str, str, str]]:
        """Every transition."""
        return list(self.row.transitions.values_list("old", "new", "reason"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for name in ("data/first", "data/second"):
        with SummaryWriter(str(folder / name)) as writer:
            writer.add_scalar("loss", 0.5, 1)
    return folder


@pytest.fixture(scope="module")
def shelf() -> Iterator[list[Child]]:
    """The real TensorBoard that the tests of this file hand on: each start takes seconds."""
    left: list[Child] = []
    yield left
    for one in left:
        one.end()


@pytest.fixture
def stage(db: None, root: Path, shelf: list[Child]) -> Iterator[Stage]:
    stage = Stage(root)
    (row,) = stage.supervisor.rows()
    one = stage.supervisor.kept[row.pk] = kept.Kept(row)
    one.child = shelf.pop() if shelf else None
    yield stage
    for one in stage.supervisor.kept.values():
        if one.child is not None and one.child.code is None and one.running and one.state == State.RUNNING:
            shelf.append(one.child)
        elif one.child is not None:
            one.child.end()


@pytest.fixture
def bare(db: None, root: Path) -> Iterator[Stage]:
    """One whose TensorBoard is not started yet."""
    stage = Stage(root)
    stage.supervisor.rows()
    yield stage
    for one in stage.supervisor.kept.values():
        one.end()


def program(folder: Path, settings: Any, script: str) -> str:
    """Another program that the machine's administrator has named."""
    path = folder / "bin" / "tensorboard"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    settings.TRAINMON_TB_PROGRAMS = [str(path)]
    return str(path)


def test_a_trainer_with_a_source_gets_one_that_shows_the_registrys_runs(stage):
    row = stage.runs()
    assert row.version.startswith("2.") and "tensorboard.main" in psutil.Process(row.pid).cmdline()
    row = stage.comes(lambda row: row.runs_served and row.memory)
    assert (row.runs_served, row.runs_on_disk, row.reason) == (2, 2, "") and 30e6 < row.memory < 1e9 and row.seen
    shown = asked.ask(stage.child.plan.socket, "/tensorboard/lora/data/runs")
    assert sorted(shown) == sorted(run.path_text for run in Run.objects.all())


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_another_user_reaches_neither_port_socket_nor_info_file(stage):
    row = stage.runs()
    lines = [line.split() for line in Path(f"/proc/{row.pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A"}
    assert len(ports) >= 2  # its own and the data server's
    listening = {one.laddr.port for one in psutil.net_connections("tcp") if one.status == "LISTEN"}
    for port in ports - listening:
        assert answered_as(ORDINARY, lambda port=port: socket.create_connection(("127.0.0.1", port))) == "ConnectionRefusedError"
    assert ports - listening and os.path.exists(stage.child.plan.socket)
    assert answered_as(ORDINARY, lambda: socket.socket(socket.AF_UNIX).connect(stage.child.plan.socket)) == "PermissionError"
    inside = f"/proc/{row.pid}/root/tmp/.tensorboard-info"
    assert os.listdir(inside) and answered_as(ORDINARY, lambda: os.listdir(inside)) == "PermissionError"
    assert answered_as(ORDINARY, lambda: Path(f"/proc/{row.pid}/environ").read_text()) == "PermissionError"


def test_neither_command_lines_nor_environments_hold_a_secret(stage):
    stage.runs()
    secrets = [secret for secret in ours.SECRETS if secret]
    for process in stage.child.processes():
        told = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
        assert secrets and not any(secret.encode() in told for secret in secrets)


def test_it_cannot_write_into_its_source(stage, root):
    row = stage.runs()
    before = sorted(root.rglob("*"))
    with pytest.raises(OSError, match="Read-only file system"):
        Path(f"/proc/{row.pid}/root/logs/new").touch()
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("which", ["TensorBoard", "data server", "sandbox"])
def test_one_that_is_killed_runs_again_within_fifteen_seconds(stage, which):
    row = stage.runs()
    depth = {"TensorBoard": 2, "data server": 3, "sandbox": 0}[which]
    (pid,) = [process.pid for process in stage.child.processes() if process.depth == depth]
    os.kill(pid, signal.SIGKILL)
    again = stage.comes(lambda now: now.state == State.RUNNING and now.pid != row.pid, 15)
    reason = "Its data server has ended." if which == "data server" else "It was killed by SIGKILL."
    anew = f"{reason} This is another try."
    assert stage.told()[-3:] == [("running", "failed", reason), ("failed", "starting", anew), ("starting", "running", "")]
    assert again.restarts == row.restarts + 1 and again.next_try is None


def test_one_that_is_just_ending_did_not_lose_its_data_server(bare):
    (row,) = bare.supervisor.rows()
    one = kept.Kept(row)
    above = [Process(pid, pid, False, False, 0) for pid in (0, 1)]
    board, ended = Process(2, 2, False, False, 0), [Process(pid, 2, True, False, 0) for pid in (2, 3)]
    orphan, lost = [board, Process(3, 2, True, False, 0)], [board, Process(3, 3, True, False, 0)]
    assert [one.broken(above + below) for below in (lost, ended, ended, orphan, orphan, lost)] == [""] * 6
    assert one.broken(above + lost) == "Its data server has ended."


def test_one_that_is_halted_is_started_anew(stage):
    row = stage.runs()
    os.kill(row.pid, signal.SIGSTOP)
    assert stage.comes(lambda row: row.state == State.FAILED, 10).reason == "It was halted by a signal."
    assert stage.runs().pid != row.pid


def test_one_whose_volume_hangs_is_not_begun_again_and_again(bare, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "START_WITHIN", 1.0)
    bare.source.root = str(tmp_path)
    bare.source.save()
    with hung(tmp_path):
        row = bare.comes(lambda row: row.reason == kept.STUCK)
        (one,) = bare.supervisor.kept.values()
        left, one.next_start = one.left, 0.0
        bare.set(restart_asked=now())
        bare.supervisor.look()
        assert left and one.left == left and one.child is None and row.state == State.FAILED
    monkeypatch.undo()
    bare.runs()
    assert one.left == []


def test_one_that_takes_too_much_memory_is_started_anew(stage):
    row = stage.runs()
    stage.child.began -= 100  # it has been steady
    stage.set(memory_limit=10)
    stage.comes(lambda now: now.restarts > row.restarts)
    stage.set(memory_limit=4096)
    again = stage.runs()
    old, new, reason = stage.told()[-2]
    assert again.pid != row.pid and (old, new) == ("running", "starting") and reason.endswith("of memory, its limit is 10.")


def test_one_that_takes_too_much_at_once_waits_before_it_is_started_anew(stage):
    stage.runs()
    stage.child.began = time.monotonic()
    stage.set(memory_limit=10)
    row = stage.comes(lambda row: row.state == State.FAILED)
    assert row.reason.endswith("of memory, its limit is 10.") and row.next_try > row.since


def test_it_falls_asleep_while_nobody_looks_and_wakes_with_a_visit(stage):
    pid = stage.runs().pid
    stage.set(mode=Mode.DEMAND, visited=now() - timedelta(minutes=31))
    row = stage.comes(lambda row: row.state == State.ASLEEP)
    assert "Nobody has looked for 30 minutes" in row.reason and row.pid is None and not psutil.pid_exists(pid)
    stage.set(visited=now())
    assert stage.runs().pid != pid


def test_for_a_while_it_runs_and_then_stops_by_itself(stage):
    stage.set(mode=Mode.STOPPED, until=now() + timedelta(minutes=5))
    stage.runs()
    stage.set(until=now() - timedelta(seconds=1))
    row = stage.comes(lambda row: row.state == State.STOPPED)
    assert row.reason.startswith("Its time was over at 20") and row.pid is None


def test_a_restart_that_is_asked_for_and_other_settings_begin_another(stage):
    row = stage.runs()
    stage.set(restart_asked=now() - timedelta(days=1))  # the clock was set back
    stage.supervisor.look()
    again = stage.runs()
    assert again.pid != row.pid and again.restarts == row.restarts
    stage.set(reload_interval=1, arguments=["--window_title=lora"])
    stage.comes(lambda now: now.state == State.STARTING)
    third = stage.runs()
    words = psutil.Process(third.pid).cmdline()
    assert "--reload_interval=1" in words and "--window_title=lora" in words
    reasons = [reason for _, new, reason in stage.told() if new == "starting"]
    assert reasons[-2:] == ["Somebody asked for it.", "Its settings have changed."]


def test_a_run_that_is_cleaned_up_vanishes_with_the_next_reload_and_the_others_are_served_all_the_while(bare, root, tmp_path):
    shutil.copytree(root, tmp_path / "logs")
    bare.source.root = str(tmp_path / "logs")
    bare.source.save()
    bare.set(reload_interval=1)
    bare.runs()

    def shown() -> list[str]:
        return sorted(asked.ask(bare.child.plan.socket, "/tensorboard/lora/data/runs"))

    assert until(lambda: shown() == ["data/first", "data/second"])
    aged(tmp_path / "logs" / "data" / "second", 30)
    Run.objects.filter(name="second").update(status="unknown", last_arrival=None, modified=now() - timedelta(days=30))
    call_command("cleanup", "--older-than", "7d", "--no-archive", "--yes", "--json", stdout=io.StringIO())
    answers, began = [shown()], time.monotonic()
    while answers[-1] != ["data/first"] and time.monotonic() < began + 10:
        time.sleep(0.05)
        answers.append(shown())
    assert answers[-1] == ["data/first"] and all("data/first" in answer for answer in answers)
    assert len(os.listdir(tmp_path / ".trainmon-trash")) == 3 and bare.row.restarts == 0


def test_one_that_shows_none_of_its_runs_is_begun_anew_since_a_volume_may_have_come(bare, root, tmp_path):
    bare.source.root = str(tmp_path / "volume")
    bare.source.save()
    bare.comes(lambda row: row.runs_served == 0 and row.runs_on_disk == 2)
    shutil.copytree(root, tmp_path / "volume")
    bare.child.began -= 100
    (one,) = bare.supervisor.kept.values()
    one.ask_at = 0.0
    bare.comes(lambda row: row.runs_served == 2)
    assert ("running", "starting", "It shows none of 2 runs: its folders are mounted anew.") in bare.told()


def test_a_program_that_does_not_start_has_failed_with_the_end_of_its_log(bare, tmp_path, settings):
    script = "echo 'no such option: --load_fast, token=hf_abcdefghijklmnopqrstuvwxyz0123456789'; exit 3"
    bare.set(executable=program(tmp_path, settings, script))
    row = bare.comes(lambda row: row.state == State.FAILED)
    assert row.reason == "It ended with code 3." and "no such option: --load_fast" in row.log_tail
    assert "hf_abcdef" not in row.log_tail and row.next_try > row.since
    first = bare.supervisor.kept[row.pk].pause
    bare.comes(lambda row: row.restarts > 1)
    assert bare.supervisor.kept[row.pk].pause == 2 * first


def test_one_that_does_not_answer_in_time_has_failed(bare, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(kept, "START_WITHIN", 1.0)
    bare.set(executable=program(tmp_path, settings, "echo I am slow; sleep 100"))
    row = bare.comes(lambda row: row.state == State.FAILED)
    assert row.reason == "It did not answer within 1 s." and row.log_tail == "I am slow"
    row = bare.comes(lambda row: row.state == State.STARTING)  # for as long again: why it is tried must be told meanwhile
    assert (row.reason, row.log_tail) == ("It did not answer within 1 s. This is another try.", "I am slow")
    bare.set(restart_asked=now())
    row = bare.comes(lambda row: row.reason == "Somebody asked for it.")
    assert row.log_tail == ""


def test_a_program_that_is_not_named_by_the_machine_is_not_run(bare):
    bare.set(executable="/bin/sh")
    row = bare.comes(lambda row: row.state == State.FAILED)
    assert "'/bin/sh' is not one of TRAINMON_TB_PROGRAMS" in row.reason


def test_without_an_enabled_source_it_is_stopped(bare):
    bare.source.enabled = False
    bare.source.save()
    row = bare.comes(lambda row: row.reason)
    assert (row.state, row.reason) == ("stopped", "No source of this trainer is enabled.")


def test_where_the_kernel_refuses_namespaces_it_stays_stopped_and_says_the_way_out(bare, monkeypatch):
    monkeypatch.setattr(child, "PROGRAM", "tests.streaming.tensorboard.refusing")
    row = bare.comes(lambda row: row.state == State.STOPPED and row.reason)
    assert "TRAINMON_TB_SHARED_HOST=1" in row.reason and "unshare: No space left on device" in row.reason


def test_where_that_is_allowed_it_runs_without_and_says_so(bare, monkeypatch, settings):
    monkeypatch.setattr(child, "PROGRAM", "tests.streaming.tensorboard.refusing")
    settings.TRAINMON_TB_SHARED_HOST = True
    bare.runs()
    row = bare.comes(lambda row: row.runs_served == 2)
    assert row.reason.startswith("It runs without a sandbox") and "tensorboard.main" in psutil.Process(row.pid).cmdline()
    all_of_it = [psutil.Process(process.pid) for process in bare.child.processes()]
    bare.set(mode=Mode.STOPPED)
    bare.comes(lambda row: row.state == State.STOPPED)
    assert psutil.wait_procs(all_of_it, timeout=5)[1] == []


def test_where_many_begin_they_do_so_after_one_another(bare, monkeypatch):
    monkeypatch.setattr(supervisor, "AT_ONCE", 0)
    row = bare.comes(lambda row: row.state == State.STARTING)
    assert row.reason == "It waits until others have started." and row.pid is None and not bare.supervisor.kept[row.pk].starting


def test_trouble_with_one_is_not_that_of_the_others(bare, root, tmp_path, monkeypatch):
    other = make_trainer("aaa-broken")
    make_source(other, root=str(tmp_path))
    bare.supervisor.newcomers = 0.0
    make_folder = kept.make_folder

    def broken(folder: Path) -> None:
        if folder.name == str(other.pk):
            raise ValueError("a bug of ours")
        make_folder(folder)

    monkeypatch.setattr(kept, "make_folder", broken)
    bare.runs()


def test_what_an_earlier_supervisor_left_is_ended():
    words = [sys.executable, "-E", "-S", "-m", child.PROGRAM]
    options = {"stdin": subprocess.PIPE, "cwd": ours.BASE_DIR}
    mine = subprocess.Popen(words, env=child.environment(), **options)
    others = subprocess.Popen(words, env=child.environment() | {"TRAINMON_HOME": "/another"}, **options)
    child.end_orphans()
    assert not psutil.pid_exists(mine.pid) and others.poll() is None
    others.kill()
    others.wait()


def test_two_supervisors_exclude_each_other():
    with sole(), pytest.raises(CommandError, match=f"kept by pid {os.getpid()}"):
        call_command("tensorboards")


def test_a_supervisor_that_stops_leaves_nothing_and_says_so(stage):
    row = stage.runs()
    stage.supervisor.stop()
    assert stage.row.state == State.STOPPED and "has been stopped" in stage.row.reason and not psutil.pid_exists(row.pid)
