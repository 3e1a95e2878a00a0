"""Raw files: their own permission, an audit entry each, and nothing outside the root."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.db import close_old_connections, connection
from django.http import StreamingHttpResponse
from django.test import Client

from runs import raw, sending
from runs.models import AuditEntry, LogFile, Source, Trainer
from runs.sources import register
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer
from tests.runs.trees import settle, synced, write

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def path(lora: Trainer, tmp_path: Path) -> Path:
    """An event file of a run of the trainer lora."""
    path = write(tmp_path / "logs" / "ds" / "run")
    settle(tmp_path)
    register(f"lora={tmp_path / 'logs'}")
    synced(tmp_path / "logs", "lora")
    return path


@pytest.fixture
def client(bob: User) -> Client:
    return signed_in(bob)


def url() -> str:
    file = LogFile.objects.get()
    return f"/runs/{file.run_id}/files/{file.pk}/raw/"


def body(answer: StreamingHttpResponse) -> bytes:
    async def collected() -> bytes:
        return b"".join([piece async for piece in answer.streaming_content])

    return asyncio.run(collected())


def test_an_operator_gets_the_file_as_it_lies_on_disk(client: Client, path: Path) -> None:
    answer = client.get(url())
    assert body(answer) == path.read_bytes()
    assert answer["Content-Length"] == str(path.stat().st_size)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == f'attachment; filename="{path.name}"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, no-store"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_each_download_is_audited(client: Client, path: Path) -> None:
    """P18."""
    client.get(url(), REMOTE_ADDR="10.0.0.7")
    client.get(url(), headers={"Range": "bytes=5-9"})
    client.get(url())
    first, second, _ = AuditEntry.objects.order_by("id")
    assert (first.who, first.action, first.kind, first.address) == ("bob", "download raw", "logfile", "10.0.0.7")
    assert first.subject.endswith(path.name)
    assert (second.details["first"], second.details["bytes"]) == (5, 5)


def test_a_download_in_parts_is_one_entry_an_hour_for_each_who_and_where(
    client: Client, ada: User, path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P18: many parts do not flood the trail, and none hides behind another's entry."""
    for first in range(4):
        assert client.get(url(), headers={"Range": f"bytes={first}-{first}"}).status_code == 206
    entry = AuditEntry.objects.get()
    assert (entry.details["in_parts"], entry.details["size"]) == (True, path.stat().st_size)
    signed_in(ada).get(url(), headers={"Range": "bytes=1-2"})
    client.get(url(), headers={"Range": "bytes=1-2"}, REMOTE_ADDR="10.0.0.7")
    assert list(AuditEntry.objects.order_by("id").values_list("who", "address")) == [
        ("bob", "127.0.0.1"), ("ada", "127.0.0.1"), ("bob", "10.0.0.7")]
    monkeypatch.setattr(sending, "PARTS_FOR", timedelta(0))  # the hour is over
    client.get(url(), headers={"Range": "bytes=1-2"})
    assert AuditEntry.objects.count() == 4


def test_a_viewer_is_refused_unless_the_setting_allows_it(alice: User, path: Path, settings: Settings) -> None:
    """P18."""
    viewer, files = signed_in(alice), url().rsplit("/", 3)[0] + "/"
    assert viewer.get(url()).status_code == 403
    assert "download</a>" not in viewer.get(files).content.decode()
    assert not AuditEntry.objects.exists()
    settings.TRAINMON_VIEWERS_RAW = True
    assert body(viewer.get(url())) == path.read_bytes()
    assert "download</a>" in viewer.get(files).content.decode()
    assert AuditEntry.objects.get().who == "alice"


def test_the_page_says_that_raw_files_are_not_masked(client: Client, path: Path) -> None:
    """P18."""
    assert "nothing in it is masked" in client.get(url().rsplit("/", 3)[0] + "/").content.decode()


def test_strangers_and_the_anonymous_get_nothing(charlie: User, path: Path, settings: Settings) -> None:
    settings.TRAINMON_VIEWERS_RAW = True
    assert signed_in(charlie).get(url()).status_code == 404
    assert Client().get(url()).status_code == 302
    assert not AuditEntry.objects.exists()


def test_a_file_is_reached_only_through_its_own_run(client: Client, path: Path) -> None:
    """Attacks, 'Access'."""
    file, mine = LogFile.objects.get(), make_run(Source.objects.get())
    assert client.get(f"/runs/{mine.pk}/files/{file.pk}/raw/").status_code == 404
    hidden = make_run(make_source(make_trainer("router", "team-router")))
    LogFile.objects.filter(pk=file.pk).update(run=hidden, source=hidden.source)
    assert client.get(f"/runs/{hidden.pk}/files/{file.pk}/raw/").status_code == 404
    assert client.get(f"/runs/{mine.pk}/files/{file.pk}/raw/").status_code == 404
    assert client.get(f"/runs/{mine.pk}/files/{2**70}/raw/").status_code == 404


@pytest.mark.parametrize(("asked", "start", "stop"), [
    ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=100-", 100, None), ("bytes=-7", -7, None),
    ("bytes=5-999999999", 5, None),
])  # fmt: skip
def test_one_range_is_sent_as_asked(client: Client, path: Path, asked: str, start: int, stop: int | None) -> None:
    data = path.read_bytes()
    answer = client.get(url(), headers={"Range": asked})
    assert (answer.status_code, body(answer)) == (206, data[start:stop])
    first = start % len(data)
    assert answer["Content-Range"] == f"bytes {first}-{first + len(data[start:stop]) - 1}/{len(data)}"


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_416(client: Client, path: Path, asked: str) -> None:
    answer = client.get(url(), headers={"Range": asked})
    assert (answer.status_code, answer["Content-Range"]) == (416, f"bytes */{path.stat().st_size}")
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("asked", ["", "bytes=", "bytes=-", "bytes=9-3", "bytes=1-2,4-5", "lines=1-2", "bytes=٣-", "bytes=1e9-",
                                   "bytes=" + "9" * 40 + "-"])
def test_any_other_range_is_the_whole(client: Client, path: Path, asked: str) -> None:
    answer = client.get(url(), headers={"Range": asked.encode().decode("latin-1")})
    assert (answer.status_code, body(answer)) == (200, path.read_bytes())


def test_a_part_of_a_file_that_has_changed_meanwhile_is_the_whole(client: Client, path: Path) -> None:
    tag = client.head(url())["ETag"]
    again = {"Range": "bytes=5-9", "If-Range": tag}
    assert client.get(url(), headers=again).status_code == 206
    with path.open("ab") as file:
        file.write(b"more")
    answer = client.get(url(), headers=again)
    assert (answer.status_code, body(answer)) == (200, path.read_bytes())


def test_asking_for_its_size_sends_and_audits_nothing(client: Client, path: Path) -> None:
    answer = client.head(url())
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["Content-Length"] == str(path.stat().st_size)
    assert not AuditEntry.objects.exists()
    assert client.post(url()).status_code == 405


def test_a_large_file_is_read_in_small_pieces(client: Client, path: Path) -> None:
    """P20."""
    os.truncate(path, 50 * raw.PIECE + 1)
    answer = client.get(url())

    async def sizes() -> list[int]:
        return [len(piece) async for piece in answer.streaming_content]

    found = asyncio.run(sizes())
    assert (max(found), sum(found)) == (raw.PIECE, 50 * raw.PIECE + 1)


def test_a_file_that_shrinks_breaks_the_download_off(client: Client, path: Path) -> None:
    answer = client.get(url())
    os.truncate(path, 3)
    with pytest.raises(OSError, match="shorter"):
        body(answer)


def test_its_descriptor_is_closed_with_the_response(client: Client, path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    answers = [client.get(url(), headers={"Range": asked}) for asked in ("", "bytes=1-2", "bytes=999999999-")]
    answers.append(client.head(url()))
    assert len(os.listdir("/proc/self/fd")) > before
    request_finished.disconnect(close_old_connections)  # as the test client does: it would end the test's transaction
    for answer in answers:
        answer.close()
    request_finished.connect(close_old_connections)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("name", [b'a"b.tfevents', b"a\nb: c.tfevents", b"caf\xe9.tfevents", "Modèle ٣.tfevents".encode(),
                                  b"\\..\\x.tfevents", b"x" * 250, "\u202eexe.tfevents".encode()])
def test_any_file_name_makes_a_safe_header(client: Client, path: Path, name: bytes) -> None:
    file = LogFile.objects.get()
    os.rename(path, os.path.join(os.fsencode(path.parent), name))
    LogFile.objects.update(path=os.path.dirname(bytes(file.path)) + b"/" + name)
    answer = client.get(url())
    header = answer["Content-Disposition"]
    assert answer.status_code == 200
    assert header.startswith("attachment; filename")
    assert not {"\n", "\r", "\\", "/"} & set(header)
    assert header.isascii()


def test_links_and_what_is_no_file_are_not_read(client: Client, path: Path, tmp_path: Path) -> None:
    """Attacks, 'Paths'."""
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    path.unlink()
    for make in (lambda: path.symlink_to(secret), lambda: os.mkfifo(path), path.mkdir):
        make()
        answer = client.get(url())
        assert answer.status_code == 410
        assert b"no regular file any more" in answer.content
        path.rmdir() if path.is_dir() else path.unlink()
    assert client.get(url()).status_code == 410
    for outside in (b"../../secret", os.fsencode(secret), b"ds/../../secret", b"ds/run/x\0y"):
        LogFile.objects.update(path=outside)
        assert client.get(url()).status_code == 410
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_slow_reader_holds_no_connection_to_the_database(client: Client, path: Path) -> None:
    """The site has ten: ten downloads over a thin line must not stop it."""
    answer = client.get(url())
    assert answer.status_code == 200
    assert connection.connection is None
    assert AuditEntry.objects.get().action == "download raw"
    answer.close()
