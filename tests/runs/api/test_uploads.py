"""Pushing: files in pieces, and what a name, a quota or a full disk does to whatever is pushed."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runs import pushed
from runs.models import Run, Source, Trainer
from runs.sync import sync
from tests.runs.api.conftest import EVENTS, FILES, Caller, batch, lines, problem, put, record, send

if TYPE_CHECKING:
    from pytest_django import Settings


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
