"""P18: paths, and names made of them, are shown without secrets; what differs by these alone stays two."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User

from runs import masks
from runs.models import Job, Run
from tests.runs.conftest import signed_in
from tests.runs.trees import job_log, settle, synced, write

ONE, OTHER = "hf_PlantedTokenAbcDef123456", "hf_AnotherTokenXyzUvw987654"


def test_each_name_of_a_path_is_masked_by_itself():
    for path in ("ds/run-1", "lr=0.1,seed=3/tokenizer", "/home/ann/logs", "max_tokens=512/x", ""):
        assert masks.path(path) == path
    assert masks.path("ds/token=abcdef/run/a.jsonl").startswith("ds/token=***REDACTED***~")
    assert masks.path("ds/token=abcdef/run/a.jsonl").endswith("/run/a.jsonl")


def test_a_path_that_holds_control_characters_or_turns_its_letters_round_is_shown_with_escapes():
    raw = "new\nline/\x1b[31m/\u202egpj".encode() + b"/\xff"
    assert masks.shown(raw) == r"new\nline/\x1b[31m/\u202egpj/\xff"
    assert masks.shown("עברית/😀 a".encode()) == "עברית/😀 a"


@pytest.mark.django_db
def test_two_runs_that_differ_by_a_secret_are_two_read_where_they_lie_and_found_by_what_is_shown(tmp_path: Path, ada: User):
    for secret in (ONE, OTHER):
        write(tmp_path / f"run_{secret}", ("loss",), 5)
        job_log(tmp_path / f"run_{secret}" / "job.jsonl", f"job_{secret}")
    settle(tmp_path)
    for _ in range(2):
        outcome = synced(tmp_path)
    assert (outcome.runs, outcome.unchanged) == (2, 2)
    runs = list(Run.objects.order_by("path"))
    assert [bytes(run.path).decode() for run in runs] == sorted(f"run_{secret}" for secret in (ONE, OTHER))
    assert len({run.name for run in runs}) == 2 and all(run.name.startswith("run_hf_***REDACTED***~") for run in runs)
    assert all(run.point_count for run in runs) and [run.path_text for run in runs] == [run.name for run in runs]
    client = signed_in(ada)
    assert [row["id"] for row in client.get("/api/runs/", {"name": runs[0].name}).json()["results"]] == [runs[0].pk]
    job = Job.objects.get(external_id=masks.name(f"job_{ONE}"))
    for called in (job.external_id, f"job_{ONE}"):  # its trainer knows it by its own id
        assert client.get(f"/api/jobs/{called}/").json()["id"] == job.pk
