"""P18: secrets that a trainer wrote into its texts are in no page, answer, export, bundle or row; raw files aside."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from retention.models import RetentionPolicy
from runs import loglines
from runs.models import ApiToken, Checkpoint, Job, LogFile, Note, Run, Sample, SavedView
from streaming import fragments
from streaming.models import TensorBoard, TensorBoardTransition
from tests.retention.oldruns import make_tomb
from tests.runs.conftest import signed_in
from tests.runs.test_access import body
from tests.runs.test_sweep import address, routes
from tests.runs.trees import job_log, media, picture, scalar, settle, synced, write, write_values

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse:Warning")]

TOKEN, PASSWORD, KEY, JWT, URL = (
    "hf_PlantedTokenAbcDef123456", "planted-hunter2", "sk-proj-PlantedAbc123def456ghi",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.plantedsig", "planted-in-url")
PLANTED = (TOKEN, PASSWORD, KEY, JWT, URL, "plantedhome")
TEXT = (f"use {TOKEN}, password={PASSWORD} and api_key={KEY}; Authorization: Bearer {JWT}; "
        f"postgres://u:{URL}@db/x; /home/plantedhome/data")
#: What shows the source's own bytes, to those who may have them.
RAW = ("/raw/", "/checkpoints/")


@pytest.fixture
def planted(tmp_path: Path, ada: User) -> Run:
    """A run whose every file tells secrets, and its folders and their names, too."""
    run = tmp_path / f"token={PASSWORD}" / f"run_{KEY}"
    write(run, ("loss",), 5)
    write_values(run, media(f"sample/{TOKEN}", picture()), scalar(f"lr?api_key={KEY}", 0.1))
    (run / "config.yml").write_text(f"hub:\\n  token: {PASSWORD}\\nnote: '{TEXT}'\\nlr: 0.1\\n".replace("\\n", "\n"))
    log = job_log(run / "events.jsonl", "train-1", end=False, config={"note": TEXT, "hub": {"password": PASSWORD}})
    lines = [
        {"event": "training.sample", "msg": TEXT, "fields": {"sample_path": f"samples/{TOKEN}.png", "step": 3, "note": TEXT}},
        {"event": "training.checkpoint", "msg": "saved", "fields": {"checkpoint_path": f"checkpoints/{TOKEN}.pt", "step": 3}},
        {"event": f"custom.{TOKEN}", "msg": TEXT, "level": "WARNING", "fields": {"nested": [{"secret": PASSWORD}]}},
        {"event": "training.failed", "msg": TEXT, "level": "ERROR",
         "fields": {"error": TEXT, "error_type": "HubError", "stack_trace": f"Traceback\n  {TEXT}", "step": 4}},
    ]
    with log.open("a") as file:
        for line in lines:
            file.write(json.dumps({"ts": "2026-01-02T04:00:00Z", "level": "INFO", "job_id": "train-1"} | line) + "\n")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / f"{TOKEN}.pt").write_bytes(b"weights")
    (run / f"{TOKEN}.fifo").symlink_to(f"/tmp/token={PASSWORD}")
    (run / "train-1.stdout.log").write_text(f"Epoch 1/2\nStep 5/10 loss=0.5 {TEXT}\nTraceback (most recent call last):\n"
                                            f"  File \"/home/plantedhome/x.py\", line 1\nValueError: {TEXT}\n")
    settle(tmp_path)
    synced(tmp_path)
    return Run.objects.get()


def found_in(data: bytes) -> list[str]:
    return [secret for secret in PLANTED if secret.encode() in data]


def test_no_column_of_the_registry_holds_one(planted: Run) -> None:
    leaks = []
    for model in apps.get_app_config("runs").get_models():
        if model is LogFile or not model.objects.exists():  # where reading goes on: bytes of the file's end, shown to nobody
            continue
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT t::text FROM "{model._meta.db_table}" t')
            leaks += [(model.__name__, secret) for (row,) in cursor.fetchall() for secret in found_in(row.encode())]
    assert leaks == []
    assert found_in(b"".join(b"".join(loglines.download(job)) for job in Job.objects.all())) == []


@pytest.fixture
def things(planted: Run, ada: User) -> dict[str, Any]:
    board = TensorBoard.objects.create(trainer=planted.source.trainer, state="failed", reason=TEXT, log_tail=TEXT)
    TensorBoardTransition.objects.create(tensorboard=board, old="running", new="failed", reason=TEXT)
    LogFile.objects.update(generation=1, reading=1)
    tomb = make_tomb(planted)
    policy = RetentionPolicy.objects.create(name="policy", trainer=planted.source.trainer, keep_last=1)
    return {
        "policy": policy.pk, "tomb": tomb.pk, "plan": tomb.planned.plan_id,
        "slug": planted.source.trainer.slug,
        "run": planted.pk, "source": planted.source_id, "file": LogFile.objects.first().pk, "job": Job.objects.first().pk,
        "note": Note.objects.create(run=planted, author=ada, text="note").pk, "sample": Sample.objects.order_by("pk").first().pk,
        "view": SavedView.objects.create(owner=ada, name="view", shared=True).pk, "token": ApiToken.issue(ada, "other")[0].pk,
        "checkpoint": Checkpoint.objects.order_by("pk").first().pk,
    }


def test_no_page_answer_export_or_bundle_shows_one(planted: Run, things: dict[str, Any]) -> None:
    root = signed_in(User.objects.create_superuser("root"))
    leaks, seen = [], 0
    for path, _ in routes():
        where = address(path, things)
        if any(part in where for part in RAW) or where.startswith("/admin/logout"):
            continue
        answer = root.get(where)
        seen += answer.status_code == 200
        leaks += [(where, secret) for secret in found_in(content(answer))]
        leaks += [(where, name) for name, value in answer.headers.items() if found_in(value.encode())]
    assert leaks == [] and seen > 60


@pytest.mark.parametrize("query", [
    "/api/runs/{run}/export/?as=csv", "/api/runs/{run}/export/?as=json", "/api/runs/export/?as=csv",
    "/api/runs/export/?as=ndjson", "/api/jobs/{job}/logs/view/?limit=1000", "/api/jobs/{job}/logs/view/?search=use",
    "/runs/{run}/?plain=1", "/runs/?q=use", "/workspace/?shown={run}", "/jobs/{job}/logs/", "/jobs/{job}/samples/",
    "/jobs/{job}/checkpoints/",
])  # fmt: skip
def test_no_answer_to_a_question_shows_one(planted: Run, things: dict[str, Any], query: str, ada: User) -> None:
    answer = signed_in(ada).get(query.format(**things))
    assert (answer.status_code, found_in(content(answer))) == (200, [])


def test_no_fragment_of_a_live_page_shows_one(planted: Run) -> None:
    shown = 0
    for kind in fragments.KINDS.values():
        ids = {"run": [planted.pk], "job": [job.pk for job in Job.objects.all()]}[kind.subject]
        for text in kind.render(ids, "").values():
            shown += 1
            assert found_in(json.dumps(text, default=str).encode()) == []
    assert shown >= 4


def content(answer: Any) -> bytes:
    """What was answered; of a zip what is in it."""
    data = body(answer)
    if answer.headers.get("Content-Type") == "application/zip":
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return b"\n".join([name.encode() + file.read(name) for name in file.namelist()])
    return data


def test_what_is_searched_for_is_no_way_to_one(planted: Run, ada: User) -> None:
    """A page repeats what was asked for; it must find nothing by it."""
    client: Client = signed_in(ada)
    for secret in (TOKEN, PASSWORD, KEY):
        found = client.get("/api/runs/", {"q": secret}).json()
        assert found["results"] == []
