"""Samples and checkpoints that logs name: found below the root, served as images, never from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs.models import Checkpoint, Job, Run, Sample
from runs.samples import Gone, Media, read
from tests.runs.conftest import signed_in
from tests.runs.trees import settle, synced

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with a sample and a checkpoint of job j."""
    root = tmp_path / "root"
    files = {"artifacts/jobs/j/images/step_00005.png": PNG, "artifacts/jobs/j/weights/a.safetensors": b"12345"}
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(data)
    (root / "logs").mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    return root


def said(root: Path, *events: tuple[str, dict[str, object]]) -> Job:
    with (root / "logs" / "j.jsonl").open("a") as file:
        for event, fields in events:
            file.write(json.dumps({"ts": 1_767_323_045, "level": "INFO", "job_id": "j", "msg": "m", "event": event,
                                   "fields": fields}) + "\n")
    settle(root)
    assert synced(root).problems == []
    return Job.objects.get()


def sample(path: object, **more: object) -> tuple[str, dict[str, object]]:
    return "training.sample", {"sample_path": str(path), "step": 5, **more}


def test_absolute_and_relative_paths_below_the_root_are_found_and_served(root):
    path = "artifacts/jobs/j/images/step_00005.png"
    for said_as in (root / path, path, f"../{path}"):
        said(root, sample(said_as, sample_index=0))
        (one,) = Sample.objects.select_related("log_file__source", "job")
        assert (bytes(one.path), one.step, one.index, one.size, one.job.external_id) == (path.encode(), 5, 0, len(PNG), "j")
        assert isinstance(found := read(one), Media) and found.media_type == "image/png"


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.png", "../" * 40 + "etc/passwd", "..", "/", "a\0b", "\ud800"])
def test_what_lies_elsewhere_is_kept_as_said_and_not_served(root, path):
    said(root, sample(path))
    (one,) = Sample.objects.select_related("log_file__source")
    assert isinstance(read(one), Gone)
    assert one.said


def test_a_link_out_of_the_root_is_not_followed(root):
    (root / "out.png").symlink_to(root.parent / "secret.png")
    said(root, sample("out.png"))
    assert isinstance(read(Sample.objects.select_related("log_file__source").get()), Gone)


def test_a_log_that_calls_any_file_a_sample_gives_nothing_out(root):
    """What is no image is a raw file: it needs the permission for those."""
    (root / "x.png").write_text("<script>alert(1)</script>")
    said(root, sample("x.png"))
    assert isinstance(read(Sample.objects.select_related("log_file__source").get()), Gone)


def test_checkpoints_have_a_size_or_are_missing_and_a_finished_training_its_model(root):
    said(root, ("training.checkpoint", {"checkpoint_path": "artifacts/jobs/j/weights/a.safetensors", "step": 10}),
         ("training.checkpoint", {"checkpoint_path": "gone.safetensors", "step": 20}),
         ("training.complete", {"output_path": "/elsewhere/v1.safetensors"}))
    rows = Checkpoint.objects.order_by("id").values_list("kind", "step", "size", "missing", "path")
    assert [(kind, step, size, missing, bytes(path)[-4:]) for kind, step, size, missing, path in rows] == [
        ("checkpoint", 10, 5, False, b"sors"), ("checkpoint", 20, None, True, b"sors"), ("model", 20, None, False, b"")]


def test_reading_again_repeats_no_sample(root):
    said(root, sample("artifacts/jobs/j/images/step_00005.png"), sample("a.png"), sample("a.png", step=6))
    assert synced(root, full=True).problems == []
    assert sorted(Sample.objects.values_list("step", flat=True)) == [5, 6]
    assert Sample.objects.values("generation").distinct().count() == 1


def test_progress_events_name_samples_and_checkpoints_too(root):
    with (root / "logs" / "j.jsonl").open("a") as file:
        for step, said in enumerate([{"sample_path": "a.png"}] * 2 + [{"checkpoint_path": "b", "sample_path": "c.png"}]):
            record = {"job_id": "j", "status": "running", "step": step, "message": "m", "timestamp": 1_767_323_045}
            file.write(json.dumps({**record, **said}) + "\n")
    settle(root)
    synced(root)
    assert [(s.said, s.step) for s in Sample.objects.order_by("step")] == [("a.png", 0), ("c.png", 2)]
    assert Checkpoint.objects.get().said == "b"


def test_a_sample_on_the_page_of_its_run(root, ada):
    said(root, sample("artifacts/jobs/j/images/step_00005.png"))
    run, one = Run.objects.get(), Sample.objects.get()
    answer = signed_in(ada).get(f"/runs/{run.pk}/samples/{one.pk}/")
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "image/png", PNG)


def test_a_checkpoint_may_be_a_folder(root):
    """As Hugging Face saves them: there, without a size of its own, and nothing to download."""
    (root / "artifacts/jobs/j/checkpoint-500").mkdir()
    for _ in range(2):
        said(root, ("training.checkpoint", {"checkpoint_path": "../artifacts/jobs/j/checkpoint-500", "step": 500}))
        one = Checkpoint.objects.get()
        assert (bytes(one.path), one.size, one.missing) == (b"artifacts/jobs/j/checkpoint-500", None, False)


def test_a_checkpoint_that_is_a_folder_is_missing_while_it_is_removed(root):
    folder = root / "artifacts/jobs/j/checkpoint-500"
    folder.mkdir()
    job = said(root, ("training.checkpoint", {"checkpoint_path": str(folder), "step": 500}))
    for there in (False, True):
        before = Job.objects.get().version
        folder.mkdir() if there else folder.rmdir()
        synced(root)
        assert Checkpoint.objects.get(job=job).missing is not there
        assert Job.objects.get().version > before  # its page hears of it
