"""P18: names that were stored with their secrets are masked as a sync stores them today, once."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from runs import masks, redact
from runs.models import AuditEntry, Checkpoint, Dataset, Job, Run, RunText, Series, Tag
from runs.series import tag_name
from tests.runs.factories import make_run, make_source
from tests.runs.trees import job_log, settle, synced, write

SECRET = "hf_PlantedTokenAbcDef123456"
FOLDER, RUN, TAG, JOB, SAVED = f"token={SECRET}", f"run {SECRET}", f"loss/{SECRET}", f"job {SECRET}", f"out/{SECRET}.pt"

pytestmark = pytest.mark.django_db


def mask(*options: str) -> str:
    out = StringIO()
    call_command("mask_names", *options, stdout=out)
    return out.getvalue()


def names() -> list[tuple[str, ...]]:
    rows = ((Tag, "name"), (Dataset, "name"), (Run, "name"), (Job, "external_id"), (Checkpoint, "said"))
    return [tuple(model._default_manager.order_by("pk").values_list(field, flat=True)) for model, field in rows]


def test_names_become_what_a_sync_makes_of_them_and_stay_so(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER / RUN
    write(folder, (TAG, "lr"), 5)
    job_log(folder / "job.jsonl", JOB)
    settle(tmp_path)
    synced(tmp_path)
    run = Run.objects.get()
    Checkpoint.objects.create(run=run, said=masks.words(SAVED))
    today = names()
    assert SECRET not in str(today)
    Tag.objects.filter(name=tag_name("", TAG)).update(name=TAG)
    Dataset.objects.update(name=FOLDER)
    Run.objects.update(name=f"{FOLDER}/{RUN}", warnings=[{"kind": "x", "path": f"{FOLDER}/y", "detail": ""}])
    Job.objects.update(external_id=JOB)
    Checkpoint.objects.update(said=SAVED)
    today[2] = (masks.label(f"{FOLDER}/{RUN}"),)
    assert "would be masked" in mask("--dry-run") and SECRET in str(names())
    said = mask()
    assert names() == today and "6 names masked" in said and SECRET not in said
    assert Run.objects.get().version > run.version and SECRET not in str(Run.objects.values("sidecars", "warnings"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT words::text FROM runs_runtext")
        assert "planted" not in cursor.fetchone()[0].lower() and RunText.objects.count() == 1
    assert AuditEntry.objects.get(action="mask names").who == "trainmon"
    version = Run.objects.get().version
    assert mask() == "No stored name holds a secret.\n" and Run.objects.get().version == version
    synced(tmp_path, full=True)
    assert names() == today and Series.objects.count() == Tag.objects.count()


def test_a_name_that_a_sync_has_made_meanwhile_is_kept_beside_the_old_one(tmp_path: Path) -> None:
    run = make_run(make_source())
    for name in (TAG, tag_name("", TAG)):
        Series.objects.create(run=run, tag=Tag.objects.create(name=name))
    mask()
    assert set(Tag.objects.values_list("name", flat=True)) == {tag_name("", TAG), f"{tag_name('', TAG)}~earlier"}
    assert Series.objects.count() == 2 and mask() == "No stored name holds a secret.\n"


@pytest.mark.parametrize("said", [TAG, FOLDER, f"{FOLDER}/{RUN}/x", f"(token={SECRET})/loss", "password is hunter2", SAVED])
def test_what_is_masked_stays_whichever_way_it_was(said: str) -> None:
    for first, again in ((masks.name, masks.name_again), (masks.path, masks.path_again), (masks.words, masks.words_again),
                         (masks.path, masks.words_again), (redact.text, redact.text)):
        assert again(said) == first(said) or again is masks.words_again
        assert again(first(said)) == first(said)
