"""manage.py demo: real trainings that end in every way, labelled as demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import call_command

from runs import correlation
from runs.models import Checkpoint, Job, Run, Segment, Source
from tests.runs.processes import ROOT, environment


@pytest.mark.django_db(transaction=True)
def test_the_demo_trains_runs_that_end_in_every_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "runs.demo")
    with correlation.bound("demo-7"):
        call_command("demo", "--into", str(tmp_path / "demo"))
    runs = {run.name: run for run in Run.objects.select_related("dataset")}
    finished = dict.fromkeys(("wide", "narrow", "slow", "resumed"), "finished")
    assert {name: run.status for name, run in runs.items()} == finished | {"diverges": "failed", "fails": "failed"}
    assert all(run.source.trainer.demo and run.dataset and run.dataset.name == "spirals" for run in runs.values())
    assert runs["diverges"].error.startswith("loss is nan")
    events = Segment.objects.filter(run=runs["resumed"], log_file__kind="events")
    # who started a training is found by its job, and what it printed when it failed in our log
    assert set(Job.objects.values_list("correlation_id", flat=True)) == {"demo-7"}
    said = {record.context["run"]: record.context for record in caplog.records if record.name == "runs.demo"}
    assert said.keys() == {"diverges", "fails"} and "Traceback" in said["fails"]["stderr"] and "Step" in said["fails"]["stdout"]
    assert events.count() == 2 and Checkpoint.objects.filter(run=runs["wide"]).count() == 6


@pytest.mark.django_db(transaction=True)
def test_the_live_demo_is_registered_first_and_stops_with_its_trainings(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    command = [sys.executable, "manage.py", "demo", "--live", "--into", str(root)]
    demo = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    log = root / "spirals/long/events.jsonl"
    until = time.monotonic() + 60
    while not (log.exists() and "training.step" in log.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    assert Source.objects.get().trainer.demo
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(60) == 143
    assert "job.cancelled" in log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
