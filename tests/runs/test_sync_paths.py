"""Names and places that try to lead a sync astray."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runs.models import Job, LogFile, Run
from runs.scan import Options
from runs.sync import sync
from tests.runs.trees import job_log, outcome_of, settle, source_of, synced, write

pytestmark = pytest.mark.django_db

ODD = [b"x" * 255, b"\xff\xfe run", b"a\nb", b"-rf", b"...", b" ", b"a;b#c?d%2e%2e", b"..\\..\\etc", b"%2e%2e%2f", b"~",
       b"$(reboot)", b"'; DROP TABLE runs_run; --", b"<script>alert(1)</script>", b"\x1b[2J", b"\xe2\x80\xae", b"a\tb\r"]


@contextmanager
def nobody() -> Iterator[None]:
    """This process as an ordinary user: root may read everything."""
    if os.geteuid():
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder on a path that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    folder.chmod(0o755)
    yield folder
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
    shutil.rmtree(folder)


def run_at(root: Path, path: bytes) -> None:
    """A run in a directory of any name and depth."""
    made = write(root / "made")
    above = os.open(root, os.O_RDONLY)
    for name in path.split(b"/"):
        os.mkdir(name, dir_fd=above)
        below = os.open(name, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    fd = os.open(made.name, os.O_WRONLY | os.O_CREAT, dir_fd=above)
    os.write(fd, made.read_bytes())
    os.close(fd)
    os.close(above)
    shutil.rmtree(made.parent)


def remove_deep(root: Path) -> None:
    """rmtree knows no paths beyond PATH_MAX; rm does."""
    os.spawnlp(os.P_WAIT, "rm", "rm", "-rf", str(root))


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_run_of_any_name_is_registered_with_all_its_points(tmp_path, name):
    run_at(tmp_path, name)
    done = synced(tmp_path)
    run = Run.objects.get()
    assert (bytes(run.path), run.point_count, done.problems) == (name, 40, [])
    assert run.name.isprintable() and "\n" not in run.name
    assert synced(tmp_path).new == 0


def test_a_run_at_the_end_of_a_path_of_4000_bytes_is_read(tmp_path):
    path = b"/".join([b"d" * 210] * 19)
    run_at(tmp_path, path)
    done = synced(tmp_path)
    run = Run.objects.get()
    assert (len(bytes(run.path)), run.point_count, done.problems) == (len(path), 40, [])
    assert LogFile.objects.get().generation == 0
    remove_deep(tmp_path)


def test_a_path_that_no_program_can_open_is_named_and_the_others_are_read(tmp_path):
    run_at(tmp_path, b"/".join([b"d" * 250] * 20))
    write(tmp_path / "fine")
    outcome = synced(tmp_path)
    assert Run.objects.get(name="fine").point_count == 40
    assert "path too long" in str(outcome.problems)
    remove_deep(tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "", "../../etc", "/etc", "a/../../b", "-rf", "x" * 5000, "\\..\\..", "\ud800"])
def test_a_job_log_cannot_name_its_way_out_of_the_root(tmp_path, name):
    write(tmp_path / "etc")
    job_log(tmp_path / "logs" / "one.jsonl", run=name, logdir=name)
    done = synced(tmp_path)
    assert done.problems == []
    assert Job.objects.get().run.path_text == "logs/one.jsonl" or name == "/etc"
    assert all(b".." not in bytes(path).split(b"/") for path in LogFile.objects.values_list("path", flat=True))


def test_a_job_may_be_called_anything(tmp_path):
    for number, name in enumerate(["..", "-rf", "a\nb", "é" * 300, "\0", "\ud800", "'; --", ""]):
        job_log(tmp_path / f"{number}.jsonl", job=name)
    assert synced(tmp_path).problems == []
    assert Job.objects.count() == 8


def test_a_fifo_named_as_an_event_file_is_never_opened(tmp_path):
    write(tmp_path / "run")
    os.mkfifo(tmp_path / "run" / "events.out.tfevents.1")
    os.mkfifo(tmp_path / "run" / "job.jsonl")
    os.mkfifo(tmp_path / "run" / "trainer_state.json")
    began = time.monotonic()
    done = synced(tmp_path)
    assert time.monotonic() - began < 60
    assert sum("special file FIFO" in note for note in done.notes) == 3
    assert (Run.objects.get().point_count, LogFile.objects.count()) == (40, 1)


def test_a_fifo_swapped_in_for_a_known_file_does_not_hang_the_sync(tmp_path):
    path = write(tmp_path / "run")
    synced(tmp_path)

    def swap(progress):
        if progress.phase == "scanning":
            path.unlink(missing_ok=True)
            os.mkfifo(path)

    write(tmp_path / "other")
    began = time.monotonic()
    with path.open("ab") as file:
        file.write(b"\0")
    sync(source_of(tmp_path).pk, Options(), isolate="here", report=lambda p: None if path.is_fifo() else swap(p))
    assert time.monotonic() - began < 60
    assert Run.objects.get(name="run").point_count == 40


def test_links_out_of_the_root_are_not_followed_and_reported(tmp_path):
    write(tmp_path / "outside" / "run")
    root = tmp_path / "root"
    made = write(root / "run")
    (root / "run" / "events.out.tfevents.2").symlink_to(tmp_path / "outside" / "run" / made.name)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "run" / "trainer_state.json").symlink_to("/etc/passwd")
    (root / "passwd.jsonl").symlink_to("/etc/passwd")
    done = synced(root)
    assert (Run.objects.count(), LogFile.objects.count(), Run.objects.get().point_count) == (1, 1, 40)
    assert sum("symlink out of the root" in note for note in done.notes) == 4
    assert len(Run.objects.get().warnings) == 2


def test_loops_of_links_end(tmp_path):
    write(tmp_path / "run")
    (tmp_path / "run" / "self").symlink_to(tmp_path / "run")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "latest").symlink_to("run")
    done = synced(tmp_path)
    assert (Run.objects.count(), done.problems, len(done.notes)) == (1, [], 4)


def test_a_link_swapped_in_between_scan_and_reading_is_not_followed(tmp_path):
    secret = write(tmp_path / "outside", ("secret",))
    path = write(tmp_path / "root" / "run", ("loss",))

    def swap(progress):
        if progress.phase == "registering" and not path.parent.is_symlink():
            shutil.rmtree(path.parent)
            path.parent.symlink_to(secret.parent)
            secret.rename(secret.with_name(path.name))

    sync(source_of(tmp_path / "root").pk, Options(), isolate="here", report=swap)
    run = Run.objects.get()
    assert run.point_count == 0 and not run.series.exists()


def test_a_folder_without_permission_is_named_and_what_lies_below_is_not_missing(open_path):
    write(open_path / "ds" / "run")
    write(open_path / "open")
    synced(open_path)
    (open_path / "ds").chmod(0)
    with nobody():
        done = synced(open_path)
    assert [problem for problem in done.problems if "ds: unreadable" in problem]
    assert (done.missing, Run.objects.filter(files_missing=True).count()) == (0, 0)
    (open_path / "ds").chmod(0o755)
    assert synced(open_path).problems == []


def test_a_file_without_permission_is_named_and_read_when_it_may_be(open_path):
    path = write(open_path / "run")
    write(open_path / "run", ("fine",))
    settle(open_path)
    path.chmod(0)
    with nobody():
        done = synced(open_path)
        again = synced(open_path)
    assert done.problems == again.problems == [f"run/{path.name}: Permission denied"]
    assert Run.objects.get().point_count == 20
    path.chmod(0o644)
    assert (synced(open_path).problems, Run.objects.get().point_count) == ([], 60)


def test_a_root_without_permission_is_an_error_of_its_source(open_path):
    write(open_path / "root" / "run")
    synced(open_path / "root")
    (open_path / "root").chmod(0)
    with nobody():
        assert "cannot be read: Permission denied" in outcome_of(open_path / "root").error
    assert not Run.objects.get().files_missing


def test_the_trash_of_the_retention_is_no_source_of_runs(tmp_path):
    write(tmp_path / ".trainmon-trash" / "run")
    write(tmp_path / "ds" / ".trainmon-trash" / "run")
    write(tmp_path / "ds" / "run")
    assert synced(tmp_path).runs == 1
