"""Pushing: events in batches and files in pieces, for one trainer, counted once."""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from runs.roles import fill_roles
from runs.sync import sync
from tests.runs.api.conftest import Caller, by_token, problem, send
from tests.runs.conftest import signed_in
from tests.runs.factories import make_source

if TYPE_CHECKING:
    from pytest_django import Settings

EVENTS, FILES = "/api/ingest/events/", "/api/ingest/files/"


@pytest.fixture(autouse=True)
def home(db: None, settings: Settings, tmp_path: Path) -> Path:
    """A data directory of the test's own."""
    settings.HOME, settings.TRAINMON_PUSH_FREE = tmp_path / "home", 1
    pushed._sums.clear()
    fill_roles()
    return settings.HOME


@pytest.fixture
def trainer(bob: User, lora: Trainer) -> Caller:
    """A machine that delivers for lora."""
    return by_token(bob, "ingest", lora)


def record(number: int = 1, job: str = "job-1", event: str = "training.step", **fields: Any) -> dict[str, Any]:
    """A line of a job's log."""
    fields = fields or {"step": number, "total_steps": 100, "loss": 1 / number}
    return {"event_id": f"{job}:{number}", "ts": f"2026-11-25T18:00:{number % 60:02}.000Z", "level": "INFO",
            "job_id": job, "msg": f"Step {number}", "event": event, "fields": fields}


def batch(*records: Any, run: str = "data/first", **more: Any) -> dict[str, Any]:
    return {"run": run, "events": list(records), **more}


def lines(home: Path, run: str = "data/first") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "pushed/lora" / run / "pushed.jsonl").read_text().splitlines()]


def put(client: Caller, data: bytes, path: str = "data/first/events.out.tfevents.1.host", **query: Any) -> Any:
    where = "&".join(f"{name}={value}" for name, value in {"path": path, "offset": 0, **query}.items())
    return client.put(f"{FILES}?{where}", data, content_type="application/octet-stream")


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


def test_a_file_arrives_in_pieces_and_goes_on_where_it_was_broken_off(trainer: Caller, home: Path) -> None:
    whole = os.urandom(300_000)
    assert trainer.get(f"{FILES}?path=data/first/events.out.tfevents.1.host").json() == {"offset": 0, "tail": ""}
    assert put(trainer, whole[:100_000]).json() == {"offset": 100_000}
    assert put(trainer, whole[:100_000]).json() == {"offset": 100_000}  # the answer was lost: once more
    wrong = put(trainer, whole[200_000:], offset=200_000)
    problem(wrong, 409, "wrong-offset")
    assert wrong["Upload-Offset"] == "100000"
    head = trainer.head(f"{FILES}?path=data/first/events.out.tfevents.1.host")
    assert (head["Upload-Offset"], head["Upload-Tail"]) == ("100000", hashlib.sha256(whole[34_464:100_000]).hexdigest())
    done = put(trainer, whole[100_000:], offset=100_000, sha256=hashlib.sha256(whole).hexdigest())
    assert done.json() == {"offset": 300_000}
    assert (home / "pushed/lora/data/first/events.out.tfevents.1.host").read_bytes() == whole


def test_where_no_file_is_asking_and_a_piece_that_cannot_join_make_none(trainer: Caller, home: Path) -> None:
    wrong = put(trainer, b"x", offset=7, path="data/other/file")
    problem(wrong, 409, "wrong-offset")
    assert wrong["Upload-Offset"] == "0" and not (home / "pushed/lora/data/other").exists()
    put(trainer, b"x", path="data/first/file")
    problem(trainer.get(f"{FILES}?path=data/first"), 409, "conflict")


def test_hashing_whole_files_takes_neither_all_threads_nor_a_connection(
    trainer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 empty pieces that asked for the hash of 2 GB, and the whole site answered 503 for forty seconds."""
    from runs import uploads
    from runs.api import ingest

    released: list[bool] = []
    monkeypatch.setattr(ingest, "let_go", lambda: released.append(True))
    put(trainer, b"data", path="a/b")
    assert released == [True]
    monkeypatch.setattr(uploads, "HASH_WAIT", 0.01)
    with uploads._hashing, uploads._hashing:
        problem(put(trainer, b"", offset=4, path="a/b", sha256="0" * 64), 503, "unavailable")
    assert put(trainer, b"", offset=4, path="a/b", sha256=hashlib.sha256(b"data").hexdigest()).status_code == 200


def test_a_file_that_is_another_one_by_now_is_sent_anew(trainer: Caller, home: Path) -> None:
    put(trainer, b"old content")
    problem(put(trainer, b"", offset=11, sha256="0" * 64), 422, "other-content")
    problem(put(trainer, b"new"), 409, "wrong-offset")
    assert put(trainer, b"new", anew="true").json() == {"offset": 3}
    assert [path.name for path in (home / "pushed/lora/data/first").iterdir()] == ["events.out.tfevents.1.host"]


OUTSIDE = [
    "", "file", "../file", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a/.hidden", "a%5Cb/c", "a%00b/c", "a%0Ab/c", "a/b%7F",
    "a/pushed.jsonl", "a/pushed.jsonl/b",
    "a/%E2%80%AEb", "a/" + "x" * 201, "/".join("abcdefghi"), "a/" + "%C3%A9" * 101, " a/b", "a/%ED%A0%80",
]  # fmt: skip


def test_no_name_leads_out_of_the_trainers_folder(trainer: Caller, home: Path) -> None:
    for path in OUTSIDE:
        assert (put(trainer, b"x", path=path).status_code, path) == (400, path)
    assert send(trainer, "POST", EVENTS, batch(record(), run="data/pushed.jsonl")).status_code == 400
    assert not (home / "pushed").exists()


def test_a_link_in_the_folder_is_not_followed(trainer: Caller, home: Path, tmp_path: Path, lora: Trainer) -> None:
    root = Path(pushed.source_of(lora).root)
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "run").mkdir()
    (root / "run/file").symlink_to(tmp_path / "outside/file")
    os.mkfifo(root / "run/fifo")
    for path in ("link/file", "run/file", "run/fifo", "run/fifo/file"):
        problem(put(trainer, b"x", path=path), 409, "conflict")
    problem(put(trainer, b"x", path="run/fifo", anew="perhaps"), 400, "invalid")
    assert list((tmp_path / "outside").iterdir()) == []
    problem(send(trainer, "POST", EVENTS, batch(record(1), run="link")), 409, "conflict")


def test_a_piece_that_is_too_large_is_told_so(trainer: Caller, home: Path) -> None:
    problem(put(trainer, b"x" * (8 * 1024**2 + 1)), 413, "too-large")
    assert put(trainer, b"x" * 8 * 1024**2).json() == {"offset": 8 * 1024**2}


def test_beyond_its_quota_a_trainer_keeps_what_it_has(trainer: Caller, settings: Settings, lora: Trainer) -> None:
    settings.TRAINMON_PUSH_QUOTA = 1
    with (Path(pushed.source_of(lora).root) / "big").open("wb") as big:
        big.truncate(1024**3 - 10)
    answer = put(trainer, b"x" * 11)
    assert "quota of 1 GiB" in problem(answer, 507, "no-room")["detail"] and answer["Retry-After"]
    problem(send(trainer, "POST", EVENTS, batch(record(1))), 507, "no-room")
    assert put(trainer, b"x" * 10).status_code == 200


def test_files_beyond_the_most_are_refused_at_once(trainer: Caller, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files were counted once a minute only: a batch makes a thousand."""
    monkeypatch.setattr(pushed, "MAX_FILES", 3)
    said = batch(*(record(1, f"job-{n}") for n in range(5)))
    del said["run"]
    problem(send(trainer, "POST", EVENTS, said), 507, "no-room")
    problem(put(trainer, b"x", path="a/b"), 507, "no-room")
    assert len(list((home / "pushed").rglob("*.jsonl"))) == 3


def test_pushing_leaves_room_on_the_disk_for_the_database(trainer: Caller, settings: Settings) -> None:
    settings.TRAINMON_PUSH_FREE = 2**40
    problem(send(trainer, "POST", EVENTS, batch(record(1))), 507, "no-room")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let a file grow further, in the middle of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_in_the_middle_of_a_batch_loses_nothing(trainer: Caller, home: Path) -> None:
    """P2: the lines that fitted stay, come again, and count once."""
    first, second = (batch(*(record(n) for n in range(at, at + 500))) for at in (1, 501))
    assert send(trainer, "POST", EVENTS, first).status_code == 202
    size = (home / "pushed/lora/data/first/pushed.jsonl").stat().st_size
    with files_of_at_most(size + 20_050):
        problem(send(trainer, "POST", EVENTS, second), 507, "no-room")
    assert 500 < len(lines(home)) < 1000
    sync(Source.objects.get().pk, isolate="here")
    assert send(trainer, "POST", EVENTS, second).status_code == 202
    sync(Source.objects.get().pk, isolate="here")
    assert Run.objects.get().point_count == 1000


def test_a_disk_that_is_full_in_the_middle_of_a_piece_tells_how_far_it_came(trainer: Caller, home: Path) -> None:
    whole = os.urandom(100_000)
    with files_of_at_most(60_000):
        problem(put(trainer, whole), 507, "no-room")
    at = trainer.get(f"{FILES}?path=data/first/events.out.tfevents.1.host").json()["offset"]
    assert at == 60_000
    assert put(trainer, whole[at:], offset=at, sha256=hashlib.sha256(whole).hexdigest()).json() == {"offset": 100_000}
    with files_of_at_most(1000):
        problem(put(trainer, whole[:2000], anew="true"), 507, "no-room")
    assert [path.read_bytes() for path in (home / "pushed/lora/data/first").iterdir()] == [whole]


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
