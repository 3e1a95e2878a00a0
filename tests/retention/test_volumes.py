"""CH-46: a volume is committed once after something in it was deleted or brought back, and not otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from retention import tasks
from retention.models import Plan, Tombstone
from runs import volumes
from runs.models import AuditEntry, Source
from tests.retention.oldruns import run_at, source_at
from tests.retention.test_work_kill import killed

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def calls(tmp_path: Path, settings: Settings) -> Path:
    """Where the hook writes a line each time it is called."""
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    program, calls = tmp_path / "commit", tmp_path / "calls"
    program.write_text(f"#!/bin/sh\necho committed >> {calls}\n")
    program.chmod(0o755)
    calls.touch()
    settings.TRAINMON_VOLUMES = {str(tmp_path / "volume"): {"commit": [str(program)]}}
    return calls


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return source_at(tmp_path / "volume/logs")


def clean(*words: str, name: str = "cleanup") -> None:
    try:
        call_command(name, "--json", *words)
    except SystemExit:
        pass


def count(calls: Path) -> int:
    return len(calls.read_text().splitlines())


def test_a_volume_is_committed_once_for_a_cleanup_and_once_for_a_purge(source: Source, calls: Path):
    for name in ("a", "b", "c"):
        run_at(source, name)
    clean("--select", "all", "--yes", "--grace", "0d")
    assert count(calls) == 1
    clean("--purge")
    assert count(calls) == 2
    told = AuditEntry.objects.filter(action="commit volume")
    assert [entry.details["failed"] for entry in told] == [None, None]
    assert not source.runs.filter(lifecycle_stage="active").exists()


def test_it_is_not_committed_where_nothing_was_deleted(source: Source, calls: Path):
    run_at(source, "pinned", pinned=True)
    clean("--select", "all", "--dry-run"), clean("--select", "all", "--yes"), clean("--purge"), clean("--resume")
    assert count(calls) == 0 and not Plan.objects.exists()


def test_a_restore_of_several_runs_commits_once_and_one_of_nothing_not_at_all(source: Source, calls: Path):
    runs = [run_at(source, name) for name in ("a", "b", "c")]
    clean("--select", "all", "--yes"), calls.write_text("")
    Tombstone.objects.exclude(run=runs[0]).update(wanted_by="bob")
    tasks.tidy()
    assert (count(calls), AuditEntry.objects.filter(action="restore run", who="bob").count()) == (1, 2)
    for _ in range(2):
        clean(*(str(run.pk) for run in runs), name="restore")
        assert count(calls) == 2 and sorted(os.listdir(source.root)) == ["a", "b", "c"]


@pytest.mark.parametrize("back", [False, True])
def test_one_killed_before_its_volume_was_told_tells_it_with_the_next_round_and_once(source: Source, calls: Path, back: bool):
    run = run_at(source, "a")
    words = ("cleanup", "--select", "all", "--yes")
    if back:
        clean(*words[1:]), calls.write_text("")
        words = ("restore", str(run.pk))
    assert killed(1, words, [(volumes, "commit")])
    assert (count(calls), (Path(source.root) / "a").exists()) == (0, back)
    tasks.tidy(), tasks.tidy()
    assert count(calls) == 1


def test_a_commit_that_fails_undoes_nothing_and_is_told(source: Source, calls: Path, settings: Settings):
    settings.TRAINMON_VOLUMES = {source.root: {"commit": ["/bin/false"]}}
    run_at(source, "a")
    clean("--select", "all", "--yes")
    assert Plan.objects.get().state == Plan.State.DONE
    assert AuditEntry.objects.get(action="commit volume").details["failed"] == "/bin/false ended with 1"
