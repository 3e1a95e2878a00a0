"""Archives in S3, against a real server of its protocol on this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import s3fs
from django.core.management import call_command
from moto.server import ThreadedMotoServer

from retention import archive, destinations, remote
from retention.files import Refused
from retention.models import Archive, PlannedRun, Tombstone
from runs import redact
from runs.models import AuditEntry
from tests.retention.archives import pack
from tests.retention.oldruns import aged, content, run_at, source_at
from tests.retention.trees import plant

KEY, SECRET = "THEIRACCESSKEY012345", "their/secret+access=key/0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[ThreadedMotoServer]:
    found = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    host, port = found.get_host_and_port()
    told = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    redact.learn([*settings.SECRETS, KEY, SECRET])
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("bucket", exist_ok=True)
    yield found
    redact.learn(settings.SECRETS)
    found.stop()


def command(*words: str) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    said, code = io.StringIO(), 0
    try:
        call_command(*words, stdout=said, stderr=said)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, said.getvalue()


@pytest.mark.django_db
def test_a_run_goes_to_s3_and_comes_back_and_stays_while_s3_does_not_answer(server, tmp_path, settings, monkeypatch):
    settings.TRAINMON_ARCHIVE = "s3://bucket/logs"
    monkeypatch.setattr(remote, "PART", 5 * 2**20)  # the least that S3 takes: it goes in two
    run = run_at(source_at(tmp_path / "logs"), "ds/a", sizes=(6_000_000, 20))
    before = content(tmp_path / "logs/ds")
    assert command("cleanup", "--select", "all", "--yes", "--grace", "0d")[0] == 0
    row = Archive.objects.get()
    assert (row.state, row.destination) == ("verified", "s3://bucket/logs") and row.size > remote.PART
    assert command("archives", "verify")[0] == 0
    assert command("cleanup", "--purge")[0] == 0 and content(tmp_path / "logs/ds") == {}
    assert command("restore", str(run.pk))[0] == 0 and content(tmp_path / "logs/ds") == before
    aged(tmp_path / "logs/ds/a", 30)
    assert command("cleanup", "--select", "all", "--yes", "--grace", "0d")[0] == 0
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()
    code, said = command("cleanup", "--purge")
    assert code == 1 and "its archive is unreachable: s3://bucket/logs cannot be read now" in " ".join(said.split())
    assert set(Archive.objects.values_list("state", flat=True)) == {"verified"}
    rows = [*Archive.objects.values(), *Tombstone.objects.values(), *PlannedRun.objects.values(), *AuditEntry.objects.values()]
    assert not any(secret in repr(rows) + said for secret in (KEY, SECRET))


def test_in_s3_the_manifest_comes_last_and_without_it_there_is_no_archive(server, tmp_path):
    plant(tmp_path / "run", {"x": "1"})
    to, there = destinations.at("s3://bucket/others"), []
    written = pack(tmp_path, to, progress=lambda _: there.append(to.names()))
    assert not any(there) and to.names() == ["one"] and archive.verify(to, "one", written.manifest_sha256) == written
    s3fs.S3FileSystem().rm_file("bucket/others/one.manifest.json")
    assert to.names() == []
    assert archive.verify(to, "one") == archive.Broken("one", "there is no one.manifest.json in s3://bucket/others")
    s3fs.S3FileSystem().rm_file("bucket/others/one.tar.zst")
    assert isinstance(archive.verify(to, "one"), archive.Away)  # an empty or a wrong bucket says nothing
    assert isinstance(archive.verify(destinations.at("s3://no-such-bucket/logs"), "one"), archive.Away)


@pytest.mark.parametrize("url", [f"s3://{KEY}:{SECRET}@bucket/logs", "s3://key@bucket", "sftp://me:word@host/logs", "s3://b/l?key=s",
    "https://hf_abcdefghijklmnopqrstuvwxyzABCDEFGH@host/logs"])
def test_an_address_with_credentials_is_refused_without_telling_them(url):
    with pytest.raises(Refused, match="holds no credentials") as refused:
        destinations.at(url)
    assert SECRET not in str(refused.value) and "word" not in str(refused.value)
