"""The debug bundle: what went wrong in one zip, streamed, bounded, and without a secret."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path

import google_crc32c
import psutil
import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now
from tensorboard.compat.proto import event_pb2, summary_pb2

from runs import bundle, disk, samples
from runs.models import AuditEntry, Job, Sample
from runs.readers import crc
from tests.runs.conftest import signed_in
from tests.runs.factories import make_user
from tests.runs.test_access import body
from tests.runs.trees import WALL, job_log, media, picture, settle, synced, write_values
from trainmon.embedded.places import Places

pytestmark = pytest.mark.django_db
SECRETS = ("hf_PlantedTokenAbcDef123456", "planted-hunter2", "sk-proj-PlantedAbc123def456ghi",
           "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.plantedsig")
LINE = {"level": "INFO", "service": "web", "logger": "x", "message": "m", "correlation_id": "other"}


@pytest.fixture
def logs(tmp_path: Path, settings: object) -> Path:
    """Where our own logs lie."""
    settings.PLACES = Places(tmp_path / "home")
    settings.PLACES.logs.mkdir(parents=True)
    return settings.PLACES.logs


@pytest.fixture
def job(tmp_path: Path, logs: Path) -> Job:
    """A job that failed, with secrets wherever it could write one, and three images."""
    run = tmp_path / "root" / "ds" / "run"
    write_values(run, media("sample", picture()), media("other", picture("JPEG")), media("page", b"<html>"))
    config = {"hub": {"token": SECRETS[1]}, "lr": 0.1, "note": f"use {SECRETS[0]}"}
    job_log(run / "events.jsonl", "train-1", end=False, config=config)
    fields = {"error": f"no access with {SECRETS[2]}", "error_type": "HubError",
              "stack_trace": f"Traceback\n  Authorization: Bearer {SECRETS[3]}"}
    end = {"ts": "2026-01-02T04:00:00Z", "level": "ERROR", "job_id": "train-1", "correlation_id": "its-own",
           "msg": "Training failed", "event": "training.failed", "fields": fields}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(end) + "\n")
    settle(tmp_path / "root")
    synced(tmp_path / "root")
    job = Job.objects.select_related("run", "source__trainer").get()
    Job.objects.filter(pk=job.pk).update(correlation_id="its-own")
    job.correlation_id = "its-own"
    return job


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def opened(job: Job) -> dict[str, bytes]:
    """The members of its bundle, without the folder's name."""
    with zipfile.ZipFile(io.BytesIO(b"".join(bundle.pieces(job)))) as file:
        assert file.testzip() is None
        return {name.split("/", 1)[1]: file.read(name) for name in file.namelist()}


def told(logs: Path, name: str, *lines: dict[str, object]) -> None:
    with (logs / name).open("a") as file:
        file.writelines(json.dumps(LINE | {"timestamp": now().isoformat()} | line) + "\n" for line in lines)


def test_it_holds_what_one_needs(job: Job) -> None:
    members = opened(job)
    assert [name for name in members if not name.startswith("samples/")] == [
        "metadata.json", "environment.json", "service_logs/web.log", "service_logs/worker.log", "service_logs/follower.log",
        "events.jsonl", "README.txt"]
    pictures = {name: data for name, data in members.items() if name.startswith("samples/")}
    assert sorted(pictures.values()) == sorted([picture(), picture("JPEG")])
    assert {name.rpartition(".")[2] for name in pictures} == {"png", "jpg"}
    metadata, environment = json.loads(members["metadata.json"]), json.loads(members["environment.json"])
    assert (metadata["job_id"], metadata["job"]["status"], metadata["job"]["error_type"]) == ("train-1", "failed", "HubError")
    assert metadata["run"]["name"] == "run" and metadata["run"]["params"]["lr"] == 0.1
    assert environment["python_version"] and environment["mode"] == "local"
    assert len(members["events.jsonl"].splitlines()) == 12
    assert "page of step 1, no PNG, JPEG or WebP" in members["README.txt"].decode()


def test_no_member_holds_a_planted_secret(job: Job, logs: Path) -> None:
    """P18."""
    told(logs, "web.log", {"correlation_id": "its-own", "message": f"failed with password={SECRETS[1]}"})
    told(logs, "worker.log", {"correlation_id": "its-own", "context": {"api_key": SECRETS[1]}, "exception": f"in {SECRETS[0]}"})
    for name, data in opened(job).items():
        assert not [secret for secret in SECRETS if secret.encode() in data], name


def test_its_own_id_is_found_in_the_services_logs(job: Job, logs: Path) -> None:
    (logs / "archive/20260101_000000").mkdir(parents=True)
    told(logs, "archive/20260101_000000/web.log", {"correlation_id": "its-own", "message": "before a restart"})
    told(logs, "web.log.1", {"correlation_id": "its-own", "message": "first"})
    told(logs, "web.log", {"message": "not about it"}, {"correlation_id": "its-own", "message": "second"})
    lines = [json.loads(line) for line in opened(job)["service_logs/web.log"].splitlines()]
    assert [line["message"] for line in lines] == ["before a restart", "first", "second"]


def test_an_id_that_a_trainer_wrote_opens_no_lines_about_others(job: Job, logs: Path) -> None:
    """The follower's id stands in every bundle: written into a log, it gave out the roots and errors of all sources."""
    told(logs, "follower.log", {"correlation_id": "its-own", "message": "following source 9: /secret"})
    told(logs, "worker.log", {"correlation_id": "its-own", "context": {"source": 999_999}, "message": "/secret failed"})
    told(logs, "web.log", *({"correlation_id": "its-own", "context": {"path": path, "secret": 1}}
                            for path in ("/runs/999999/", "/api/jobs/999999/logs/", "/trainers/secret/")))
    assert [data for name, data in opened(job).items() if name.startswith("service_logs") and b"secret" in data] == []


def test_lines_about_its_run_count_in_its_time_and_name_nobody(job: Job, logs: Path) -> None:
    then = job.last_event.isoformat()
    about = {"context": {"path": f"/runs/{job.run_id}/", "client": "10.0.0.7"}, "timestamp": then}
    told(logs, "web.log", about, about | {"timestamp": now().isoformat()},
         {"context": {"path": f"/runs/{job.run_id}9/"}, "timestamp": then}, {"context": {"source": 999_999}, "timestamp": then})
    told(logs, "worker.log", {"context": {"source": job.source_id}, "timestamp": then})
    members = opened(job)
    (line,) = [json.loads(line) for line in members["service_logs/web.log"].splitlines()]
    assert line["context"] == {"path": f"/runs/{job.run_id}/"}
    assert len(members["service_logs/worker.log"].splitlines()) == 1


def test_the_last_thousand_lines_are_kept_and_rubbish_is_no_line(job: Job, logs: Path) -> None:
    told(logs, "web.log", *({"correlation_id": "its-own", "message": str(n)} for n in range(1500)))
    with (logs / "web.log").open("ab") as file:
        file.write(b"Traceback its-own \xff\n[1]\nnull\n" + b'{"correlation_id": "its-own", "timestamp": 7}\n' + b"[" * 100_000)
    lines = opened(job)["service_logs/web.log"].splitlines()
    assert len(lines) == 1000 and json.loads(lines[-2])["message"] == "1499"


def test_where_services_write_to_standard_output_it_says_so(job: Job) -> None:
    (line,) = opened(job)["service_logs/worker.log"].splitlines()
    assert "standard output" in json.loads(line)["message"]


@pytest.mark.parametrize(("said", "safe"), [
    ("train-1", "train-1"), ("../../etc/passwd", "etc-passwd"), ("a\\b:c\n", "a-b-c"), ("con", None), ("NUL.txt", None),
    ("..", None), ("٣", None), ("x" * 200, "x" * 80), ("-rf", "rf"), ("hf_PlantedTokenAbcDef123456", "hf_-REDACTED"),
])
def test_names_in_the_zip_lead_nowhere(job: Job, said: str, safe: str | None) -> None:
    job.external_id = said
    expected = safe or f"job-{job.pk}"
    assert bundle.name(job) == expected
    with zipfile.ZipFile(io.BytesIO(b"".join(bundle.pieces(job)))) as file:
        assert {name.split("/")[0] for name in file.namelist()} == {expected}
        assert all(".." not in name and "\\" not in name and not name.startswith("/") for name in file.namelist())


def test_what_does_not_fit_is_left_out_and_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LARGEST", 1)
    monkeypatch.setattr(bundle, "LONGEST_LOG", 1)
    members = opened(job)
    readme = members["README.txt"].decode()
    assert not [name for name in members if name.startswith("samples/")]
    assert "older ones, the bundle is limited" in readme and "events.jsonl ends after 0 bytes" in readme


def test_a_sample_that_is_gone_and_a_disk_that_hangs_are_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    Sample.objects.filter(tag="sample").update(generation=5)
    assert "sample of step 1, its file has been replaced" in opened(job)["README.txt"].decode()

    def hangs(*_: object) -> None:
        raise disk.Silent
    monkeypatch.setattr(samples, "read", hangs)
    assert "their disk does not answer" in opened(job)["README.txt"].decode()


def test_it_can_be_written_for_a_job_that_said_nothing(job: Job) -> None:
    bare = Job.objects.create(source=job.source, run=job.run, external_id="bare")
    members = opened(Job.objects.select_related("run", "source__trainer").get(pk=bare.pk))
    assert members["events.jsonl"] == b"" and not [name for name in members if name.startswith("samples/")]


def test_half_a_gigabyte_of_samples_does_not_lie_in_memory(job: Job, tmp_path: Path) -> None:
    """P20."""
    small = picture()
    big = event_pb2.Event(step=2, wall_time=WALL, summary=summary_pb2.Summary(
        value=[media("big", small[:-12] + chunk(b"IDAT", bytes(10 * 2**20)) + small[-12:])])).SerializeToString()
    framed = crc.header(len(big)) + big + crc.mask(google_crc32c.value(big)).to_bytes(4, "little")
    with (tmp_path / "root" / "ds" / "run" / "events.out.tfevents.1800000000.host").open("wb") as file:
        file.writelines([framed] * 50)
    settle(tmp_path / "root")
    synced(tmp_path / "root")
    assert Sample.objects.count() == 53
    process, sent, most = psutil.Process(), 0, 0
    before = process.memory_info().rss
    for piece in bundle.pieces(job):
        sent += len(piece)
        most = max(most, process.memory_info().rss)
    assert sent > 500 * 2**20 and most - before < 100 * 2**20, (sent, most - before)


# The command


def test_the_command_writes_the_same_and_leaves_a_trail(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in enumerate((["train-1"], [str(job.pk), "--show-error"])):
        target = tmp_path / f"{number}.zip"
        call_command("debug_bundle", *words, output=target)
        with zipfile.ZipFile(target) as file:
            assert sorted(name.split("/", 1)[1] for name in file.namelist()) == sorted(opened(job))
    said = capsys.readouterr().out
    assert "Training failed" in said and "HubError: no access with sk-" in said and SECRETS[2] not in said
    entry = AuditEntry.objects.filter(action="download debug bundle").latest("pk")
    assert (entry.who, entry.object_id) == ("trainmon", job.pk)


def test_the_command_names_the_file_by_the_job_and_overwrites_nothing(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call_command("debug_bundle", "train-1")
    assert zipfile.is_zipfile("train-1_debug.zip")
    with pytest.raises(CommandError, match="File exists"):
        call_command("debug_bundle", "train-1")
    assert [path.name for path in tmp_path.iterdir() if "debug" in path.name] == ["train-1_debug.zip"]


@pytest.mark.parametrize("said", ["nothing", "999999", "\0", "9" * 40, "\x1b[2J"])
def test_a_job_that_does_not_exist_ends_with_2(job: Job, said: str) -> None:
    with pytest.raises(CommandError) as error:
        call_command("debug_bundle", said)
    assert error.value.returncode == 2 and "\x1b" not in str(error.value)


def test_several_jobs_of_one_id_are_named(job: Job, tmp_path: Path) -> None:
    job_log(tmp_path / "root" / "ds" / "second" / "events.jsonl", "train-1")
    settle(tmp_path / "root")
    synced(tmp_path / "root")
    with pytest.raises(CommandError, match=f"{job.pk} .trainer t, run run."):
        call_command("debug_bundle", "train-1")


# The API


def test_whoever_sees_the_job_gets_it_and_the_audit_trail_says_so(job: Job) -> None:
    user = make_user("alice", "viewer")
    for path in (f"/api/jobs/{job.pk}/debug-bundle/", "/api/jobs/train-1/debug-bundle"):
        answer = signed_in(user).get(path)
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/zip")
        assert answer["Content-Disposition"] == 'attachment; filename="train-1_debug.zip"'
        with zipfile.ZipFile(io.BytesIO(body(answer))) as file:
            assert sorted(name.split("/", 1)[1] for name in file.namelist()) == sorted(opened(job))
    entries = AuditEntry.objects.filter(action="download debug bundle", object_id=job.pk)
    assert [entry.who for entry in entries] == ["alice", "alice"]


def test_a_stranger_gets_none_and_nothing_is_made_by_asking(job: Job, logs: Path) -> None:
    job.source.trainer.groups.add(Group.objects.create(name="others"))
    before = sorted(logs.parent.parent.rglob("*"))
    for name in (job.pk, "train-1", "nothing", "..%2f..%2fetc"):
        assert signed_in(make_user(f"c{name}"[:20], "viewer")).get(f"/api/jobs/{name}/debug-bundle/").status_code == 404
    assert Client().get(f"/api/jobs/{job.pk}/debug-bundle/").status_code == 401
    assert sorted(logs.parent.parent.rglob("*")) == before
    assert not AuditEntry.objects.filter(action="download debug bundle").exists()
