"""docs/examples/train.py: a training that is real, and ends in every way that trainings end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema_rs import Draft202012Validator

from runs.readers import jsonl, pushed, tfevents
from tests.trainmon.machine import wait_until

TRAIN = Path(__file__).resolve().parents[2] / "docs/examples/train.py"


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TRAIN), str(folder), *words], capture_output=True, text=True, timeout=60)


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(TRAIN), str(folder), *words], stdout=subprocess.DEVNULL)


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the job log that are whole."""
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def said(folder: Path, event: str) -> list[dict[str, Any]]:
    return [line["fields"] for line in log(folder) if line["event"] == event]


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while not any(one["step"] >= step for one in said(folder, "training.step")):
        assert time.monotonic() < deadline, "it does not train"
        time.sleep(0.05)


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    """What the event files hold, in their order."""
    found: list[tuple[int, float]] = []
    for path in sorted(folder.glob("*tfevents*")):
        fd = os.open(path, os.O_RDONLY)
        block = tfevents.read(fd, None)
        os.close(fd)
        assert block.damages == []
        found += [(int(step), float(value)) for one in block.points if one.tag == tag
                  for step, value in zip(one.steps, one.values, strict=True)]
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went well."""
    folder = tmp_path_factory.mktemp("logs") / "spirals" / "first"
    done = train(folder)
    assert done.returncode == 0, done.stderr
    assert "Step 599/600 | loss=" in done.stdout
    return folder


def test_it_learns(trained: Path) -> None:
    losses = points(trained, "train/loss")
    assert [step for step, _ in losses] == [*range(0, 600, 5), 599]
    assert losses[-1][1] < 0.1 < losses[0][1]
    assert said(trained, "training.complete")[0]["final_loss"] < 0.1


def test_it_writes_samples_and_checkpoints_where_its_log_says(trained: Path) -> None:
    samples = [trained / one["sample_path"] for one in said(trained, "training.sample")]
    assert [path.name for path in samples] == ["step_00150.png", "step_00300.png", "step_00450.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in samples)
    saved = [trained / one["checkpoint_path"] for one in said(trained, "training.checkpoint")]
    with np.load(saved[-1]) as held:
        assert int(held["step"]) == 600


def test_its_log_is_read_and_fits_the_published_schema(trained: Path) -> None:
    fd = os.open(trained / "events.jsonl", os.O_RDONLY)
    block = jsonl.read(fd)
    os.close(fd)
    assert (block.damages, block.said[-1].status) == ([], "finished")
    records = [{"event_id": str(number)} | record for number, record in enumerate(log(trained))]
    schema = Draft202012Validator(pushed.schema())
    assert [error.message for error in schema.iter_errors({"run": "spirals/first", "events": records})] == []
    assert [wrong for record in records if (wrong := pushed.wrong_with(record))] == []


def test_one_that_fails_says_why(tmp_path: Path) -> None:
    done = train(tmp_path / "run", "--steps", "100", "--fail")
    assert done.returncode == 1 and "ValueError" in done.stderr
    failed = said(tmp_path / "run", "training.failed")[0]
    assert (failed["step"], failed["error_type"]) == (50, "ValueError")
    assert failed["stack_trace"].startswith("Traceback")


def test_one_that_diverges_writes_nan_and_fails(tmp_path: Path) -> None:
    assert train(tmp_path / "run", "--steps", "100", "--diverge").returncode == 1
    losses = dict(points(tmp_path / "run", "train/loss"))
    assert np.isfinite(losses[45]) and np.isnan(losses[55])
    assert said(tmp_path / "run", "training.failed")[0]["error_type"] == "FloatingPointError"


def test_one_that_hangs_lives_and_does_not_step(tmp_path: Path) -> None:
    training = started(tmp_path / "run", "--steps", "100", "--hang", "20")
    try:
        wait_for_step(tmp_path / "run", 15)
        assert wait_until(lambda: said(tmp_path / "run", "worker.heartbeat"))
        assert training.poll() is None
        assert said(tmp_path / "run", "training.step")[-1]["step"] == 15
        assert said(tmp_path / "run", "worker.heartbeat")[0] == {}
    finally:
        training.kill()
        training.wait()


def test_after_a_kill_it_goes_on_at_its_newest_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    training = started(folder, "--seconds", "30")
    wait_for_step(folder, 110)
    training.kill()
    training.wait()
    assert train(folder, "--resume").returncode == 0
    start, again = said(folder, "training.start")
    assert "resumed_from_step" not in start and again["resumed_from_step"] == 100
    steps = [step for step, _ in points(folder, "train/loss")]
    assert steps[-1] == 599 and set(steps) == {*range(0, 600, 5), 599}
    assert all(line["job_id"] == "train-run" for line in log(folder))


def test_one_that_is_asked_to_end_says_so(tmp_path: Path) -> None:
    training = started(tmp_path / "run", "--seconds", "60")
    wait_for_step(tmp_path / "run", 5)
    training.send_signal(signal.SIGTERM)
    assert training.wait(60) == 143
    assert log(tmp_path / "run")[-1]["event"] == "job.cancelled"
