"""Images and sounds are served out of event files only where they are still what was read."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from PIL import Image
from tensorboardX import SummaryWriter

from runs import disk
from runs.models import LogFile, Sample, Source
from runs.readers import crc
from tests.runs.conftest import signed_in
from tests.runs.factories import make_full_run, make_source, make_trainer, make_user
from tests.runs.trees import media, picture, settle, sound, synced, tensors, write, write_values

HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.fixture
def client(db: None) -> Client:
    return signed_in(make_user("alice", "viewer"))


def read_in(root: Path, *values: object) -> Path:
    """A synced run with these values; returns its file."""
    path = write_values(root / "ds" / "run", *values)
    settle(root)
    synced(root)
    return path


def url(sample: Sample | None = None, query: str = "") -> str:
    sample = sample or Sample.objects.get()
    return f"/runs/{sample.run_id}/samples/{sample.pk}/{query}"


def stale(client: Client) -> str:
    """What is said instead of the one sample; it must be an answer, and no data."""
    answer = client.get(url())
    assert answer.status_code == 410
    assert answer["Content-Type"] == "image/svg+xml"
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    return answer.content.decode()


@pytest.mark.parametrize(("kind", "name"), [
    ("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp"),
])  # fmt: skip
def test_what_browsers_draw_is_served_as_it_was_written(client: Client, tmp_path: Path, kind: str, name: str):
    read_in(tmp_path, media("seen", picture(kind)))
    answer = client.get(url())
    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, name, picture(kind))
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Cache-Control"] == "private, no-cache"
    assert "Content-Disposition" not in answer


def test_an_image_of_tensorboardx_is_shown_on_the_page(client: Client, tmp_path: Path):
    with SummaryWriter(str(tmp_path / "ds" / "run")) as writer:
        writer.add_image("attention/0", np.zeros((3, 8, 8), np.uint8), 7)
    settle(tmp_path)
    synced(tmp_path)
    sample = Sample.objects.get()
    page = client.get(f"/runs/{sample.run_id}/samples/").content.decode()
    assert f'src="{url(sample)}" alt="attention/0 at step 7"' in page
    assert client.get(url(sample)).content.startswith(b"\x89PNG")


def test_a_record_of_several_images_serves_each(client: Client, tmp_path: Path):
    red, blue = picture(), picture(colour=(0, 0, 255))
    read_in(tmp_path, tensors("seen", "images", [b"8", b"8", red, blue], [4]))
    assert client.get(url()).content == client.get(url(query="?n=0")).content == red
    assert client.get(url(query="?n=1")).content == blue
    assert client.get(url())["X-Sample-Total"] == "2"
    assert client.get(url(query="?n=2")).status_code == 410
    for wrong in ("x", "-1", "9" * 9, "%00", "٣"):
        assert client.get(url(query=f"?n={wrong}")).status_code == 400


def test_two_tags_of_one_record_are_not_mixed_up(client: Client, tmp_path: Path):
    red, blue = picture(), picture(colour=(0, 0, 255))
    read_in(tmp_path, [media("a", red), media("b", blue)])
    served = {sample.tag: client.get(url(sample)).content for sample in Sample.objects.all()}
    assert served == {"a": red, "b": blue}


def test_sounds_are_served_as_wav(client: Client, tmp_path: Path):
    read_in(tmp_path, media("voice", sound(), "audio"),
            tensors("speech", "audio", [sound(), b"a label", sound(0.2), b"another"], [2, 2]))
    for sample, total in zip(Sample.objects.order_by("id"), ("1", "2"), strict=True):
        answer = client.get(url(sample))
        assert (answer["Content-Type"], answer["X-Sample-Total"], answer.content) == ("audio/wav", total, sound())


@pytest.mark.parametrize("data", [HTML, SVG, b"\x89PNG" + HTML, b"RIFF0000AVI " + HTML, b"GIF90a" + HTML, b"%PDF-1.7"])
def test_what_only_claims_to_be_an_image_is_a_download(client: Client, tmp_path: Path, data: bytes):
    """Attacks, 'Content': SVG and HTML samples."""
    read_in(tmp_path, media("seen", data))
    answer = client.get(url())
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    drawn = client.get(url(), headers={"Sec-Fetch-Dest": "image"})
    assert (drawn.status_code, drawn["Content-Type"]) == (200, "image/svg+xml")
    assert b"it is no PNG" in drawn.content and b"alert" not in drawn.content


def test_a_browser_that_has_it_is_told_so_without_the_disk(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    tag = client.get(url())["ETag"]
    path.unlink()
    again = client.get(url(), headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    signed_out = Client().get(url(), headers={"If-None-Match": tag})
    assert signed_out.status_code == 302


def test_a_file_that_has_grown_still_serves_what_was_in_it(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    with path.open("ab") as file:
        file.write(write_values(tmp_path / "aside", media("more", picture())).read_bytes())
    assert client.get(url()).content == picture()


def test_a_file_that_is_gone_leaves_a_placeholder(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    path.unlink()
    assert "gone from disk" in stale(client)
    write(tmp_path / "ds" / "other")
    synced(tmp_path)
    page = client.get(f"/runs/{Sample.objects.get().run_id}/samples/").content.decode()
    assert "Cannot be shown: its file is gone from disk" in page
    assert "<img loading" not in page


def test_a_truncated_file_leaves_a_placeholder(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    os.truncate(path, path.stat().st_size - 3)
    assert "its file has been replaced" in stale(client)


def test_a_file_replaced_by_another_leaves_a_placeholder(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    other = write_values(tmp_path.parent / "other", media("seen", picture(colour=(0, 0, 255))), step=2)
    os.replace(other, path)
    assert "its file has been replaced" in stale(client)


def test_a_record_changed_in_place_fails_its_checksum(client: Client, tmp_path: Path):
    """Head and tail are as they were; only the payload differs."""
    path = read_in(tmp_path, media("seen", picture() + bytes(500)), media("last", picture()))
    sample = Sample.objects.get(tag="seen")
    data = bytearray(path.read_bytes())
    data[sample.offset + sample.length - 300] ^= 1
    path.write_bytes(data)
    answer = client.get(url(sample))
    assert answer.status_code == 410
    assert b"checksum is wrong" in answer.content


@pytest.mark.parametrize(("offset", "length"), [(1, 100), (0, 2**62), (2**62, 100), (-5, 100), (0, 3), (24, 17)])
def test_a_reference_that_leads_elsewhere_serves_nothing(client: Client, tmp_path: Path, offset: int, length: int):
    read_in(tmp_path, media("seen", picture()))
    Sample.objects.update(offset=offset, length=length)
    assert client.get(url()).status_code == 410


def test_a_record_of_another_tag_serves_nothing(client: Client, tmp_path: Path):
    read_in(tmp_path, media("seen", picture()))
    Sample.objects.update(tag="other")
    assert "no such image" in stale(client)


@pytest.mark.parametrize("payload", [b"\xff" * 50, b"\x2a\x30" + b"\x0a\x02\x0a" * 16, b""])
def test_a_payload_that_is_no_event_serves_nothing(client: Client, tmp_path: Path, payload: bytes):
    """Attacks, 'Hostile data': framing and checksums are right, the message is not."""
    path = read_in(tmp_path, media("seen", picture()))
    sample = Sample.objects.get()
    record = crc.header(len(payload)) + payload + struct.pack("<I", crc.masked(payload))
    with path.open("ab") as file:
        file.write(record)
    Sample.objects.update(offset=path.stat().st_size - len(record), length=len(record))
    assert client.get(url(sample)).status_code == 410


def test_a_link_swapped_in_is_not_followed(client: Client, tmp_path: Path):
    """Attacks, 'Paths': the file, or a folder above it, becomes a link out of the root."""
    root, outside = tmp_path / "logs", tmp_path / "outside"
    path = read_in(root, media("seen", picture()))
    path.parent.rename(outside)
    path.parent.symlink_to(outside)
    assert "cannot be read" in stale(client)
    path.parent.unlink()
    path.parent.mkdir()
    path.symlink_to(outside / path.name)
    assert "cannot be read" in stale(client)


def test_a_fifo_in_its_place_blocks_nobody(client: Client, tmp_path: Path):
    path = read_in(tmp_path, media("seen", picture()))
    path.unlink()
    os.mkfifo(path)
    assert "cannot be read" in stale(client)


@pytest.mark.parametrize("path", [b"../../etc/passwd", b"/etc/passwd", b"a/../b", b"a\0b", b""])
def test_a_path_that_leaves_the_root_is_refused(client: Client, tmp_path: Path, path: bytes):
    read_in(tmp_path, media("seen", picture()))
    LogFile.objects.update(path=path)
    assert client.get(url()).status_code == 410


def test_a_large_record_is_not_read_into_memory(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runs.samples.LARGEST", 1000)
    read_in(tmp_path, media("seen", picture() + bytes(1000)))
    assert "larger than" in stale(client)


def test_a_generation_that_is_not_shown_serves_nothing(client: Client, tmp_path: Path):
    read_in(tmp_path, media("seen", picture()))
    Sample.objects.update(generation=5)
    assert "replaced" in stale(client)


def test_a_sample_is_reached_only_through_its_own_run(client: Client, tmp_path: Path):
    """Attacks, 'Access': another run's id in the path, and a trainer that is not ours."""
    read_in(tmp_path, media("seen", picture()))
    sample = Sample.objects.get()
    other = make_full_run(make_source(make_trainer("other")))
    assert client.get(f"/runs/{other.pk}/samples/{sample.pk}/").status_code == 404
    assert client.get(f"/runs/{sample.run_id}/samples/{2**70}/").status_code == 404
    hidden = make_trainer("hidden", "team-hidden")
    Source.objects.filter(pk=sample.run.source_id).update(trainer=hidden)
    assert client.get(url(sample)).status_code == 404
    assert client.post(url(sample)).status_code == 405


def test_a_disk_that_does_not_answer_is_a_503_and_not_a_hung_site(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read_in(tmp_path, media("seen", picture()))
    monkeypatch.setattr(disk, "TIMEOUT", 0.2)
    gate = threading.Event()
    for _ in range(disk.THREADS):
        disk._pool.submit(gate.wait)
    answer = client.get(url())
    gate.set()
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    monkeypatch.setattr(disk, "TIMEOUT", 10)
    assert client.get(url()).status_code == 200


def test_an_image_of_too_many_pixels_is_kept_and_not_drawn(client: Client, tmp_path: Path):
    bomb = io.BytesIO()
    Image.new("1", (8000, 8000)).save(bomb, "PNG")
    read_in(tmp_path, media("bomb", bomb.getvalue()))
    for told in ({"Sec-Fetch-Dest": "image"}, {"Accept": "image/avif,image/webp,*/*"}):
        shown = client.get(url(), headers=told)
        assert shown["Content-Type"] == "image/svg+xml"
        assert "it has 64 megapixels" in shown.content.decode()
    kept = client.get(url(), headers={"Sec-Fetch-Dest": "document"})
    assert kept.content == bomb.getvalue()
    assert kept["Content-Disposition"] == f'attachment; filename="sample-{Sample.objects.get().pk}.png"'
