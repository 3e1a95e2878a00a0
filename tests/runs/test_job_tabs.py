"""The tabs of a job: its log, its samples, its checkpoints; and the log on the page of its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runs.models import Job, Source
from tests.runs.conftest import signed_in
from tests.runs.factories import make_checkpoint, make_full_job, make_job, make_run, make_sample, make_source
from tests.runs.trees import job_log, picture, settle, synced, write

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from runs.models import Trainer


@pytest.fixture
def source(lora: Trainer, tmp_path: Path) -> Source:
    return make_source(lora, root=str(tmp_path))


@pytest.fixture
def read(tmp_path: Path, lora: Trainer) -> Job:
    """A job of 700 steps, read from disk."""
    lines = tmp_path / "logs/jobs/job-7.jsonl"
    job_log(lines, "job-7", steps=700)
    with lines.open("a") as log:
        line = {"ts": "2025-12-30T11:00:01Z", "level": "ERROR", "job_id": "job-7", "event": "x.boom"}
        log.write(json.dumps({**line, "msg": "<b>boom</b>\nTraceback: line 3"}) + "\n")
    settle(tmp_path)
    synced(tmp_path, "lora")
    return Job.objects.get()


def test_the_log_shows_the_newest_lines_first_of_all(read: Job, alice: User) -> None:
    """B43: not the oldest 500 of a long log."""
    page = signed_in(alice).get(f"/jobs/{read.pk}/logs/").content.decode()
    assert "&lt;b&gt;boom&lt;/b&gt;" in page
    assert "Traceback: line 3" in page
    assert 'id="L1"' not in page
    assert f"{read.line_count:,} lines" in page


def test_without_scripts_one_walks_through_all_lines(read: Job, alice: User) -> None:
    client, seen, address = signed_in(alice), 0, f"/jobs/{read.pk}/logs/?offset=0"
    while address:
        answer = client.get(address)
        seen += len(answer.context["shown"].entries)
        newer = answer.context["shown"].newer
        address = f"/jobs/{read.pk}/logs/?offset={newer}" if newer else ""
    assert seen == read.line_count


def test_a_line_has_an_address(read: Job, alice: User) -> None:
    page = signed_in(alice).get(f"/jobs/{read.pk}/logs/?line=350").content.decode()
    assert 'target" id="L350"' in page
    assert 'href="?line=350#L350"' in page


def test_filters_of_the_log_stay_in_its_form(read: Job, alice: User) -> None:
    page = signed_in(alice).get(f"/jobs/{read.pk}/logs/?level=ERROR&search=BOOM&event=x.boom").content.decode()
    assert 'id="L' in page
    assert page.count('class="line ') == 1
    for said in ('value="BOOM"', 'value="x.boom"', "<option selected>ERROR", "1 line fits"):
        assert said in page, said
    nothing = signed_in(alice).get(f"/jobs/{read.pk}/logs/?search=nowhere").content.decode()
    assert "No line fits" in nothing


@pytest.mark.parametrize("question", ["offset=-1", "line=0", "stream=999999", "line=x", "search=%00", "level=" + "x" * 99])
def test_a_wrong_question_for_lines_is_told(read: Job, alice: User, question: str) -> None:
    answer = signed_in(alice).get(f"/jobs/{read.pk}/logs/?{question}")
    assert answer.status_code == 400
    assert "Show all lines" in answer.content.decode()


def test_a_job_that_wrote_nothing_says_what_will_be_there(source: Source, alice: User) -> None:
    job = make_job(make_run(source))
    client = signed_in(alice)
    for tab, said in (("logs", "No line yet"), ("samples", "No samples"), ("checkpoints", "No checkpoints")):
        assert said in client.get(f"/jobs/{job.pk}/{tab}/").content.decode()


def test_the_page_of_a_run_has_the_log_of_its_job(read: Job, alice: User, tmp_path: Path) -> None:
    client = signed_in(alice)
    page = client.get(f"/runs/{read.run_id}/logs/").content.decode()
    assert "&lt;b&gt;boom" in page
    assert f'href="/jobs/{read.pk}/"' in page
    other = make_job(read.run, "job-8", last_event=None)
    assert "No line yet" in client.get(f"/runs/{read.run_id}/logs/?job={other.pk}").content.decode()
    assert f'/jobs/?run={read.run_id}"' in client.get(f"/runs/{read.run_id}/").content.decode()


def test_a_run_without_jobs_has_no_tab_for_logs(source: Source, alice: User) -> None:
    run = make_run(source)
    assert f"/runs/{run.pk}/logs/" not in signed_in(alice).get(f"/runs/{run.pk}/").content.decode()
    assert "No job wrote a log" in signed_in(alice).get(f"/runs/{run.pk}/logs/").content.decode()


def test_samples_stand_in_the_order_of_steps_with_a_placeholder_for_what_is_gone(source: Source, alice: User) -> None:
    """ISG-49, 55, 60."""
    job = make_full_job(make_run(source))
    for step in (300, 100, 200):
        one = make_sample(job, f"step_{step:05d}.png", step)
        Path(source.root, one.said).parent.mkdir(parents=True, exist_ok=True)
        Path(source.root, one.said).write_bytes(picture())
    outside = make_sample(job, "far.png", 400, path=b"")
    client = signed_in(alice)
    page = client.get(f"/jobs/{job.pk}/samples/").content.decode()
    assert [page.index(f"<b>step {step}</b>") for step in (100, 200, 300, 400)] == sorted(
        page.index(f"<b>step {step}</b>") for step in (400, 300, 200, 100))
    assert "Cannot be shown: it lies outside" in page
    assert client.get(f"/runs/{job.run_id}/samples/{outside.pk}/").status_code == 410
    Path(source.root, one.said).unlink()
    drawn = client.get(f"/runs/{job.run_id}/samples/{one.pk}/", headers={"Accept": "image/png"})
    assert (drawn.status_code, drawn["Content-Type"]) == (410, "image/svg+xml")


def test_checkpoints_are_offered_to_those_who_may_download_them(source: Source, alice: User, bob: User) -> None:
    job = make_full_job(make_run(source))
    make_checkpoint(job, "good.safetensors")
    make_checkpoint(job, "lost.safetensors", missing=True)
    client = signed_in(bob)
    page = client.get(f"/jobs/{job.pk}/checkpoints/").content.decode()
    assert page.count("/download/") == 1
    assert "gone from disk" in page
    assert "/download/" not in signed_in(alice).get(f"/jobs/{job.pk}/checkpoints/").content.decode()


def test_a_run_of_event_files_alone_needs_no_job(tmp_path: Path, lora: Trainer, alice: User) -> None:
    write(tmp_path / "ds/run")
    settle(tmp_path)
    synced(tmp_path, "lora")
    assert not Job.objects.exists()
    assert "No job yet" in signed_in(alice).get("/jobs/").content.decode()
