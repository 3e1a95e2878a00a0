"""Pushing: events in batches, for one trainer, counted once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils.timezone import now

from runs import pushed
from runs.models import ApiToken, AuditEntry, Job, Run, Source, Trainer
from runs.sync import sync
from tests.runs.api.conftest import EVENTS, FILES, Caller, batch, by_token, lines, problem, record, send
from tests.runs.conftest import signed_in
from tests.runs.factories import make_source

if TYPE_CHECKING:
    from pytest_django import Settings


def test_pushed_events_become_a_run_with_its_job_and_points(trainer: Caller, home: Path) -> None:
    answer = send(trainer, "POST", EVENTS, batch(*(record(n) for n in range(1, 6))))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 5, "rejected": 0, "errors": [], "cancel": []})
    source = Source.objects.get(pushed=True)
    assert (source.trainer.slug, source.root) == ("lora", str(home / "pushed/lora"))
    sync(source.pk, isolate="here")
    run = Run.objects.get()
    assert (run.name, run.dataset and run.dataset.name, run.step, run.point_count) == ("first", "data", 5, 5)
    assert Job.objects.get().external_id == "job-1"


def test_without_a_run_each_job_is_one(trainer: Caller) -> None:
    answer = send(trainer, "POST", EVENTS, {"events": [record(1, "a"), record(1, "b"), record(2, "a")]})
    assert answer.json()["accepted"] == 3
    sync(Source.objects.get().pk, isolate="here")
    assert sorted(Run.objects.values_list("name", flat=True)) == ["a", "b"]


def test_the_others_are_taken_where_records_are_wrong_and_each_error_names_the_way_out(trainer: Caller, home: Path) -> None:
    wrong = [record(2) | {"event_id": "a b"}, record(3) | {"ts": "yesterday"}, 7, record(1), record(4) | {"job_id": "a/../b"}]
    told = send(trainer, "POST", EVENTS, batch(record(1), *wrong, record(5))).json()
    assert (told["accepted"], told["rejected"]) == (2, 5)
    assert [(one["index"], one["field"]) for one in told["errors"]] == [
        (1, "event_id"), (2, "ts"), (3, ""), (4, "event_id"), (5, "job_id")]
    assert all(one["error"] and one["hint"] for one in told["errors"])
    assert [line["event_id"] for line in lines(home)] == ["job-1:1", "job-1:5"]


MALFORMED = [
    b"{", b"[]", b'{"events":', b'{"events": 5}', b'{"events": []}', b"{}", b'\xff\xfe', b"[" * 100_000,
    b'{"events": [1], "run": "../x"}', b'{"events": [1], "run": "/x"}', b'{"events": [1], "run": "a\\u0000b"}',
    b'{"events": [1], "run": ""}', b'{"events": [1], "run": ".."}', b'{"events": [1], "run": "a\\nb"}',
    b'{"events": [1], "run": "-rf/\\u202e"}', b'{"events": [1], "run": "\\ud800"}', b'{"events": [1], "trainer": "other"}',
    b'{"jobs": ["../x"]}', b'{"events": [' + b"1" * 5000 + b"]}", b'{"events": [' + b"1," * 1000 + b"1]}",
]  # fmt: skip


def test_a_malformed_batch_is_refused_as_a_whole(trainer: Caller, home: Path) -> None:
    for body in MALFORMED:
        answer = send(trainer, "POST", EVENTS, body)
        assert (answer.status_code, bool(answer.json()["detail"])) == (400, True), body[:80]
    assert not (home / "pushed").exists()


def test_a_batch_that_is_too_large_is_told_so(trainer: Caller) -> None:
    big = batch(*({**record(n), "msg": "x" * 250_000} for n in range(1, 10)))
    problem(send(trainer, "POST", EVENTS, big), 413, "too-large")
    told = send(trainer, "POST", EVENTS, batch(record(1) | {"msg": "x" * 300_000}, record(2))).json()
    assert (told["accepted"], told["errors"][0]["error"]) == (1, "It is larger than 256 KiB.")


def test_hostile_values_reach_the_disk_as_valid_lines_and_the_registry_as_text(trainer: Caller, home: Path) -> None:
    body = (b'{"run":"r","events":[{"event_id":"h:1","ts":"2026-11-25T18:00:00Z","level":"INFO","job_id":"h",'
            b'"msg":"\\u0000\\ud800 <script>","event":"training.step","fields":{"step":1,"loss":NaN,"lr":1e999,"n":-Infinity}}]}')
    assert send(trainer, "POST", EVENTS, body).json()["accepted"] == 1
    assert lines(home, "r")[0]["fields"]["lr"] == float("inf")
    sync(Source.objects.get().pk, isolate="here")
    assert Run.objects.get().point_count == 3
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"a": deep}
    assert "deeper" in send(trainer, "POST", EVENTS, batch(record(1, a=deep))).json()["errors"][0]["error"]


def test_secrets_do_not_reach_the_disk(trainer: Caller, home: Path) -> None:
    """P18."""
    planted = record(1, config={"api_key": "planted-key", "url": "https://me:planted-pass@host/"})
    send(trainer, "POST", EVENTS, batch(planted | {"msg": "token=planted-token"}))
    assert "planted" not in (home / "pushed/lora/data/first/pushed.jsonl").read_text()


def test_only_a_token_of_the_trainer_delivers(bob: User, ada: User, lora: Trainer, home: Path) -> None:
    for client in (by_token(bob, "read"), by_token(bob, "write"), by_token(ada, "write"), signed_in(bob)):
        assert send(client, "POST", EVENTS, batch(record(1))).status_code == 403
        assert client.get(f"{FILES}?path=a/b").status_code == 403
    problem(send(Caller("tmon_wrong"), "POST", EVENTS, batch(record(1))), 401, "authentication-failed")
    assert not home.exists()


def test_a_token_delivers_no_longer_than_its_user_may(trainer: Caller, bob: User) -> None:
    assert send(trainer, "POST", EVENTS, batch(record(1))).status_code == 202
    bob.groups.remove(Group.objects.get(name="team-lora"))
    problem(send(trainer, "POST", EVENTS, batch(record(2))), 403, "permission-denied")
    bob.groups.add(Group.objects.get(name="team-lora"))
    bob.groups.remove(Group.objects.get(name="operator"))
    problem(send(trainer, "POST", EVENTS, batch(record(2))), 403, "permission-denied")
    ApiToken.objects.all().delete()
    problem(send(trainer, "POST", EVENTS, batch(record(2))), 401, "authentication-failed")


def test_who_delivers_too_often_is_told_when_to_come_again(trainer: Caller, settings: Settings) -> None:
    settings.TRAINMON_INGEST_RATE, settings.TRAINMON_API_RATE = 2, [1, 1, 1]
    assert [send(trainer, "POST", EVENTS, batch(record(n))).status_code for n in (1, 2, 3)] == [202, 202, 429]
    assert int(send(trainer, "POST", EVENTS, batch(record(3)))["Retry-After"]) > 0


def test_a_line_that_a_crash_cut_off_is_taken_away_by_the_next(trainer: Caller, home: Path) -> None:
    """P2: nobody was told that it is here, so it comes again."""
    send(trainer, "POST", EVENTS, batch(record(1)))
    with (home / "pushed/lora/data/first/pushed.jsonl").open("ab") as file:
        file.write(b'{"event_id":"job-1:2","ts":' + b"x" * 70_000)
    send(trainer, "POST", EVENTS, batch(record(2)))
    assert [line["event_id"] for line in lines(home)] == ["job-1:1", "job-1:2"]


def test_many_writers_never_mix_their_lines(trainer: Caller, home: Path, lora: Trainer) -> None:
    source = pushed.source_of(lora)
    written = [json.dumps({"n": n, "x": "y" * (n % 500)}).encode() + b"\n" for n in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: pushed.append(source, [b"r"], [line, line]), written))
    assert sorted((home / "pushed/lora/r/pushed.jsonl").read_bytes().splitlines(keepends=True)) == sorted(written * 2)


def test_the_sources_of_two_trainers_never_share_a_folder(lora: Trainer, home: Path) -> None:
    first = pushed.source_of(lora)
    assert pushed.source_of(lora) == first
    Trainer.objects.filter(pk=lora.pk).update(slug="renamed")
    other = Trainer.objects.create(name="other", slug="lora")
    assert pushed.source_of(Trainer.objects.get(pk=lora.pk)) == first
    assert pushed.source_of(other).root == str(home / f"pushed/lora-{other.pk}")


def test_what_a_deleted_trainer_pushed_is_told_given_to_nobody_and_deleted_when_asked_for(
    trainer: Caller, lora: Trainer, ada: User, home: Path,
) -> None:
    send(trainer, "POST", EVENTS, batch(record()))
    root = Path(pushed.source_of(lora).root)
    page = f"/admin/runs/source/{pushed.source_of(lora).pk}/delete/"
    told = signed_in(ada).post(page, {"post": "yes"}, follow=True).content.decode()
    assert "manage.py pushed" in told and not Source.objects.exists() and list(root.iterdir())
    lora.delete()
    other = Trainer.objects.create(name="other", slug="lora")
    theirs = Path(pushed.source_of(other).root)
    assert theirs.name == f"lora-{other.pk}" and pushed.source_of(other).root == str(theirs)

    def said(*options: str) -> str:
        out = StringIO()
        call_command("pushed", *options, stdout=out)
        return out.getvalue()

    assert said().startswith("lora: 1 file, ")
    for name, way_out in ((theirs.name, "cleaned up"), ("../pushed", "cleaned up"), ("lora", "--yes")):
        with pytest.raises(CommandError, match=way_out):
            said("--delete", name)
    said("--delete", "lora", "--yes")
    assert not root.exists() and theirs.exists() and "All that was pushed" in said()
    assert AuditEntry.objects.get(action="delete pushed files").details["files"] == 1


def test_a_source_around_the_data_directory_is_told(trainer: Caller, lora: Trainer, home: Path) -> None:
    source = make_source(lora)
    Source.objects.filter(pk=source.pk).update(root=str(home.parent), real_root=str(home.parent))
    assert "contains" in problem(send(trainer, "POST", EVENTS, batch(record(1))), 409, "conflict")["detail"]


def test_a_trainer_hears_that_its_job_is_to_end_and_that_it_asked_is_written_down(trainer: Caller, lora: Trainer) -> None:
    send(trainer, "POST", EVENTS, batch(record(1)))
    sync(Source.objects.get().pk, isolate="here")
    job = Job.objects.get()
    assert job.asked is None
    assert send(trainer, "POST", EVENTS, batch(jobs=["job-1"])).json()["cancel"] == []
    asked = Job.objects.get()
    assert asked.asked is not None and asked.version == job.version + 1
    Job.objects.update(cancel_requested=now())
    assert send(trainer, "POST", EVENTS, batch(record(2), jobs=["job-9"])).json()["cancel"] == ["job-1"]
    send(trainer, "POST", EVENTS, batch(record(3, event="job.cancelled", step=3)))
    sync(Source.objects.get().pk, isolate="here")
    assert Job.objects.get().status == "killed"
    assert send(trainer, "POST", EVENTS, batch(jobs=["job-1"])).json()["cancel"] == []


def test_the_jobs_of_other_trainers_are_not_told_of(trainer: Caller) -> None:
    theirs = make_source(Trainer.objects.create(name="other", slug="other"))
    run = Run.objects.create(source=theirs, path=b"x", name="x")
    Job.objects.create(source=theirs, run=run, external_id="job-1", cancel_requested=now())
    assert send(trainer, "POST", EVENTS, batch(jobs=["job-1"])).json()["cancel"] == []
    assert Job.objects.get().asked is None


def test_the_schema_is_told_to_every_token(trainer: Caller, alice: User) -> None:
    for client in (trainer, by_token(alice, "read"), signed_in(alice)):
        answer = client.get("/api/ingest/schema/")
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/schema+json")
        assert set(answer.json()["properties"]) == {"run", "events", "jobs"}
    problem(trainer.get("/api/runs/"), 403, "insufficient-scope")


def test_a_batch_costs_few_queries(trainer: Caller, django_assert_max_num_queries: Any) -> None:
    send(trainer, "POST", EVENTS, batch(record(1)))
    assert connection.vendor == "postgresql"
    with django_assert_max_num_queries(12):
        send(trainer, "POST", EVENTS, batch(*(record(n) for n in range(2, 500))))
