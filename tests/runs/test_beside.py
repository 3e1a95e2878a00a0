"""What lies beside the events becomes the run's parameters, totals and end (CH-66, CH-70)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from runs import beside, commit, scan
from runs.models import Event, Job, LogFile, Run, Transition
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


def test_a_secret_in_any_field_of_a_job_log_never_reaches_the_registry(tmp_path):
    secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh"
    job_log(tmp_path / "run" / "job.jsonl", end=False, stage=f"loading with {secret}", message=secret)
    last = {"ts": "2023-11-14T23:00:00Z", "level": "ERROR", "service": "w", "job_id": "job-1", "msg": secret,
            "event": "training.failed", "fields": {"error": secret, "error_type": f"E {secret}", "stack": secret}}
    with (tmp_path / "run" / "job.jsonl").open("a") as file:
        file.write(json.dumps(last) + "\n" + json.dumps({**last, "event": f"login {secret}"}) + "\n")
    synced(tmp_path)
    assert Run.objects.get().status == "failed" and Event.objects.filter(kind__startswith="login").exists()
    stored = [str(vars(row)) for model in (Run, Job, Event, Transition, LogFile) for row in model.objects.all()]
    assert "REDACTED" in str(stored) and secret not in str(stored)


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


def test_a_change_beside_the_logs_that_a_crash_kept_from_being_read_is_read_by_the_next_sync(folder, monkeypatch):
    put(folder / "trainer_state.json", global_step=30, max_steps=60, log_history=[])
    assert the_run(folder).status == "unknown"
    put(folder / "trainer_state.json", global_step=60, max_steps=60, log_history=[1])
    monkeypatch.setattr(scan, "ingest", crash)
    with pytest.raises(KeyboardInterrupt):
        the_run(folder)
    monkeypatch.undo()
    assert the_run(folder).status == "finished"


def crash(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_training_that_begins_anew_takes_the_end_of_the_one_before_back(folder):
    put(folder / "trainer_state.json", global_step=60, max_steps=60, log_history=[])
    assert the_run(folder).status == "finished"
    write(folder, ("train/loss",), 5, wall=time.time() - 5)
    synced(folder.parent.parent)
    assert Run.objects.get().status == "running"


def test_what_lies_beside_a_log_that_cannot_be_stored_is_stored(folder, monkeypatch):
    put(folder / "trainer_state.json", global_step=60, max_steps=60, log_history=[])
    monkeypatch.setattr(commit, "_advance", lambda piece: 1 / 0)
    assert the_run(folder).status == "finished"
    assert "it cannot be stored: ZeroDivisionError" in Run.objects.get().log_files.get().error


def test_an_unreadable_file_beside_the_logs_is_news_once(folder, monkeypatch):
    put(folder / "config.json", lr=1)
    monkeypatch.setattr(beside, "_read", refuse)
    version = the_run(folder).version
    assert Run.objects.get().sidecars["ds/run/config.json"]["error"] == "Input/output error"
    assert the_run(folder).version == version
    monkeypatch.undo()
    assert the_run(folder).params == {"lr": 1}


def refuse(*_: Any) -> None:
    raise OSError(5, "Input/output error")


def test_an_evaluation_after_the_logs_end_leaves_it_alone_and_a_new_start_takes_it_back(folder):
    log = job_log(folder / "job.jsonl", steps=5)
    assert the_run(folder).status == "finished"
    write(folder, ("eval/loss",), 5, wall=time.time())
    synced(folder.parent.parent)
    assert Run.objects.get().status == "finished"
    job_log(log, steps=5, start=5, end=False)
    with log.open("a") as out:
        out.write(json.dumps({"ts": time.time(), "level": "INFO", "job_id": "job-1", "msg": "again",
                              "event": "training.start", "fields": {"total_steps": 9}}) + "\n")
    synced(folder.parent.parent)
    assert Run.objects.get().status == "running"
