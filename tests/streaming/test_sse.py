"""The stream of a job for scripts: named events, each stored one once, an end that is told, and nothing held while idle."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs import jobstate, signals
from runs.models import ApiToken, Event, Job, LogFile, Run, Trainer
from runs.readers.progress import TrainingProgressEvent
from streaming import hub, sse
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source
from tests.streaming.sites import Site, change, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("told")]


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="qwen")


@pytest.fixture
def job(run: Run) -> Job:
    return Job.objects.create(source=run.source, run=run, external_id="train-1", status="running", step=1, total_steps=10)


@pytest.fixture
def file(run: Run) -> LogFile:
    return make_file(run)


@pytest.fixture
def key(alice: User) -> str:
    return ApiToken.issue(alice, "script", "read")[1]


def advance(job: Job, file: LogFile | None = None, events: int = 0, **fields: Any) -> int:
    """Change a job as a follower does, with so many events; its version now."""
    with transaction.atomic():
        row = Job.objects.select_for_update().get(pk=job.pk)
        for name, value in fields.items():
            setattr(row, name, value)
        row.version += 1
        first = Event.objects.count()
        Event.objects.bulk_create(
            Event(run_id=row.run_id, job=row, log_file=file, generation=0, offset=first + at, level="INFO", kind="stage",
                  message=f"line {first + at}\nnext", version=row.version) for at in range(events))
        row.save()
        signals.tell(jobs={row.pk: row.version})
    return row.version


@contextmanager
def curl(site: Site, key: str, name: str | int = "train-1", *more: str, of: str = "jobs") -> Iterator[subprocess.Popen[str]]:
    command = ["curl", "-sNi", "-H", f"Authorization: Bearer {key}", *more, f"{site.url}/api/{of}/{name}/stream"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def messages(process: subprocess.Popen[str]) -> Iterator[tuple[str, str, Any]]:
    """Name, id and data of each message; the answer's head first."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        name, _, value = line.rstrip("\r\n").partition(": ")
        if name:
            found[name] = value
        elif "event" in found:
            yield found["event"], found.get("id", ""), json.loads(found["data"])
            found = {}


def test_curl_sees_the_state_each_event_and_the_end(bused: Site, job: Job, file: LogFile, key: str):
    with curl(bused, key) as process:
        told = messages(process)
        assert next(told) == ("connected", "", {"id": job.pk, "job_id": "train-1", "version": 0})
        name, number, state = next(told)
        assert (name, number, state["step"], state["steps_total"], state["progress_pct"]) == ("progress", "0", 1, 10, 10.0)
        version = advance(job, file, 2, step=5, loss=0.25)
        names = [next(told) for _ in range(3)]
        assert [one[0] for one in names] == ["event", "event", "progress"]
        assert names[0][2]["message"] == "line 0\nnext" and names[2][1] == str(version) and names[2][2]["loss"] == 0.25
        advance(job, file, 1, status="failed", error="out of memory", error_type="RuntimeError")
        assert next(told)[0] == "event"
        name, _, state = next(told)
        assert (name, state["error_type"], state["error"]) == ("failed", "RuntimeError", "out of memory")
        assert list(told) == [] and process.wait(20) == 0


def test_a_run_is_told_as_its_status_has_it_until_its_end(bused: Site, run: Run, key: str, alice: User):
    Run.objects.filter(pk=run.pk).update(status="running", step=1, total_steps=10)
    with curl(bused, key, run.pk, of="runs") as process:
        told = messages(process)
        assert next(told) == ("connected", "", {"id": run.pk, "name": "qwen", "version": run.version})
        name, number, state = next(told)
        assert (name, number, state["progress"]) == ("progress", str(run.version), 0.1)
        assert state == signed_in(alice).get(f"/api/runs/{run.pk}/status/").json()
        version = change(run, status="failed", status_reason="its log said so", step=7)
        name, number, state = next(told)
        assert (name, number, state["step"], state["status_reason"]) == ("failed", str(version), 7, "its log said so")
        assert list(told) == [] and process.wait(20) == 0
    with curl(bused, key, run.pk, "-H", f"Last-Event-ID: {version}", of="runs") as process:
        assert "204" in str(process.communicate(timeout=30)[0]).splitlines()[0]
    with curl(bused, key, run.pk, "-H", f"Last-Event-ID: {version - 1}", of="runs") as process:
        assert [one[0] for one in messages(process)] == ["connected", "failed"]


@pytest.mark.parametrize(("status", "name"), [("finished", "complete"), ("failed", "failed"), ("killed", "cancelled")])
def test_who_comes_after_the_end_is_told_it_at_once_and_who_knows_it_is_not_told_again(
    status: str, name: str, bused: Site, job: Job, key: str
):
    version = advance(job, status=status)
    with curl(bused, key, job.pk) as process:
        assert [one[0] for one in messages(process)] == ["connected", name]
    with curl(bused, key, job.pk, "-H", f"Last-Event-ID: {version}") as process:
        assert process.stdout is not None and process.stdout.readline().split()[1] == "204"


def test_a_job_that_may_not_be_seen_is_not_there_and_a_wrong_key_opens_nothing(bused: Site, job: Job, charlie: User, key: str):
    answers = []
    for secret in (ApiToken.issue(charlie, "script", "read")[1], key + "x"):
        with curl(bused, secret) as process:
            assert process.stdout is not None
            answers.append(process.stdout.readline().split()[1])
    assert answers == ["404", "401"]


def test_a_stream_ends_within_ten_seconds_of_its_token_or_permission(bused: Site, job: Job, alice: User, bob: User, key: str):
    other = ApiToken.issue(bob, "script", "read")[1]
    with curl(bused, key) as one, curl(bused, other) as two:
        for process in (one, two):
            assert next(messages(process))[0] == "connected"
        ApiToken.objects.filter(user=alice).delete()
        bob.groups.remove(bob.groups.get(name="team-lora"))
        for process in (one, two):
            process.wait(30)
    assert hub.RECHECK <= 5  # seconds between two looks; the limit above is that of a busy machine


def test_idle_streams_hold_no_connections_of_the_pool(bused: Site, job: Job, key: str):
    opened = [curl(bused, key) for _ in range(30)]
    processes = [one.__enter__() for one in opened]
    try:
        told = [messages(process) for process in processes]
        for each in told:
            assert [next(each)[0] for _ in range(2)] == ["connected", "progress"]
        for _ in range(12):  # the pool has ten connections, and thirty streams are open
            asked = Request(f"{bused.url}/api/me/", headers={"Authorization": f"Bearer {key}"})
            with urlopen(asked, timeout=30) as answer:
                assert answer.status == 200
        version = advance(job, step=7)
        assert {next(each)[1] for each in told} == {str(version)}
    finally:
        for one in opened:
            one.__exit__(None, None, None)


def test_a_thousand_changes_a_second_are_two_messages_a_second_and_the_last_step(bused: Site, job: Job, key: str):
    with curl(bused, key) as process:
        told = messages(process)
        next(told), next(told)
        begun = time.monotonic()
        steps: list[int] = []
        last = 0
        while time.monotonic() - begun < 3:
            last += 1
            advance(job, step=last, total_steps=10**6)
        while not steps or steps[-1] != last:
            steps.append(next(told)[2]["step"])
        assert len(steps) <= 2 * (time.monotonic() - begun) + 2


# Reconnecting


def read(answer: bytes) -> list[tuple[str, str, Any]]:
    """The whole messages of what was received; one that was cut off is none."""
    found = []
    for block in answer.split(b"\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(st.integers(0, 5), min_size=12, max_size=12), cuts=st.lists(st.floats(0, 1), min_size=11, max_size=11))
def test_every_event_arrives_once_whatever_the_disconnects(run: Run, commits: list[int], cuts: list[float]):
    job = Job.objects.create(source=run.source, run=run, external_id=f"train-{Job.objects.count()}-x", status="running")
    file = make_file(run)
    last, seen = "0", []
    for events, cut in zip(commits, [*cuts, 1.0], strict=True):
        advance(job, file, events)
        wire = told_now(job, sse.place(last))
        for name, number, data in read(wire[: round(cut * len(wire))]):
            last = number or last
            seen += [data["id"]] if name == "event" else []
    assert seen == list(Event.objects.filter(job=job).order_by("version", "pk").values_list("pk", flat=True))


def told_now(job: Job, seen: sse.Place | None) -> bytes:
    """What a stream sends of the present state."""
    row, events = sse.look(job.pk, seen)
    assert row is not None
    return b"".join([*sse.told(events), sse.standing(row)])


def test_every_event_arrives_once_over_real_disconnects(bused: Site, job: Job, file: LogFile, key: str):
    last, seen = "0", []
    cuts = random.Random(5)
    for round_ in range(6):
        advance(job, file, 4)
        with curl(bused, key, job.pk, "-H", f"Last-Event-ID: {last}") as process:
            told = messages(process)
            for _ in range(cuts.randint(1, 6) if round_ < 5 else 1000):
                name, number, data = next(told)
                last = number or last
                seen += [data["id"]] if name == "event" else []
                if name == "progress":
                    break
    assert seen == list(Event.objects.filter(job=job).order_by("version", "pk").values_list("pk", flat=True))
    assert len(seen) == 24


# What is told


def test_the_state_is_a_training_progress_event(job: Job):
    job.gpus = [{"index": 0, "utilization": 90.0, "memory_used": 10.5}, {"index": 1, "utilization": 80.0}]
    job.bars = {"dl": {"type": "download", "label": "model", "value": 50.0}}
    job.stage, job.loss, job.lr, job.speed, job.eta_seconds = "training", 0.0, 1e-9, -0.0, float("nan")
    job.last_event = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    said = jobstate.event(job)
    event = msgspec.convert(said, TrainingProgressEvent)
    assert (event.status, event.stage.value, event.loss, event.lr, event.eta_seconds) == ("running", "training", 0.0, 1e-9, None)
    assert isinstance(event.gpu, list) and len(event.gpu) == 2 and event.progress_bar is not None
    json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("fields", [
    {"status": "lost"}, {"status": "unknown", "stage": "warming up"}, {"status": "queued", "step": None},
    {"status": "killed", "step": -5, "total_steps": 0}, {"gpus": "none", "bars": [1]}, {"gpus": [1, {}], "bars": {"a": 1}},
    {"loss": float("inf"), "speed": 1e300}, {"step": 2**63 - 1, "total_steps": 1},
])  # fmt: skip
def test_odd_states_are_events_too(fields: dict[str, Any], job: Job):
    for name, value in fields.items():
        setattr(job, name, value)
    said = jobstate.event(job)
    msgspec.convert(said, TrainingProgressEvent)
    assert said["standing"] == job.status


@pytest.mark.soak
def test_a_stream_stays_open_while_nothing_happens(bused: Site, job: Job, key: str, tmp_path: Path):
    with curl(bused, key) as process:
        told = messages(process)
        assert [next(told)[0] for _ in range(3)] == ["connected", "progress", "keepalive"]
    until(lambda: process.poll() is not None)
