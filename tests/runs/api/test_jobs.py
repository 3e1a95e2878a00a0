"""The API of jobs: found by our number or their id, logs, artifacts, summary, cancelling."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.utils.timezone import now

from runs.models import AuditEntry, Event, Job, Source
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.conftest import signed_in
from tests.runs.factories import make_checkpoint, make_file, make_full_job, make_job, make_run, make_sample, make_source
from tests.runs.trees import job_log, picture, settle, synced

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from runs.models import Trainer


@pytest.fixture
def source(lora: Trainer, tmp_path: Path) -> Source:
    return make_source(lora, root=str(tmp_path))


@pytest.fixture
def job(source: Source) -> Job:
    return make_full_job(make_run(source, status="running"), external_id="train-1")


def put(source: Source, path: str, data: bytes) -> None:
    file = Path(source.root) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def test_a_job_is_found_by_our_number_and_by_its_own_id(job: Job, alice: User) -> None:
    client = by_token(alice, "read")
    one, other = client.get(f"/api/jobs/{job.pk}/").json(), client.get("/api/jobs/train-1/").json()
    assert one == other
    assert (one["job_id"], one["status"], one["word"]) == ("train-1", "running", "running")
    assert (one["progress"], one["loss"]) == (0.4, 0.0512)
    assert len(one["gpus"]) == 2
    assert all(client.get(address).status_code == 200 for part, address in one["links"].items() if part != "cancel")


def test_several_jobs_of_one_id_are_a_conflict_that_names_them(source: Source, alice: User, charlie: User) -> None:
    jobs = [make_job(make_run(source), "same") for _ in range(2)]
    told = problem(by_token(alice).get("/api/jobs/same/"), 409, "several-jobs")
    assert all(str(one.pk) in told["detail"] for one in jobs)
    problem(by_token(charlie).get("/api/jobs/same/"), 404, "not-found")
    assert by_token(alice).get(f"/api/jobs/{jobs[0].pk}/summary/").json()["id"] == jobs[0].pk


def test_who_calls_a_job_by_a_number_shuts_no_address_of_the_job_with_that_number(job: Job, source: Source, bob: User) -> None:
    other = make_job(make_run(source), str(job.pk))
    client = by_token(bob)
    assert [client.get(f"/api/jobs/{one}/").json()["job_id"] for one in (job.pk, other.pk)] == ["train-1", str(job.pk)]
    told = problem(send(client, "POST", f"/api/jobs/{job.pk}/cancel/"), 409, "several-jobs")
    assert "page" in told["detail"] and Job.objects.filter(cancel_requested=None).count() == 2


@pytest.mark.parametrize("name", ["nobody", "999999", "9" * 30, "%00", "%ED%A0%80", "..", "x" * 3000, "-1"])
@pytest.mark.parametrize("part", ["", "logs/", "logs/view/", "artifacts/", "checkpoints/", "summary/"])
def test_an_unknown_job_is_not_found_and_nothing_is_made(source: Source, alice: User, name: str, part: str) -> None:
    """ISG-38: asking creates no file and no row (B49)."""
    before = list(os.walk(source.root))
    assert by_token(alice).get(f"/api/jobs/{name}/{part}").status_code in (400, 404)
    assert list(os.walk(source.root)) == before
    assert not Job.objects.exists()


def test_the_list_is_filtered_and_walked(source: Source, alice: User) -> None:
    run = make_run(source)
    for place in range(5):
        make_job(run, f"job-{place}", status="failed" if place % 2 else "killed", error_type="OOM" if place == 1 else "")
    client = by_token(alice, "read")
    assert len(client.get("/api/jobs/?status=cancelled").json()["results"]) == 3
    assert [one["job_id"] for one in client.get("/api/jobs/?error_type=OOM").json()["results"]] == ["job-1"]
    first = client.get("/api/jobs/?limit=3").json()
    second = client.get(first["next"]).json()
    assert [one["job_id"] for one in first["results"] + second["results"]] == [f"job-{n}" for n in (4, 3, 2, 1, 0)]
    assert client.get(second["previous"]).json()["results"] == first["results"]
    problem(client.get("/api/jobs/?state=x"), 400, "invalid")


def test_the_summary_counts_artifacts_and_names_the_first_error(job: Job, alice: User) -> None:
    """ISG-36."""
    make_sample(job)
    make_checkpoint(job)
    make_checkpoint(job, "final.safetensors", kind="model")
    where = {"run": job.run, "job": job, "log_file": make_file(job.run), "generation": 0, "level": "ERROR"}
    Event.objects.create(**where, offset=1, at=now(), kind="training.failed", message="later")
    Event.objects.create(**where, offset=2, at=job.started, kind="subprocess.stderr", message="CUDA")
    told = by_token(alice).get("/api/jobs/train-1/summary/").json()
    assert told["artifacts"] == {"samples": 1, "checkpoints": 1, "has_log": True, "has_model": True}
    assert (told["first_error"]["message"], told["first_error"]["event"]) == ("CUDA", "subprocess.stderr")
    assert (told["current_step"], told["total_steps"], told["progress"]) == (400, 1000, 0.4)


@pytest.fixture
def read(tmp_path: Path, lora: Trainer) -> Job:
    """A job whose log was read from disk: a start, steps, a warning, secrets, an end."""
    lines = tmp_path / "logs/jobs/job-7.jsonl"
    job_log(lines, "job-7", steps=300)
    with lines.open("a") as log:
        for level, event, said in (("WARN", "x.slow", "slow, token=abc123secret"), ("ERROR", "x.boom", "boom\nTraceback")):
            line = {"ts": "2025-12-30T11:00:00Z", "level": level, "job_id": "job-7", "msg": said, "event": event}
            log.write(json.dumps(line) + "\n")
    settle(tmp_path)
    synced(tmp_path, "lora")
    return Job.objects.get()


def test_a_log_is_downloaded_as_it_was_written_but_for_secrets(read: Job, alice: User, tmp_path: Path) -> None:
    """ISG-31."""
    answer = signed_in(alice).get("/api/jobs/job-7/logs/")
    assert answer["Content-Type"] == "application/x-ndjson"
    assert answer["Content-Disposition"] == 'attachment; filename="job-7.jsonl"'
    got = b"".join(answer).splitlines()
    written = (tmp_path / "logs/jobs/job-7.jsonl").read_bytes().splitlines()
    assert [one for one in got if b"slow" not in one] == [one for one in written if b"slow" not in one]
    assert b"abc123secret" not in b"".join(got)


def test_lines_are_filtered_before_the_page_is_cut(read: Job, alice: User) -> None:
    """ISG-32 (B43): an error at the end is found with a limit of one; the total counts what fits."""
    client = by_token(alice, "read")
    def view(question: str) -> dict[str, Any]:
        told: dict[str, Any] = client.get(f"/api/jobs/job-7/logs/view/?{question}").json()
        return told
    errors = view("level=ERROR&limit=1")
    assert (errors["total_lines"], errors["has_more"], errors["entries"][0]["message"]) == (1, False, "boom\nTraceback")
    assert view("level=warn")["entries"] == view("level=WARNING")["entries"]
    assert len(view("level=warn")["entries"]) == 1
    steps = view("event=training.step&limit=10&offset=295")
    assert (steps["total_lines"], len(steps["entries"]), steps["has_more"]) == (300, 5, False)
    assert view("search=SLOW")["total_lines"] == 1
    newest = view("tail=true&limit=2")
    assert [one["event"] for one in newest["entries"]] == ["x.boom", "x.slow"]
    assert newest["has_more"]


@pytest.mark.parametrize("question", ["limit=0", "limit=1001", "offset=-1", "limit=x", "level=" + "x" * 11, "stream=99999",
                                      "colour=red", "offset=" + "9" * 40, "search=%00"])  # fmt: skip
def test_a_wrong_question_for_lines_is_told(read: Job, alice: User, question: str) -> None:
    answer = by_token(alice).get(f"/api/jobs/job-7/logs/view/?{question}")
    assert answer.status_code == 400, answer.content


def test_a_job_without_a_log_has_no_lines(source: Source, alice: User) -> None:
    make_job(make_run(source), "mute")
    client = by_token(alice)
    told = client.get("/api/jobs/mute/logs/view/").json()
    assert (told["entries"], told["total_lines"], told["has_more"]) == ([], 0, False)
    assert b"".join(signed_in(alice).get("/api/jobs/mute/logs/")) == b""


def test_artifacts_are_listed_with_steps_sizes_and_addresses(job: Job, source: Source, alice: User) -> None:
    """ISG-33."""
    for step in (200, 100):
        make_sample(job, f"step_{step:05d}.png", step)
    make_checkpoint(job, "a.safetensors", step=100, size=5)
    make_checkpoint(job, "final.safetensors", kind="model", missing=True)
    client = by_token(alice, "read")
    told = client.get("/api/jobs/train-1/artifacts/").json()
    assert [(one["type"], one["name"], one["step"]) for one in told["artifacts"]] == [
        ("log", "train-1.jsonl", None), ("checkpoint", "a.safetensors", 100), ("model", "final.safetensors", 400),
        ("sample", "step_00100.png", 100), ("sample", "step_00200.png", 200)]
    assert told["total_count"] == 5
    assert told["artifacts"][2]["url"] is None
    part = client.get("/api/jobs/train-1/artifacts/?limit=2&offset=2").json()
    assert part["artifacts"] == told["artifacts"][2:4]
    assert len(client.get("/api/jobs/train-1/artifacts/?type=sample").json()["artifacts"]) == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_sample_is_served_by_name_and_number_and_in_ranges(job: Job, source: Source, alice: User, kind: str) -> None:
    """ISG-34, ISG-37."""
    data = picture(kind)
    sample = make_sample(job, f"it.{kind.lower()}")
    put(source, sample.said, data)
    client = by_token(alice, "read")
    for name in (f"it.{kind.lower()}", f"{sample.pk}-it.{kind.lower()}", str(sample.pk)):
        answer = client.get(f"/api/jobs/train-1/artifacts/samples/{name}/")
        assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, data, f"image/{kind.lower()}")
    part = client.get(f"/api/jobs/train-1/artifacts/samples/{sample.pk}/", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content, part["Content-Range"]) == (206, data[2:6], f"bytes 2-5/{len(data)}")
    assert "sandbox" in answer["Content-Security-Policy"]
    again = client.get(f"/api/jobs/train-1/artifacts/samples/{sample.pk}/", headers={"If-None-Match": answer["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("file", [
    "../secret", "..%2f..%2fetc%2fpasswd", "%2e%2e/x", "..%5csecret", "a/../b", "..", "%00", "x%0ay",
])  # fmt: skip
def test_a_path_is_no_name_of_a_sample_or_checkpoint(job: Job, alice: User, bob: User, file: str) -> None:
    """ISG-34: ../ is refused."""
    assert by_token(alice).get(f"/api/jobs/train-1/artifacts/samples/{file}/").status_code in (400, 404)
    assert by_token(bob).get(f"/api/jobs/train-1/checkpoints/{file}/download/").status_code in (400, 404)
    assert by_token(alice).get("/api/jobs/train-1/artifacts/samples/..%2fx/").status_code == 400


def test_a_log_cannot_make_samples_of_files_that_are_none(job: Job, source: Source, alice: User) -> None:
    """A viewer may not read raw files, whatever a log calls them."""
    put(source, "config.json", b'{"token": "planted"}')
    (Path(source.root) / "out.png").symlink_to("/etc/hostname")
    for path in ("config.json", "out.png", "", "gone.png"):
        sample = make_sample(job, "x.png", path=path.encode())
        answer = by_token(alice).get(f"/api/jobs/train-1/artifacts/samples/{sample.pk}/")
        assert (answer.status_code, b"planted" in answer.content) == (410, False), path


def test_checkpoints_are_downloaded_in_ranges_by_those_who_may_and_written_down(
    job: Job, source: Source, alice: User, bob: User,
) -> None:
    """ISG-37, P18."""
    checkpoint = make_checkpoint(job)
    put(source, checkpoint.said, b"0123456789")
    listed = by_token(alice, "read").get("/api/jobs/train-1/checkpoints/").json()
    url = listed["checkpoints"][0]["url"]
    problem(by_token(alice).get(url), 403, "permission-denied")
    part = by_token(bob, "read").get(url, headers={"Range": "bytes=3-6"})
    assert (part.status_code, part["Content-Range"]) == (206, "bytes 3-6/10")
    assert by_token(bob).get(url, headers={"Range": "bytes=99-"}).status_code == 416
    entry = AuditEntry.objects.get(action="download raw")
    assert (entry.who, entry.kind, entry.object_id, entry.details["bytes"]) == ("bob", "checkpoint", checkpoint.pk, 4)


def test_a_checkpoint_that_is_gone_or_lies_outside_is_told(job: Job, bob: User) -> None:
    gone, outside = make_checkpoint(job), make_checkpoint(job, "o.bin", path=b"")
    for one in (gone, outside):
        problem(by_token(bob).get(f"/api/jobs/train-1/checkpoints/{one.pk}/download/"), 410, "gone")


def test_cancelling_is_asked_once_and_refused_where_it_cannot_work(source: Source, alice: User, bob: User) -> None:
    """ISG-58."""
    listening = make_job(make_run(source), "listening", asked=now())
    make_job(make_run(source), "deaf")
    make_job(make_run(source), "over", status="finished", asked=now())
    client = by_token(bob)
    first = send(client, "POST", "/api/jobs/listening/cancel/")
    assert (first.status_code, first.json()["new"]) == (202, True)
    assert send(client, "POST", "/api/jobs/listening/cancel/").json()["new"] is False
    problem(send(client, "POST", "/api/jobs/deaf/cancel/"), 409, "unsupported")
    problem(send(client, "POST", "/api/jobs/over/cancel/"), 409, "ended")
    problem(send(by_token(alice), "POST", "/api/jobs/listening/cancel/"), 403, "permission-denied")
    assert Job.objects.get(pk=listening.pk).cancel_requested_by == bob


def test_strangers_find_nothing_of_a_job(job: Job, charlie: User) -> None:
    sample, checkpoint = make_sample(job), make_checkpoint(job)
    client = by_token(charlie)
    for part in ("", "summary/", "logs/", "logs/view/", "artifacts/", "checkpoints/", f"artifacts/samples/{sample.pk}/",
                 f"checkpoints/{checkpoint.pk}/download/"):  # fmt: skip
        assert client.get(f"/api/jobs/{job.pk}/{part}").status_code == 404, part
    assert client.get("/api/jobs/").json()["results"] == []


def test_addresses_below_a_job_need_no_last_slash(job: Job, source: Source, alice: User) -> None:
    """As the scripts of other systems call them."""
    sample = make_sample(job)
    put(source, sample.said, picture())
    client = by_token(alice, "read")
    for part in ("summary", "logs", "logs/view", "artifacts", "checkpoints", "artifacts/samples/step_00100.png"):
        assert client.get(f"/api/jobs/train-1/{part}").status_code == 200, part
