"""manage.py sync_runs --watch: real followers on real files."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from runs import pushed
from runs.follow import Follower
from runs.followed import Followed
from runs.models import LogFile, Run, Source, Trainer, Transition
from runs.sources import register
from tests.runs.following import following, step, until
from tests.runs.processes import ROOT, environment, sync_command
from tests.runs.trees import job_log, write
from tests.tables import unguarded
from tests.trainmon.machine import at_rest

pytestmark = pytest.mark.django_db(transaction=True)
NUMBERS = itertools.count()
NAME = "events.out.tfevents.1700000000.host.1.0"


@pytest.fixture
def _django_db_helper(database: None) -> None:
    """Instead of pytest-django's: the tables are emptied after this file, not after each test."""


@pytest.fixture(scope="module")
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """One for this file: its followers live longer than a test."""
    with django_db_blocker.unblock():
        yield
        with connection.cursor() as cursor, unguarded(cursor):
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="module", params=[[], ["--poll"]], ids=["inotify", "poll"])
def followed(request: pytest.FixtureRequest, database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a follower says; it follows whatever sources there are."""
    said = tmp_path_factory.mktemp("follow") / "said"
    with following(*request.param, said=said):
        yield said
    assert "Traceback" not in said.read_text(), said.read_text()


def source_of_one_step(root: Path) -> Path:
    """A source that is added while the follower runs, with one run of one step."""
    (root / "run").mkdir(parents=True)
    (root / "run" / NAME).write_bytes(step(0))
    register(f"t{next(NUMBERS)}={root}")
    until(lambda: points(root) == 2)
    return root


@pytest.fixture
def root(tmp_path: Path, followed: Path) -> Iterator[Path]:
    yield source_of_one_step(tmp_path / "logs")
    Source.objects.filter(root=str(tmp_path / "logs")).update(enabled=False)


def points(root: Path, run: str = "run") -> int | None:
    return Run.objects.filter(source__root=str(root), path=run.encode()).values_list("point_count", flat=True).first()


def append(path: Path, *numbers: int) -> None:
    with path.open("ab") as file:
        file.write(b"".join(step(number) for number in numbers))


def test_what_is_appended_is_stored_within_moments(root):
    append(root / "run" / NAME, 1, 2)
    until(lambda: points(root) == 6, at_rest(5))
    took = []
    for number in range(3, 8):
        append(root / "run" / NAME, number)
        took.append(until(lambda: points(root) == 2 * (number + 1)))  # noqa: B023
    assert min(took) < at_rest(2)


def test_new_runs_are_found_within_moments_however_many_came_before(root):
    for number in range(2):
        (root / f"group{number}" / "fresh").mkdir(parents=True)
        until(lambda: Source.objects.get(root=str(root)).is_followed)
        write(root / f"group{number}" / "fresh", 2, 5)
        until(lambda: points(root, f"group{number}/fresh") == 10, at_rest(15))  # noqa: B023


def test_what_a_new_trainer_pushes_shows_within_moments(tmp_path, followed, settings):
    settings.HOME = str(tmp_path)
    number = next(NUMBERS)
    source = pushed.source_of(Trainer.objects.create(slug=f"t{number}", name=f"t{number}"))
    for run in (b"first", b"second"):
        pushed.append(source, [run], [b'{"ts":1767323045,"level":"INFO","msg":"x","job_id":"j","event":"job.started"}\n'])
        until(lambda: Run.objects.filter(source=source, name=run.decode()).exists(), at_rest(15))  # noqa: B023
    Source.objects.filter(pk=source.pk).update(enabled=False)


def test_a_resumed_run_gets_its_second_file(root):
    (root / "run" / "events.out.tfevents.1700000009.host.2.0").write_bytes(step(1))
    until(lambda: points(root) == 4)


def test_a_truncated_file_is_read_anew_and_a_replaced_one_too(root):
    path = root / "run" / NAME
    append(path, *range(1, 9))
    until(lambda: points(root) == 18)
    path.write_bytes(step(5))
    until(lambda: points(root) == 2)
    other = root / "run" / ".events.copy.tmp"
    other.write_bytes(step(7) + step(8))
    other.rename(path)
    until(lambda: points(root) == 4)
    assert LogFile.objects.get(source__root=str(root), path=b"run/" + NAME.encode()).generation == 2


def test_a_removed_run_is_missing_and_comes_back(root):
    write(root / "second", 1, 3)
    until(lambda: points(root, "second") == 3)
    shutil.move(root / "second", root.parent / "away")
    run = Run.objects.get(source__root=str(root), path=b"second")
    until(lambda: Run.objects.get(pk=run.pk).files_missing)
    shutil.move(root.parent / "away", root / "second")
    until(lambda: not Run.objects.get(pk=run.pk).files_missing)


def test_a_job_log_ends_its_run_at_once(root):
    job_log(root / "run" / "job.jsonl", steps=2, end=False)
    until(lambda: Run.objects.get(source__root=str(root), path=b"run").stage is not None and
          LogFile.objects.filter(source__root=str(root), kind="jsonl", records__gt=0).exists())
    job_log(root / "run" / "job.jsonl", start=2, steps=1)
    until(lambda: Run.objects.get(source__root=str(root)).status == "finished")


def test_names_that_are_no_text_and_links_do_not_stop_it(root):
    os.mkdir(os.fsencode(root) + b"/\xff\xfe")
    (root / "out").symlink_to("/")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe/" + NAME.encode())).write_bytes(step(0))
    until(lambda: Run.objects.filter(source__root=str(root), path=b"\xff\xfe", point_count=2).exists())
    append(Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe/" + NAME.encode())), 1)
    until(lambda: Run.objects.filter(source__root=str(root), path=b"\xff\xfe", point_count=4).exists())


def test_how_fresh_its_knowledge_is_is_said_each_few_seconds(root):
    def fresh() -> bool:
        source = Source.objects.get(root=str(root))
        return source.is_followed and source.as_of is not None and (now() - source.as_of).total_seconds() < 4

    until(fresh)
    time.sleep(4.1)  # what was said then is old
    until(fresh)


def test_a_disabled_source_is_left_alone_and_an_enabled_one_followed_again(root):
    Source.objects.filter(root=str(root)).update(enabled=False)
    other = source_of_one_step(root.parent / "other")  # once it is followed, the disabled one is not
    for each in (root, other):
        append(each / "run" / NAME, 1)
    until(lambda: points(other) == 4)
    assert points(root) == 2
    Source.objects.filter(root=str(root)).update(enabled=True)
    until(lambda: points(root) == 4)
    Source.objects.filter(root=str(other)).update(enabled=False)


def test_a_run_is_settled_soon_after_its_budget_of_silence(root):
    run = Run.objects.get(source__root=str(root))
    assert run.status == "running"
    # as if its last bytes had come longer ago than any budget
    Run.objects.filter(pk=run.pk).update(last_arrival="2024-01-01T00:00:00Z")
    until(lambda: Run.objects.get(pk=run.pk).status == "unknown", at_rest(8))
    assert Transition.objects.filter(run=run, new="unknown").exists()
    append(root / "run" / NAME, 1)
    until(lambda: Run.objects.get(pk=run.pk).status == "running")


def test_a_sync_by_hand_gets_between(root):
    for number in range(1, 6):
        append(root / "run" / NAME, number)
    done = sync_command("--source", str(Source.objects.get(root=str(root)).pk))
    assert done.returncode == 0, done.stderr
    until(lambda: points(root) == 12)


def test_a_root_that_is_away_is_an_error_and_followed_again_when_it_is_back(root):
    root.rename(root.parent / "elsewhere")
    until(lambda: Source.objects.get(root=str(root)).status == "error", 120)
    (root.parent / "elsewhere").rename(root)
    append(root / "run" / NAME, 1)
    until(lambda: points(root) == 4, 120)


FEW_WATCHES = """
import sys
import django
django.setup()
from runs.followed import Followed
thread = Followed(1, sys.argv[1], poll=False)
thread.watch()
thread.hear()
thread.hear()
print("whole" if thread.inotify.whole else "polls", len(thread.inotify.paths))
"""


def test_without_enough_watches_it_says_so_once_and_looks_instead(tmp_path):
    """In a user namespace of its own the limit is lowered without touching the machine's."""
    for number in range(40):
        (tmp_path / f"folder{number}").mkdir()
    few = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", few, "sh", sys.executable, "-c", FEW_WATCHES, str(tmp_path)],
        cwd=ROOT, env=environment(DJANGO_SETTINGS_MODULE="trainmon.settings"), capture_output=True, text=True, timeout=60)
    assert done.stdout == "polls 5\n", done.stderr
    assert done.stderr.count("max_user_watches is too small") == 1


def test_a_thread_that_does_not_answer_is_said_on_its_source_alone(tmp_path, database):
    for name in ("hangs", "answers"):
        (tmp_path / name).mkdir()
    hanging, answering = (register(f"t{next(NUMBERS)}={tmp_path / name}") for name in ("hangs", "answers"))
    follower = Follower(lambda: Source.objects.none())
    for source in (hanging, answering):
        follower.threads[source.pk, source.root, source.layout] = Followed(source.pk, source.root, poll=False)
    follower.threads[hanging.pk, hanging.root, hanging.layout].heard_of -= settings.TRAINMON_SCAN_DEADLINE + 1
    follower.tell_stuck()
    for source in (hanging, answering):
        source.refresh_from_db()
        Source.objects.filter(pk=source.pk).update(enabled=False)
    assert answering.status != "error" and "may hang" in hanging.last_error


def test_ctrl_c_ends_it_within_seconds(tmp_path, database):
    said = tmp_path / "said"
    with following(said=said) as process:
        until(lambda: "Following" in said.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(at_rest(5)) == 0


@pytest.mark.parametrize("words", [["--poll"], ["--watch", "--full"], ["--watch", "--dry-run"]])
def test_what_makes_no_sense_is_refused(words, database):
    done = sync_command(*words)
    assert done.returncode == 2 and "--watch" in done.stderr
