"""Samples and checkpoints that lie beside logs which do not name them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from runs.galleries import step_of
from runs.models import Checkpoint, Job, Sample, Source
from tests.runs.trees import settle, synced, write

from .test_artifacts import PNG

pytestmark = pytest.mark.django_db


def put(root: Path, *paths: str, data: bytes = PNG) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def log(root: Path, *events: tuple[str, dict[str, object]]) -> None:
    (root / "logs").mkdir(exist_ok=True)
    with (root / "logs" / "train-1.jsonl").open("a") as file:
        for event, fields in events:
            record = {"ts": 1_767_323_045, "level": "INFO", "job_id": "train-1", "msg": "m", "event": event, "fields": fields}
            file.write(json.dumps(record) + "\n")
    settle(root)
    assert synced(root).problems == []


@pytest.mark.parametrize(("stem", "step", "index"), [
    (b"step_00100", 100, None), (b"1767323045123__000000250_3", 250, 3), (b"lora-500", 500, None), (b"model_step500", 500, None),
    (b"final", 0, None), (b"9" * 30, 0, None), (b"x_000000100_2", 100, 2),
])
def test_steps_are_in_the_names(stem, step, index):
    assert step_of(stem) == (step, index)


def test_samples_of_both_tools_are_found_and_attached_to_their_job(tmp_path):
    put(tmp_path, "artifacts/jobs/train-1/samples/step_00100.png", "output/train-1/samples/1767323045123__000000250_1.jpg",
        "artifacts/jobs/train-1/samples/notes.txt", "artifacts/jobs/nobody/samples/step_1.png")
    log(tmp_path, ("training.start", {"total_steps": 9}))
    job = Job.objects.get()
    rows = job.samples.order_by("step").values_list("step", "index", "tag")
    assert list(rows) == [(100, None, "samples"), (250, 1, "samples/1")]
    version = job.version
    synced(tmp_path)
    put(tmp_path, "artifacts/jobs/train-1/samples/step_00200.png")
    settle(tmp_path, 50)
    synced(tmp_path)
    assert (job.samples.count(), Job.objects.get().version > version) == (3, True)


def test_a_sample_that_the_log_names_as_well_is_one(tmp_path):
    path = "artifacts/jobs/train-1/samples/step_00005.png"
    put(tmp_path, path)
    log(tmp_path, ("training.start", {"total_steps": 9}))
    log(tmp_path, ("training.sample", {"sample_path": path, "step": 7}))
    assert Sample.objects.get().step == 7
    assert synced(tmp_path, full=True).problems == []
    assert Sample.objects.count() == 1


def test_checkpoints_have_their_sizes_and_are_missing_when_gone(tmp_path):
    folder = "artifacts/jobs/train-1/checkpoints"
    put(tmp_path, f"{folder}/a-100.safetensors", f"{folder}/a-200.safetensors", data=b"12345")
    log(tmp_path, ("training.checkpoint", {"checkpoint_path": f"{folder}/a-100.safetensors", "step": 100}))
    assert list(Checkpoint.objects.order_by("step").values_list("step", "size", "missing")) == [(100, 5, False), (200, 5, False)]
    (tmp_path / folder / "a-100.safetensors").unlink()
    settle(tmp_path, 40)
    synced(tmp_path)
    assert list(Checkpoint.objects.order_by("step").values_list("step", "missing")) == [(100, True), (200, False)]


def test_a_checkpoint_that_lies_elsewhere_is_missing_when_it_or_its_folder_goes_and_there_when_it_comes_back(tmp_path):
    paths = ["out/lora-1.safetensors", "out/lora-2.safetensors", "top.pt", "artifacts/jobs/train-1/checkpoints/a-4.pt", "late.pt"]
    put(tmp_path, *paths[:4], data=b"12345")
    log(tmp_path, *(("training.checkpoint", {"checkpoint_path": path, "step": step}) for step, path in enumerate(paths)))

    def missing() -> list[str]:
        synced(tmp_path)
        return list(Checkpoint.objects.filter(missing=True).order_by("step").values_list("said", flat=True))

    assert missing() == ["late.pt"]
    version = Job.objects.get().version
    (tmp_path / paths[0]).unlink()
    (tmp_path / "top.pt").unlink()
    assert missing() == [paths[0], "top.pt", "late.pt"] and Job.objects.get().version > version
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "artifacts/jobs/train-1/checkpoints")
    assert missing() == paths
    put(tmp_path, *paths, data=b"123456")
    assert missing() == [] and set(Checkpoint.objects.values_list("size", flat=True)) == {6}
    version = Job.objects.get().version
    assert missing() == [] and Job.objects.get().version == version


def test_samples_in_a_runs_folder_are_the_runs_and_survive_a_replaced_log(tmp_path):
    write(tmp_path / "run", ("loss",), 20)
    put(tmp_path, "run/samples/step_3.png")
    settle(tmp_path)
    synced(tmp_path)
    one = Sample.objects.select_related("log_file").get()
    assert (one.step, one.job, one.run.path_text) == (3, None, "run")
    anew = write(tmp_path.parent / f"aside{time.time()}", ("loss",), 9)
    next((tmp_path / "run").glob("events*")).write_bytes(anew.read_bytes())
    settle(tmp_path)
    synced(tmp_path)
    assert Sample.objects.get().generation == 1
    assert Source.objects.get().last_error == ""


def test_a_folder_that_is_a_link_is_not_followed(tmp_path):
    put(tmp_path / "elsewhere", "step_1.png")
    root = tmp_path / "root"
    (root / "artifacts" / "jobs" / "train-1").mkdir(parents=True)
    (root / "artifacts" / "jobs" / "train-1" / "samples").symlink_to(tmp_path / "elsewhere")
    log(root, ("training.start", {"total_steps": 9}))
    assert not Sample.objects.exists()
