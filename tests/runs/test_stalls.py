"""Stalls and lost workers: told from the step, with phases considered, and taken back."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runs import facts
from runs.models import Job, Run, Transition
from runs.status import Evidence, budget, judge
from tests.runs.trees import synced

NOW = 1_800_000_000.0


def running(silence: float, still: float | None = None, **more: object) -> Evidence:
    arrivals = [NOW - silence - 8, NOW - silence - 4, NOW - silence]
    stepped = None if still is None else NOW - still
    return Evidence(said="running", has_job=True, last_arrival=NOW - silence, arrivals=arrivals, stepped=stepped, **more)


def test_heartbeats_without_a_step_are_a_stall_and_no_loss():
    verdict = judge(running(2, still=5000), NOW)
    assert (verdict.status, verdict.stalled) == ("running", True)
    assert verdict.reason == "no step for 1 h 23 m, though its log goes on"
    assert verdict.evidence["no_step_seconds"] == 5000
    assert judge(running(5000, still=5000), NOW).status == "lost"
    assert not judge(running(2, still=60), NOW).stalled


@pytest.mark.parametrize(("longest", "allowed"), [(None, 270), (10.0, 90), (400.0, 800)])
def test_a_phase_beside_the_training_may_be_silent_for_longer(longest, allowed):
    evidence = running(120, phase="saving_checkpoint", longest_phase=longest)
    assert budget(evidence) == allowed
    verdict = judge(evidence, NOW)
    assert verdict.stalled == (allowed < 120)
    assert verdict.evidence["phase"] == "saving_checkpoint"
    assert not verdict.stalled or verdict.reason.startswith("no step for 2 m 00 s in saving_checkpoint")


def test_the_stage_of_training_itself_is_no_phase():
    assert budget(running(1, phase="training", longest_phase=9999.0)) == 90


def put(root: Path, *records: dict[str, object], age: float) -> None:
    path = root / "j.jsonl"
    with path.open("a") as file:
        file.writelines(json.dumps({"job_id": "j", "level": "INFO", "msg": "m", **record}) + "\n" for record in records)
    os.utime(path, (time.time() - age,) * 2)
    assert synced(root).problems == []


@pytest.mark.django_db
def test_a_lost_run_takes_its_job_along_and_both_come_back(tmp_path):
    at = time.time() - 90_000
    start = {"ts": at, "event": "training.start", "fields": {"total_steps": 9}}
    steps = [{"ts": at + n, "event": "training.step", "fields": {"step": n}} for n in range(4)]
    put(tmp_path, start, *steps, age=80_000)
    assert (Run.objects.get().status, Job.objects.get().status) == ("lost", "lost")
    version = Job.objects.get().version
    assert Transition.objects.filter(job__isnull=False, new="lost").get().reason.startswith("no step for 22 h")
    put(tmp_path, {"ts": time.time(), "event": "training.step", "fields": {"step": 4}}, age=1)
    assert (Run.objects.get().status, Job.objects.get().status) == ("running", "running")
    assert Job.objects.get().version > version


@pytest.mark.django_db
def test_a_run_goes_on_though_its_trainers_clock_was_set_back_since_its_end(tmp_path):
    at = time.time()
    put(tmp_path, {"ts": at + 7200, "event": "training.failed", "fields": {"error": "no space"}}, age=60)
    assert Run.objects.get().status == "failed"
    put(tmp_path, {"ts": at, "event": "training.start"}, {"ts": at + 1, "event": "training.step", "fields": {"step": 1}}, age=1)
    assert (Run.objects.get().status, Job.objects.get().status) == ("running", "running")


@pytest.mark.django_db
def test_silence_is_noticed_though_our_own_clock_was_set_back(tmp_path):
    put(tmp_path, {"ts": time.time() - 9, "event": "training.step", "fields": {"step": 1}}, age=0)
    Run.objects.update(last_arrival=datetime.fromtimestamp(time.time() + 86_400, UTC))
    put(tmp_path, {"ts": time.time(), "event": "training.step", "fields": {"step": 2}}, age=0)
    assert Run.objects.get().last_arrival.timestamp() <= time.time()


@pytest.mark.django_db
def test_a_job_whose_log_repeats_one_step_is_stalled(tmp_path, monkeypatch):
    began = time.time()
    put(tmp_path, {"ts": began - 9, "event": "training.step", "fields": {"step": 7, "loss": 1.0}}, age=0)
    for later in range(60, 660, 60):
        monkeypatch.setattr(facts.time, "time", lambda later=later: began + later)
        put(tmp_path, {"ts": began + later, "event": "training.step", "fields": {"step": 7, "loss": 1.0}}, age=-later)
    run = Run.objects.get()
    assert (run.status, run.stalled) == ("running", True)
    assert run.status_reason.startswith("no step for ") and "though its log goes on" in run.status_reason


@pytest.mark.django_db
def test_the_longest_phase_of_each_kind_is_remembered(tmp_path):
    at = time.time() - 5000
    stages = [(0, "training"), (10, "saving_checkpoint"), (40, "training"), (50, "saving_checkpoint"), (55, "training")]
    put(tmp_path, *({"ts": at + seconds, "event": f"stage.{stage}"} for seconds, stage in stages), age=10)
    run = Run.objects.get()
    assert run.pulse["phases"]["saving_checkpoint"] == 30.0
    assert facts.evidence_of(run).phase == "training"
