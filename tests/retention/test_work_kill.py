"""Cleanups killed -9 at each step: every run is whole in place, in the trash or archived, and the next one ends it."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from retention import archive, destinations, graves, inventory, journal, unpacking, work
from retention.management import commands
from retention.models import Archive, Plan, PlannedRun, Tombstone
from runs.lease import claim
from runs.models import AuditEntry, Run, Source
from tests.retention.oldruns import content, run_at, source_at
from tests.runs.processes import ROOT, environment
from tests.trainmon.machine import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# loaded before we fork, not in each child
for loaded in ("cleanup", "restore"):
    import_module(f"{commands.__name__}.{loaded}")

#: What a cleanup does to the journal and with a rename: it is killed before each.
DEEDS: list[tuple[Any, str]] = [
    (journal, "mark"), (journal, "archived"), (journal, "buried"), (journal, "purged"), (destinations.FolderDraft, "publish"),
    (journal, "stage"), (graves, "move"), (unpacking, "move"), (graves, "forget"),
]
#: Smaller ones, before and after each of which it is killed in a long test.
SMALLER: list[tuple[Any, str]] = [
    (destinations.FolderDraft, "settle"), (inventory.Inventory, "write"), (os, "fsync"), (os, "unlink"),
    (os, "rmdir"), (os, "rename"),
]


class Fuse:
    """Burns down by one with each deed; at the end the process is killed."""

    def __init__(self, length: int) -> None:
        self.left = length

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def lay(self, deeds: list[tuple[Any, str]]) -> None:
        for owner, name in deeds:
            setattr(owner, name, self.around(getattr(owner, name), twice=len(deeds) > len(DEEDS)))

    def around(self, deed: Callable[..., Any], *, twice: bool) -> Callable[..., Any]:
        @wraps(deed)
        def burning(*args: Any, **named: Any) -> Any:
            self.burn()
            done = deed(*args, **named)
            if twice:
                self.burn()
            return done

        return burning


def killed(length: int, words: tuple[str, ...], deeds: list[tuple[Any, str]] = DEEDS) -> bool:
    """Run a command in a forked process whose fuse has this length; whether it was killed before it came to its end."""
    process = multiprocessing.get_context("fork").Process(target=command, args=(length, words, deeds))
    process.start()
    process.join(60)
    # 1: it was killed after its last deed, and the next one finds nothing to bring back
    assert process.exitcode in (0, -signal.SIGKILL, 1 if words[0] == "restore" and length < 0 else 0)
    return process.exitcode != 0


def command(length: int, words: tuple[str, ...], deeds: list[tuple[Any, str]]) -> None:
    for one in connections.all():
        one.connection = None  # the parent's: not ours to use or to close
    Fuse(length).lay(deeds)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        call_command(*words)
    os._exit(0)


class Scene:
    """Old runs and one that stays; what they hold."""

    def __init__(self, folder: Path, settings: Any, runs: int = 1) -> None:
        self.source = source_at(folder / "logs")
        settings.TRAINMON_ARCHIVE = self.archives = str(folder / "archive")
        self.runs = [run_at(self.source, f"ds/{number}", sizes=(3000, 10)) for number in range(runs)]
        self.bystander = run_at(self.source, "c", days=1)
        self.held = {run.pk: content(self.place(run)) for run in self.runs}
        self.beside = content(self.place(self.bystander))

    def place(self, run: Run) -> Path:
        return Path(self.source.root) / os.fsdecode(bytes(run.path))

    def check(self) -> None:
        """Nothing else was touched, and each run is whole somewhere."""
        assert content(self.place(self.bystander)) == self.beside
        assert [run.name for run in self.runs if not (self.folders(run) or self.sound(run))] == []

    def folders(self, run: Run) -> list[str]:
        """Where it lies whole: in its place, in the trash."""
        trash = Path(self.source.root).parent.glob(f".trainmon-trash/run-{run.pk}-plan-*")
        graves = [folder for folder in trash if not folder.suffix]
        places = {"place": [self.place(run)], "trash": graves}
        return [name for name, some in places.items() for folder in some if content(folder) == self.held[run.pk]]

    def sound(self, run: Run) -> bool:
        """Whether an archive of it that exists can be relied on."""
        to = destinations.at(self.archives)
        found = [archive.verify(to, name) for name in to.names() if name.startswith(f"run-{run.pk}-")]
        assert all(isinstance(one, archive.Verified) for one in found)
        return bool(found)

    def stages(self) -> set[str]:
        return set(Run.objects.filter(pk__in=[run.pk for run in self.runs]).values_list("lifecycle_stage", flat=True))

    def remove(self) -> None:
        for model in (Tombstone, Archive, Plan, Run, Source):
            model.objects.all().delete()
        shutil.rmtree(Path(self.source.root).parent)


CLEAN = ("cleanup", "--select", "old", "--yes", "--grace", "0d")
BURY = (*CLEAN, "--no-archive")
PURGE = ("cleanup", "--purge")


def words_for(scene: Scene, name: str) -> tuple[list[tuple[str, ...]], tuple[str, ...], str, str]:
    """What comes before, what is killed, where the runs are in the end, and what the audit trail says of each."""
    restore = ("restore", *(str(run.pk) for run in scene.runs))
    return {
        "clean": ([], CLEAN, "buried", "bury run"),
        "bury": ([], BURY, "buried", "bury run"),
        "purge": ([CLEAN], PURGE, "purged", "purge run"),
        "restore": ([CLEAN], restore, "active", "restore run"),
        "unpack": ([CLEAN, PURGE], restore, "active", "restore run"),
    }[name]


def once(scene: Scene, name: str, length: int, deeds: list[tuple[Any, str]]) -> bool:
    """Kill a command when its fuse has burnt down, look, and give it again; whether it was killed."""
    before, words, stage, deed = words_for(scene, name)
    for one in before:
        call_command(*one, "--json", stdout=io.StringIO())
    cut = killed(length, words, deeds)
    scene.check()
    if cut:
        killed(-1, words)
        scene.check()
    assert scene.stages() == {stage}, list(PlannedRun.objects.values_list("step", "error"))
    assert not PlannedRun.objects.exclude(step__in=PlannedRun.SETTLED).exists()
    assert not Plan.objects.exclude(state=Plan.State.DONE).exists()
    told = AuditEntry.objects.filter(action=deed, object_id__in=[run.pk for run in scene.runs])
    assert told.count() == len(scene.runs)
    return cut


EACH = pytest.mark.parametrize("name", ["clean", "bury", "purge", "restore", "unpack"])


def every(name: str, tmp_path: Path, settings: Any, deeds: list[tuple[Any, str]]) -> int:
    """Kill it at its first deed, at its second, until it comes to its end; how often it was killed."""
    length, cut = 0, True
    while cut:
        length += 1
        scene = Scene(tmp_path / str(length), settings)
        cut = once(scene, name, length, deeds)
        scene.remove()
    return length - 1


@EACH
def test_killed_at_any_deed_it_is_whole_and_the_next_one_ends_it(name, tmp_path, settings):
    kills = every(name, tmp_path, settings, DEEDS)
    print(f"{name}: {kills} kills")
    assert kills >= 3


def test_while_its_volume_is_not_mounted_a_killed_burial_is_not_given_up(tmp_path, settings):
    scene = Scene(tmp_path, settings)
    assert killed(2, BURY, [(journal, "mark"), (journal, "buried")])  # after the rename, before it is written down
    assert scene.folders(scene.runs[0]) == ["trash"]
    away = [Path(shutil.move(path, tmp_path / f"away-{path.name}")) for path in (tmp_path / "logs", tmp_path / ".trainmon-trash")]
    (tmp_path / "logs").mkdir()
    with pytest.raises((SystemExit, CommandError)):
        call_command("cleanup", "--resume", stdout=io.StringIO(), stderr=io.StringIO())
    row = PlannedRun.objects.get()
    assert row.step == "burying" and "is its volume mounted?" in row.error
    (tmp_path / "logs").rmdir()
    for path in away:
        path.rename(tmp_path / path.name.removeprefix("away-"))
    killed(-1, ("cleanup", "--resume"))
    assert scene.stages() == {"buried"} and Tombstone.objects.count() == 1


def test_a_killed_burial_whose_source_is_being_synced_is_not_given_up(tmp_path, settings, monkeypatch):
    scene = Scene(tmp_path, settings)
    assert killed(2, BURY, [(journal, "mark"), (journal, "buried")])  # it lies in the trash
    monkeypatch.setattr(work, "PATIENCE", 0.0)
    lease = claim(scene.source.pk)
    with pytest.raises(SystemExit):
        call_command("cleanup", "--resume", stdout=io.StringIO(), stderr=io.StringIO())
    assert PlannedRun.objects.get().step == "burying"
    lease.release()
    call_command("cleanup", "--resume", stdout=io.StringIO())
    assert scene.stages() == {"buried"} and scene.folders(scene.runs[0]) == ["trash"]


@pytest.mark.soak
@EACH
def test_killed_before_and_after_the_smallest_deed_too(name, tmp_path, settings):
    kills = every(name, tmp_path, settings, [*DEEDS, *SMALLER])
    print(f"{name}: {kills} kills")
    assert kills >= 20


def test_a_real_process_killed_amid_many_runs_is_ended_by_the_next(tmp_path, settings):
    scene = Scene(tmp_path, settings, runs=6)
    settled = PlannedRun.objects.filter(step__in=["archived", "buried"])
    process = subprocess.Popen([sys.executable, "manage.py", *CLEAN], cwd=ROOT, stdout=subprocess.DEVNULL,
                               env=environment(TRAINMON_ARCHIVE=scene.archives))
    assert wait_until(lambda: settled.count() >= 2 or process.poll() is not None, 60)
    process.kill()
    process.wait()
    scene.check()
    done = subprocess.run([sys.executable, "manage.py", "cleanup", "--resume"], cwd=ROOT, capture_output=True, text=True,
                          env=environment(TRAINMON_ARCHIVE=scene.archives), check=False)
    scene.check()
    assert (done.returncode, done.stderr, scene.stages()) == (0, "", {"buried"})
    assert Tombstone.objects.count() == AuditEntry.objects.filter(action="bury run").count() == 6
