"""What a job shows of itself: its newest figures, GPUs, bars, stages, configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs import jobcards
from runs.models import Job
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points
from tests.runs.trees import settle, synced

pytestmark = pytest.mark.django_db

AT = 1_767_323_040


def line(seconds: float, event: str = "", **fields: object) -> str:
    return json.dumps({"ts": AT + seconds, "level": "INFO", "job_id": "j", "msg": "m", "event": event,
                       "correlation_id": "req-7", "fields": fields}) + "\n"


def state(seconds: float, **fields: object) -> str:
    said = {"job_id": "j", "status": "running", "timestamp": AT + seconds, "message": "m", **fields}
    return json.dumps(said) + "\n"


def job_of(root: Path, *lines: str) -> Job:
    (root / "logs").mkdir(exist_ok=True)
    with (root / "logs" / "j.jsonl").open("a") as file:
        file.write("".join(lines))
    settle(root)
    assert synced(root).problems == []
    return Job.objects.get()


def test_the_newest_figures_are_shown_zero_and_negative_ones_too(tmp_path):
    job = job_of(tmp_path, line(0, "training.step", step=1, loss=0.5, lr=1e-4), line(1, "training.step", step=2, loss=0, lr=0.0))
    assert (job.loss, job.lr, job.correlation_id) == (0.0, 0.0, "req-7")
    job = job_of(tmp_path, line(2, "training.step", step=3, loss=-2.5))
    assert (job.loss, job.lr) == (-2.5, 0.0)
    job = job_of(tmp_path, line(3, "training.step", step=4).replace('"step": 4', '"step": 4, "loss": NaN'))
    assert (job.loss, job.step) == (None, 4)


def test_speed_and_time_left_are_measured_where_the_log_says_none(tmp_path):
    job = job_of(tmp_path, *(line(s / 2, "training.step", step=s, total_steps=1000) for s in range(400)))
    assert job.speed == pytest.approx(2.0) and job.eta_seconds == pytest.approx(601 / 2)
    job = job_of(tmp_path, state(201, step=410, steps_total=1000, iteration_speed=4.0, eta_seconds=99))
    assert (job.speed, job.eta_seconds) == (4.0, 99)


def test_a_stalled_job_has_no_time_left_and_its_time_goes_on_with_its_log(tmp_path):
    told = line(0, "training.start"), line(1, "training.step", step=1, eta_seconds=9), line(300, "worker.heartbeat")
    job = job_of(tmp_path, *told)
    assert (job.time_left, job.duration) == (9, 300)
    job.run.status, job.run.stalled = job.status, True
    assert job.time_left is None


def test_the_overview_draws_what_the_jobs_own_log_tells_else_its_runs(tmp_path, ada):
    job = job_of(tmp_path, *(line(s, "training.step", step=s, train_loss=1 / s, lr=0.1, accuracy=0.5) for s in (1, 2, 3)))
    make_points(job.run, "loss", [3.0, 2.0], file=make_file(job.run, "events.out.tfevents.1.h"))
    make_points(job.run, "speed", [3.0, 2.0], file=make_file(job.run, "events.out.tfevents.2.h"))
    assert [one.tag.name for one in jobcards.charts_of(job)] == ["train_loss", "lr", "speed"]
    page = signed_in(ada).get(job.get_absolute_url()).content.decode()
    assert page.count('data-tag="') == 3 and "job_charts.js" in page


def test_every_gpu_of_a_record_is_kept_with_its_newest_figures(tmp_path):
    two = [{"utilization": 90, "power_watts": 0}, {"utilization": 0, "memory_used": 3.5}]
    job = job_of(tmp_path, state(0, step=1, gpu=two), state(1, step=2, gpu=[{"index": 1, "temperature": 61}]))
    assert job.gpus == [{"index": 0, "utilization": 90.0, "power_watts": 0.0},
                        {"index": 1, "utilization": 0.0, "memory_used": 3.5, "temperature": 61.0}]


def test_progress_bars_are_kept_by_their_ids(tmp_path):
    bars = [state(n, step=n, progress_bar={"id": name, "type": "download", "label": "Model", "current": n, "total": 4})
            for n, name in enumerate(["a", "b", "a"])]
    job = job_of(tmp_path, *bars)
    assert {name: bar["value"] for name, bar in job.bars.items()} == {"a": 50.0, "b": 25.0}


def test_the_stages_make_a_timeline(tmp_path):
    job = job_of(tmp_path, line(0, "training.start", total_steps=9), line(1, "stage.loading_model"), line(9, "stage.training"),
                 line(10, "training.step", step=1, stage="training"), line(11, "training.step", step=2, stage="sampling"),
                 state(14, step=2, stage="training"), line(20, "training.complete"))
    assert job.stages == [["loading_model", AT + 1], ["training", AT + 9], ["sampling", AT + 11], ["training", AT + 14]]


def test_the_configuration_is_kept_without_its_secrets(tmp_path):
    job = job_of(tmp_path, line(0, "training.start", total_steps=9, config={"lr": 1e-4, "hub_token": "abcdefgh"}))
    assert job.config == {"lr": 1e-4, "hub_token": "***REDACTED***"}
    assert job.last_line is not None and job.last_line.timestamp() == AT


def test_a_resumed_job_is_the_same_and_forgets_the_figures_of_its_last_attempt(tmp_path):
    start = ("training.start",)
    steps = line(1, "training.step", step=5, loss=1)
    job_of(tmp_path, line(0, *start, total_steps=9), steps, line(2, "training.failed", error="x"))
    job = job_of(tmp_path, line(60, *start, total_steps=9), line(61, "training.step", step=1, loss=3))
    assert (job.status, job.step, job.loss, job.error, job.run.segments.count()) == ("running", 1, 3, "", 2)


def test_a_bar_that_is_called_like_a_secret_keeps_its_figures(tmp_path, ada):
    bar = {"id": "token", "type": "stage", "label": "token", "current": 3, "total": 4}
    job = job_of(tmp_path, line(0, "training.step", step=1, progress_bar=bar, gpu=[{"utilization": 5.0, "token": 3.0}]))
    assert job.bars == {"token": {"type": "stage", "label": "token", "current": 3, "total": 4, "value": 75.0}}
    assert signed_in(ada).get(f"/jobs/{job.pk}/").status_code == 200
