"""The notice after a commit: ids and versions; none where nothing was committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from runs import annotate, signals
from runs.models import Job, Run
from tests.runs.factories import make_run, make_source
from tests.runs.test_annotate import by
from tests.runs.trees import job_log, settle, synced, write

Notices = list[dict[str, Any]]


@pytest.fixture
def notices() -> Iterator[Notices]:
    heard: Notices = []

    def hear(sender: object, **said: Any) -> None:
        heard.append({name: said[name] for name in ("runs", "jobs", "sources")})

    signals.changed.connect(hear)
    yield heard
    signals.changed.disconnect(hear)


@pytest.mark.django_db(transaction=True)
def test_a_sync_tells_of_runs_jobs_and_sources_by_id_and_version(tmp_path: Path, notices: Notices):
    write(tmp_path / "ds" / "seven")
    job_log(tmp_path / "jobs" / "train-1.jsonl")
    settle(tmp_path)
    source = synced(tmp_path)
    told = {pk: at for one in notices for pk, at in one["runs"].items()}
    assert told == dict(Run.objects.values_list("pk", "version"))
    assert {pk: at for one in notices for pk, at in one["jobs"].items()} == dict(Job.objects.values_list("pk", "version"))
    assert {pk for one in notices for pk in one["sources"]} == {source.source_id}
    notices.clear()
    synced(tmp_path)
    assert notices == []


@pytest.mark.django_db(transaction=True)
def test_a_rename_tells_of_its_run(bob: User, notices: Notices):
    run = make_run(make_source(), name="qwen")
    annotate.rename(by(bob), run, "llama")
    assert notices == [{"runs": {run.pk: run.version}, "jobs": {}, "sources": set()}]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told(notices: Notices):
    with transaction.atomic():
        signals.tell(runs={7: 1})
        transaction.set_rollback(True)
    assert notices == []
