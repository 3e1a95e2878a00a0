"""What lies beside the events becomes the run's parameters, totals and end (CH-66, CH-70)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from runs.models import Job, Run, Transition
from tests.runs.trees import job_log, settle, synced, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of 60 steps in a dataset."""
    write(tmp_path / "ds" / "run", ("train/loss",), 60)
    return tmp_path / "ds" / "run"


def put(path: Path, **said: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said))


def the_run(folder: Path) -> Run:
    settle(folder.parent.parent, 3600)
    synced(folder.parent.parent)
    return Run.objects.get()


def test_config_files_become_parameters_and_the_command_line_wins(folder):
    (folder / "config.yml").write_text("optimizer:\n  lr: 0.1\n  name: adamw\n")
    put(folder / "args.json", **{"optimizer.lr": 0.5})
    assert the_run(folder).params == {"optimizer.lr": 0.5, "optimizer.name": "adamw"}


def test_a_secret_in_a_config_file_never_reaches_the_registry(folder):
    (folder / "config.yml").write_text("hub_token: hf_AbCdEfGhIjKlMnOpQrStUvWxYz123456\nnested:\n  password: hunter2hunter2\n")
    stored = json.dumps([the_run(folder).params, the_run(folder).param_sources])
    assert "AbCdEf" not in stored and "hunter2" not in stored and "REDACTED" in stored


def test_a_trainer_state_at_its_last_step_finishes_the_run(folder):
    put(folder / "checkpoint-60" / "trainer_state.json", global_step=60, max_steps=60, epoch=3.0, log_history=[])
    run = the_run(folder)
    assert (run.status, run.total_steps, run.epoch) == ("finished", 60, 3.0)
    assert run.status_reason == "trainer_state.json: step 60 of 60"
    assert run.progress is not None


def test_steps_after_a_trainer_state_take_its_word_back(folder):
    put(folder / "trainer_state.json", global_step=30, max_steps=30, log_history=[])
    assert the_run(folder).status == "unknown"


def test_an_early_stop_is_marked_and_shows_no_share_of_its_steps(folder):
    callbacks = {"EarlyStoppingCallback": {
        "args": {"early_stopping_patience": 3, "early_stopping_threshold": 0.0},
        "attributes": {"early_stopping_patience_counter": 3}}}
    put(folder / "trainer_state.json", global_step=60, max_steps=1000, epoch=60.0, num_train_epochs=1000,
        stateful_callbacks=callbacks, log_history=[])
    run = the_run(folder)
    assert (run.status, run.early_stopped, run.progress) == ("finished", True, None)
    assert "stopped early at step 60" in run.status_reason


def test_a_trainer_state_that_is_still_behind_only_tells_the_total(folder):
    put(folder / "trainer_state.json", global_step=40, max_steps=1000, log_history=[])
    run = the_run(folder)
    assert (run.status, run.total_steps, run.early_stopped) == ("unknown", 1000, False)


def test_results_at_the_end_fill_parameters_and_samples(folder):
    put(folder / "train-results.json", type="router", dataset_name="ds", run_name="run", completion_time="2026-01-05T10:00:00Z",
        dataset={"train_samples": 900, "val_samples": 100, "total_samples": 1000},
        training={"total_steps": 60, "train_loss": 0.4, "lora_rank": 16, "learning_rate": 1e-4}, eval={})
    run = the_run(folder)
    assert run.total_steps == 60
    assert run.params["lora_rank"] == 16 and run.params["train_samples"] == 900


def test_a_file_that_cannot_be_parsed_says_so_and_stops_nothing(folder):
    (folder / "config.yml").write_text("a: [1,")
    run = the_run(folder)
    assert run.point_count == 60
    assert run.sidecars["ds/run/config.yml"]["error"]


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(folder):
    (folder / "config.yml").write_text("lr: 1\n")
    before = the_run(folder).version
    assert synced(folder.parent.parent).grown == 0 and Run.objects.get().version == before
    (folder / "config.yml").write_text("lr: 22\n")
    assert the_run(folder).params == {"lr": 22}


def test_hparams_of_the_plugin_win_over_files(folder):
    from tensorboardX import SummaryWriter

    (folder / "config.yml").write_text("lr: 1\nonly_here: 2\n")
    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams({"lr": 0.25}, {"metric": 1.0}, name="trial")
    assert the_run(folder).params == {"lr": 0.25, "only_here": 2}


def test_damage_in_a_file_is_told_on_its_run(folder):
    path = next(folder.glob("events*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    settle(folder.parent.parent)
    synced(folder.parent.parent)
    run = Run.objects.get()
    assert run.bad_records + (run.lost_bytes > 0) >= 1
    assert (run.bad_records, run.lost_bytes) == run.log_files.values_list("bad_records", "lost_bytes").get()


def test_a_job_takes_only_legal_ways_and_a_resume_is_one(tmp_path):
    """ISG-16: queued -> running -> an end; from an end only a new start leads back."""
    log = job_log(tmp_path / "job.jsonl", steps=5, end=False)
    said = {"ts": time.time(), "level": "INFO", "job_id": "job-1"}
    lines = [
        said | {"msg": "done", "event": "training.complete", "fields": {}},
        said | {"msg": "late", "event": "training.failed", "fields": {"error": "x"}},
    ]
    with log.open("a") as out:
        out.write("".join(json.dumps(line) + "\n" for line in lines))
    synced(tmp_path)
    job = Job.objects.get()
    assert job.status == "finished"
    with log.open("a") as out:
        out.write(json.dumps(lines[0] | {"event": "training.start", "msg": "again", "fields": {"total_steps": 9}}) + "\n")
    synced(tmp_path)
    job.refresh_from_db()
    assert (job.status, job.ended) == ("running", None)
    assert [t.new for t in Transition.objects.filter(job=job)][-2:] == ["finished", "running"]
