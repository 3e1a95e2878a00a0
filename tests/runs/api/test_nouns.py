from __future__ import annotations

import math
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from runs.models import AuditEntry, Event, Job, LogFile, Run, Source, Tag, TextSummary, Transition
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer


@pytest.fixture
def events(run: Run) -> list[Event]:
    """Seven lines of a log, one of them an error, and one of a generation that is not shown."""
    file, job = make_file(run), Job.objects.create(source=run.source, run=run, external_id="job-9")
    kinds = ["start", *["stage"] * 4, "error", "end"]
    rows = [Event(run=run, job=job, log_file=file, generation=0, offset=number, at=now(), kind=kind, message=f"line {number}",
                  level="error" if kind == "error" else "info", fields={"n": number}) for number, kind in enumerate(kinds)]
    Event.objects.create(run=run, log_file=file, generation=1, offset=0, level="info", kind="later")
    return Event.objects.bulk_create(rows)


def test_a_run_tells_all_that_is_known_of_it(run: Run, alice: User) -> None:
    told = by_token(alice, "read").get(f"/api/runs/{run.pk}/").json()
    assert (told["name"], told["trainer"], told["status"]) == ("first", {"slug": "lora", "name": "lora"}, "finished")
    assert (told["duration_seconds"], told["age"], told["page"]) == (3600.0, "fresh", f"/runs/{run.pk}/")
    assert told["started"].endswith("Z") and told["data_as_of"].endswith("Z")
    assert told["links"]["events"] == f"/api/runs/{run.pk}/events/"
    assert told["bookmark"] == {"bookmarked": False, "shared": False}


def test_every_link_of_a_run_leads_somewhere(run: Run, alice: User) -> None:
    client = by_token(alice, "read")
    links = client.get(f"/api/runs/{run.pk}/").json()["links"]
    assert {path: client.get(path).status_code for path in links.values()} == dict.fromkeys(links.values(), 200)


def test_a_path_that_is_not_utf_8_is_text_with_escapes(run: Run, alice: User) -> None:
    Run.objects.update(path=b"caf\xe9/run")
    assert by_token(alice).get(f"/api/runs/{run.pk}/").json()["path"] == "caf\\xe9/run"


def test_a_stranger_is_told_the_same_of_a_hidden_run_as_of_none(run: Run, charlie: User) -> None:
    client = by_token(charlie)
    parts = ["", "status/", "parameters/", "metrics/", "events/", "transitions/", "segments/", "files/", "texts/", "notes/",
             "tags/", "bookmark/", "notes/1/"]
    for part in parts:
        hidden, missing = client.get(f"/api/runs/{run.pk}/{part}"), client.get(f"/api/runs/999999/{part}")
        told = problem(hidden, 404, "not-found")
        own = {"instance": "", "correlation_id": ""}
        assert told | own == missing.json() | own


def test_a_run_in_the_trash_still_has_its_address(run: Run, alice: User) -> None:
    Run.objects.update(lifecycle_stage="buried")
    assert by_token(alice).get(f"/api/runs/{run.pk}/").json()["lifecycle_stage"] == "buried"


def test_the_status_says_how_a_run_stands_in_short(run: Run, alice: User, django_assert_num_queries: Any) -> None:
    Run.objects.update(status="running", step=50, total_steps=200, pulse={"steps": [[0, 0], [10, 50]]})
    client = by_token(alice, "read")
    client.get("/api/")
    with django_assert_num_queries(2):  # the token with its role, the run
        told = client.get(f"/api/runs/{run.pk}/status/").json()
    assert (told["status"], told["progress"], told["eta_seconds"]) == ("running", 0.25, 30.0)


def test_the_queries_of_a_run_are_few(run: Run, alice: User, django_assert_num_queries: Any) -> None:
    client = by_token(alice, "read")
    client.get("/api/")
    with django_assert_num_queries(3):  # the token with its role, the run, the bookmark
        client.get(f"/api/runs/{run.pk}/")


def test_a_run_that_did_not_change_is_not_sent_again(run: Run, bob: User) -> None:
    client, path = by_token(bob), f"/api/runs/{run.pk}/"
    etag = client.get(path)["ETag"]
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    send(client, "PUT", f"{path}bookmark/", {})
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200
    etag = client.get(path)["ETag"]
    send(client, "PATCH", path, {"pinned": True})
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_parameters_are_told_merged_and_by_where_they_were_found(run: Run, alice: User) -> None:
    Run.objects.update(params={"lr": 0.1, "opt": {"name": None}}, param_sources={"config.yml": {"lr": 0.1}})
    told = by_token(alice).get(f"/api/runs/{run.pk}/parameters/").json()
    assert told == {"parameters": {"lr": 0.1, "opt": {"name": None}}, "sources": {"config.yml": {"lr": 0.1}}}


def test_metrics_are_summed_up_exactly_nan_and_infinity_included(run: Run, alice: User) -> None:
    """P4."""
    make_points(run, "train/loss", [0.1, math.nan], steps=[1, 2**63 - 1])
    make_points(run, "grad", [1.0, math.inf])
    make_points(run, "low", [-math.inf])
    answer = by_token(alice).get(f"/api/runs/{run.pk}/metrics/")
    told = {row["tag"]: row for row in answer.json(parse_constant=pytest.fail)["results"]}
    assert [told[tag]["last"] for tag in ("train/loss", "grad", "low")] == ["NaN", "Infinity", "-Infinity"]
    assert (told["train/loss"]["last_step"], told["train/loss"]["minimum"], told["low"]["minimum"]) == (2**63 - 1, 0.1, None)


def test_metrics_come_by_name_and_by_prefix(run: Run, alice: User) -> None:
    for tag in ("eval/loss", "train/acc", "train/loss", "train_loss"):
        make_points(run, tag, [1.0])
    client = by_token(alice)
    rows = pages(client, f"/api/runs/{run.pk}/metrics/?limit=1&prefix=train/")
    assert [row["tag"] for row in rows] == ["train/acc", "train/loss"]


def test_events_are_told_in_pages_without_a_gap(run: Run, alice: User, events: list[Event]) -> None:
    client, path = by_token(alice), f"/api/runs/{run.pk}/events/?limit=3"
    assert [row["message"] for row in pages(client, path)] == [f"line {number}" for number in range(7)]
    assert client.get(path).json()["results"][0]["job"] == "job-9"


def test_pages_lead_back_as_they_led_forth(run: Run, alice: User, events: list[Event]) -> None:
    client = by_token(alice)
    first = client.get(f"/api/runs/{run.pk}/events/?limit=3&level=info&level=error").json()
    second = client.get(first["next"]).json()
    back = client.get(second["previous"]).json()
    assert (first["previous"], back["results"], back["previous"]) == (None, first["results"], None)
    assert client.get(back["next"]).json()["results"] == second["results"]


def test_events_are_chosen_by_level_and_kind(run: Run, alice: User, events: list[Event]) -> None:
    client, path = by_token(alice), f"/api/runs/{run.pk}/events/"
    assert [row["kind"] for row in client.get(path, {"level": "error"}).json()["results"]] == ["error"]
    assert [row["kind"] for row in client.get(path, {"kind": ["start", "end"]}).json()["results"]] == ["start", "end"]


@pytest.mark.parametrize("query, field", [
    ("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("after=-1", "after"), ("after=1e999", "after"),
    ("before=99999999999999999999", "before"), ("after=1&before=2", "request"), ("limit=", "limit"), ("limit=1&limit=2", "limit"),
    ("levle=error", "levle"), ("kind=%00", "kind.0"),
])
def test_a_wrong_question_is_told_by_its_parameter(run: Run, alice: User, query: str, field: str) -> None:
    answer = by_token(alice).get(f"/api/runs/{run.pk}/events/?{query}")
    assert field in problem(answer, 400, "invalid")["errors"]


def test_transitions_segments_files_and_texts_are_told(run: Run, alice: User) -> None:
    damage = {"offset": 9, "length": 3, "kind": "crc", "detail": ""}
    file = make_file(run, mtime_ns=1_700_000_000_500_000_000, bad_records=2, damages=[damage])
    make_points(run, "loss", [1.0], file=file)
    Transition.objects.create(run=run, old="running", new="unknown", reason="no end written", at=now())
    where = {"run": run, "log_file": file, "generation": 0, "part": 0, "offset": 1}
    TextSummary.objects.create(**where, tag="note", step=3, wall=math.nan, text="hi")
    client = by_token(alice)

    def first(part: str) -> Any:
        return client.get(f"/api/runs/{run.pk}/{part}/").json()["results"][0]

    assert (first("transitions")["new"], first("transitions")["reason"]) == ("unknown", "no end written")
    assert (first("segments")["file"], first("segments")["first_wall"]) == (file.pk, 1_700_000_000.0)
    assert (first("files")["damages"][0]["offset"], first("files")["modified"]) == (9, "2023-11-14T22:13:20.500000Z")
    assert (first("texts")["text"], first("texts")["wall"]) == ("hi", "NaN")


def test_a_file_from_beyond_the_calendar_breaks_nothing(run: Run, alice: User) -> None:
    make_file(run, mtime_ns=2**63 - 1)
    LogFile.objects.update(mtime_ns=-(2**63))
    assert by_token(alice).get(f"/api/runs/{run.pk}/files/").status_code == 200


def test_names_of_metrics_are_those_of_visible_runs(run: Run, alice: User, charlie: User) -> None:
    make_points(run, "secret/loss", [1.0])
    make_points(make_run(make_source(make_trainer("open"))), "loss", [1.0])
    Tag.objects.create(name="of nobody")
    assert [row["name"] for row in by_token(alice).get("/api/tags/").json()["results"]] == ["loss", "secret/loss"]
    assert [row["name"] for row in by_token(charlie).get("/api/tags/").json()["results"]] == ["loss"]
    assert by_token(alice).get("/api/tags/?prefix=sec").json()["results"] == [{"name": "secret/loss"}]


def test_trainers_are_told_with_their_runs(run: Run, alice: User, charlie: User, django_assert_num_queries: Any) -> None:
    make_run(run.source, status="running")
    make_run(run.source, lifecycle_stage="buried")
    client = by_token(alice)
    client.get("/api/")
    with django_assert_num_queries(2):  # the token with its role, the rows
        told = client.get("/api/trainers/").json()["results"]
    assert [(row["slug"], row["runs"], row["running"]) for row in told] == [("lora", 2, 1)]
    assert client.get("/api/trainers/lora/").json() == told[0]
    problem(by_token(charlie).get("/api/trainers/lora/"), 404, "not-found")


def test_sources_are_told_with_how_old_they_are(run: Run, alice: User, charlie: User) -> None:
    told = by_token(alice).get("/api/sources/").json()["results"]
    assert [(row["trainer"], row["status"], row["runs"], row["syncing"]) for row in told] == [("lora", "ok", 1, False)]
    assert by_token(alice).get(f"/api/sources/{run.source_id}/").json() == told[0]
    problem(by_token(charlie).get(f"/api/sources/{run.source_id}/"), 404, "not-found")


def test_an_operator_asks_for_a_sync_and_the_trail_says_so(run: Run, bob: User) -> None:
    """The task is really queued: with the broker of tests, in memory."""
    from trainmon.celery import app

    answer = send(by_token(bob), "POST", f"/api/sources/{run.source_id}/sync/")
    assert (answer.status_code, answer.json()["source"]) == (202, f"/api/sources/{run.source_id}/")
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_default_queue) as queue:
        asked = []
        while queue.qsize():
            message = queue.get_nowait()
            asked.append((message.headers["task"], message.payload[0]))
            message.ack()
    assert ("runs.tasks.sync_source", [run.source_id]) in asked
    assert AuditEntry.objects.get().action == "sync source"


def test_a_disabled_source_is_not_synced(run: Run, bob: User) -> None:
    Source.objects.update(enabled=False)
    problem(send(by_token(bob), "POST", f"/api/sources/{run.source_id}/sync/"), 409, "disabled")


def test_a_queue_that_does_not_answer_is_told_as_such(run: Run, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery.exceptions import OperationalError

    def down(*_: Any, **__: Any) -> None:
        raise OperationalError("redis://:secret@host")

    monkeypatch.setattr("runs.tasks.sync_source.apply_async", down)
    answer = send(by_token(bob), "POST", f"/api/sources/{run.source_id}/sync/")
    assert "secret" not in problem(answer, 503, "unavailable")["detail"] and answer["Retry-After"]
    assert not AuditEntry.objects.exists()


def pages(client: Client, path: str) -> list[Any]:
    """The rows of all pages."""
    rows, address = [], path
    while address:
        told = client.get(address).json()
        rows += told["results"]
        address = told["next"]
    return rows
