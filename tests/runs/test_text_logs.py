"""Text logs: whose they are, and what a run and its job show of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs import loglines
from runs.models import Event, Job, LogFile, Run
from runs.reconcile.compare import compare
from tests.runs.trees import settle, synced, write

from .readers.test_textlog import FALCON

pytestmark = pytest.mark.django_db

STEPS = "".join(f"Step {n}/100 loss={10 - n}\n" for n in range(1, 9))


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    settle(root)
    assert synced(root).problems == []


def test_a_jobs_output_belongs_to_its_job(tmp_path):
    record = {"ts": 1_767_323_045, "level": "INFO", "job_id": "train-1", "msg": "m", "event": "training.step"}
    step = json.dumps({**record, "fields": {"step": 8, "total_steps": 100, "loss": 2.125}}) + "\n"
    put(tmp_path, **{"logs/jobs/train-1.jsonl": step, "logs/subprocess/train-1.stdout.log": STEPS,
                     "logs/subprocess/train-1.stderr.log": "Killed\n"})
    job = Job.objects.get()
    assert (Run.objects.count(), job.external_id, job.step, job.total_steps, job.loss) == (1, "train-1", 8, 100, 2.125)
    assert [(one.name, one.lines) for one in loglines.streams(job)] == [
        ("train-1.jsonl", 1), ("train-1.stderr.log", 1), ("train-1.stdout.log", 8)]
    assert loglines.view(job, search="step 3").entries[0]["message"] == "Step 3/100 loss=7"
    assert job.error == "Killed" and set(job.run.series.values_list("tag__name", flat=True)) == {"loss", "log/loss"}


def test_a_log_in_a_runs_folder_is_the_runs(tmp_path):
    write(tmp_path / "set" / "run", ("loss",), 20)
    put(tmp_path, **{"set/run/train.log": STEPS, "set/run/nohup.out": "hello\n", "set/run/wandb/debug.log": "x\n",
                     "set/run/data.log": '{"a": 1}\n'})
    run = Run.objects.get()
    assert sorted(file.path_text for file in LogFile.objects.filter(kind="text")) == ["set/run/nohup.out", "set/run/train.log"]
    assert {job.external_id for job in Job.objects.all()} == {"run"}
    assert (run.total_steps, run.series.count()) == (100, 2)
    assert [one.what for one in compare(run.pk).differences] == []  # though it has no second reader


def test_a_training_by_itself_is_a_run_and_a_systems_log_is_none(tmp_path):
    put(tmp_path, **{"afs/majora.log": STEPS, "afs/din/nohup.out": STEPS, "syslog.log": "Jan 14 kernel: step 3\n" * 50,
                     "access.log": "GET /1/2 loss\n" * 50})
    assert {run.name for run in Run.objects.all()} == {"majora", "din"}
    assert {job.external_id for job in Job.objects.all()} == {"majora", "din"}
    assert set(Run.objects.values_list("point_count", "total_steps")) == {(8, 100)}


def test_a_driver_says_how_the_run_ended_whatever_its_nodes_print(tmp_path):
    node = "2026-01-14T14:32:02 [INFO] Epoch 1/100 | steps=50 | train_loss=1.2e-01\n"
    put(tmp_path, **{"out/graph/driver/output.log": FALCON, "out/graph/theta/output.log": node, "out/config.yml": "a: 1\n"})
    run = Run.objects.get()
    assert {"log/driver/train_loss", "log/theta/train_loss"} < set(run.series.values_list("tag__name", flat=True))
    assert {job.external_id: job.status for job in Job.objects.all()} == {"driver": "failed", "theta": "running"}
    assert (run.status, run.status_reason) == ("failed", "ValueError: bad: [sample]")
    assert Event.objects.get(kind="log.traceback").fields["error_type"] == "ValueError"


def test_a_text_log_is_followed_where_it_was_left(tmp_path):
    put(tmp_path, **{"a.log": STEPS})
    with (tmp_path / "a.log").open("a") as file:
        file.write("Step 9/100 loss=1\nnot yet")
    settle(tmp_path)
    synced(tmp_path)
    job = Job.objects.get()
    assert (job.step, job.line_count, Run.objects.get().point_count) == (9, 9, 9)
    assert synced(tmp_path, full=True).problems == [] and LogFile.objects.get().generation == 0
