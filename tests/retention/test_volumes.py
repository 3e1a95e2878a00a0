"""CH-46: a volume is committed once after something in it was deleted, and not otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from retention.models import Plan
from runs.models import AuditEntry, Source
from tests.retention.oldruns import run_at, source_at

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


def clean(*words: str) -> None:
    try:
        call_command("cleanup", "--json", *words)
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


def test_a_commit_that_fails_undoes_nothing_and_is_told(source: Source, calls: Path, settings: Settings):
    settings.TRAINMON_VOLUMES = {source.root: {"commit": ["/bin/false"]}}
    run_at(source, "a")
    clean("--select", "all", "--yes")
    assert Plan.objects.get().state == Plan.State.DONE
    assert AuditEntry.objects.get(action="commit volume").details["failed"] == "/bin/false ended with 1"
