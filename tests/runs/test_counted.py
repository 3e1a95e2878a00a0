"""An event_id counts once for its trainer, wherever it stands and however often it is read (P2)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from runs.models import EventId, Job, Run, Source, Trainer
from runs.reconcile.compare import compare
from runs.scan import Options, Synced
from runs.sync import sync
from tests.runs.factories import make_trainer
from tests.runs.processes import sync_in_background


def lines(first: int, last: int, prefix: str = "a", job: str = "job-1") -> str:
    """Steps of a job, an id each."""
    return "".join(
        json.dumps({"event_id": f"{prefix}:{n}", "ts": f"2026-11-25T18:{n // 60 % 60:02}:{n % 60:02}Z", "level": "DEBUG",
                    "job_id": job, "msg": "", "event": "training.step", "fields": {"step": n, "loss": float(n)}}) + "\n"
        for n in range(first, last))


@pytest.fixture
def trainer(transactional_db: None) -> Trainer:
    return make_trainer("lora")


def folder(trainer: Trainer, root: Path) -> Source:
    """A source of the trainer."""
    root.mkdir(parents=True)
    return Source.objects.create(trainer=trainer, root=str(root), real_root=str(root))


def read(source: Source, **options: bool) -> None:
    outcome = sync(source.pk, Options(**options), isolate="here")
    assert isinstance(outcome, Synced), outcome


def points() -> int:
    return sum(Run.objects.values_list("point_count", flat=True))


def test_what_is_sent_again_counts_once(trainer: Trainer, tmp_path: Path) -> None:
    source = folder(trainer, tmp_path / "logs")
    log = tmp_path / "logs/job.jsonl"
    log.write_text(lines(0, 100) + lines(50, 100))
    read(source)
    with log.open("a") as file:
        file.write(lines(90, 120))
    read(source)
    assert (points(), EventId.objects.count()) == (120, 120)


def test_what_is_pushed_and_in_a_volume_counts_once(trainer: Trainer, tmp_path: Path) -> None:
    volume, pushed = folder(trainer, tmp_path / "volume"), folder(trainer, tmp_path / "pushed")
    (tmp_path / "volume/job.jsonl").write_text(lines(0, 60))
    read(volume)
    (tmp_path / "pushed/job.jsonl").write_text(lines(0, 100))
    read(pushed)
    with (tmp_path / "volume/job.jsonl").open("a") as file:
        file.write(lines(60, 120))
    read(volume)
    assert sorted(Run.objects.values_list("point_count", flat=True)) == [40, 80]
    assert Job.objects.count() == 2


def test_reconciling_knows_what_is_a_repetition(trainer: Trainer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        source = folder(trainer, tmp_path / name)
        (tmp_path / f"{name}/job.jsonl").write_text(lines(0, 50) + lines(20, 70))
        read(source)
    for run in Run.objects.all():
        assert compare(run.pk).differences == []
    EventId.objects.filter(event_id="a:3").delete()
    assert compare(Run.objects.get(point_count=0).pk).differences != []


def test_two_files_that_are_read_together_count_once(trainer: Trainer, tmp_path: Path) -> None:
    source = folder(trainer, tmp_path / "logs")
    for name in ("one", "two", "three"):
        (tmp_path / f"logs/{name}.jsonl").write_text(lines(0, 100))
    read(source)
    assert (points(), EventId.objects.count()) == (100, 100)


def test_the_ids_of_another_trainer_are_others(trainer: Trainer, tmp_path: Path) -> None:
    for one in (trainer, make_trainer("router")):
        source = folder(one, tmp_path / one.slug)
        (tmp_path / one.slug / "job.jsonl").write_text(lines(0, 10))
        read(source)
    assert (points(), EventId.objects.count()) == (20, 20)


def test_reading_all_anew_changes_nothing(trainer: Trainer, tmp_path: Path) -> None:
    source = folder(trainer, tmp_path / "logs")
    log = tmp_path / "logs/job.jsonl"
    log.write_text(lines(0, 100) + lines(50, 100))
    for _ in range(3):
        read(source, full=True)
        assert points() == 100
    with log.open("a") as file:
        file.write(lines(90, 120))
    read(source)
    assert (points(), EventId.objects.count()) == (120, 120)


def test_a_file_that_was_written_anew_counts_its_own_again(trainer: Trainer, tmp_path: Path) -> None:
    source, other = folder(trainer, tmp_path / "logs"), folder(trainer, tmp_path / "other")
    log = tmp_path / "logs/job.jsonl"
    log.write_text(lines(0, 100))
    read(source)
    log.unlink()
    log.write_text(lines(20, 110) + lines(0, 5, "b") + lines(20, 30))
    read(source)
    assert points() == 95
    (tmp_path / "other/job.jsonl").write_text(lines(0, 110))  # 0 to 19 are nowhere any more
    read(other)
    assert points() == 95 + 20


def test_a_rotated_log_keeps_what_it_said(trainer: Trainer, tmp_path: Path) -> None:
    source = folder(trainer, tmp_path / "logs")
    run = tmp_path / "logs/run"
    run.mkdir()
    (run / "events.out.tfevents.1.host").write_bytes(b"")
    log = run / "log.jsonl"
    log.write_text(lines(0, 100))
    read(source)
    log.rename(run / "log-1.jsonl")
    log.write_text(lines(100, 130))
    read(source)
    read(source)
    assert (points(), EventId.objects.count()) == (130, 130)


def test_two_syncs_at_once_count_an_event_once(trainer: Trainer, tmp_path: Path) -> None:
    """Each reads its own source, with the same events in it."""
    for name in ("one", "two"):
        source = folder(trainer, tmp_path / name)
        for part in range(8):
            (tmp_path / name / f"{part}.jsonl").write_text(lines(part * 2000, part * 2000 + 2500))
    both = [sync_in_background("--source", str(pk), "--workers", "1") for pk in Source.objects.values_list("pk", flat=True)]
    for process in both:
        assert process.wait(100) == 0, process.stderr and process.stderr.read()
    for source in Source.objects.all():
        read(source)
    assert (points(), EventId.objects.count()) == (16_500, 16_500)


def test_a_sync_that_is_killed_counts_an_event_once(trainer: Trainer, tmp_path: Path) -> None:
    source = folder(trainer, tmp_path / "logs")
    for part in range(30):
        (tmp_path / f"logs/{part}.jsonl").write_text(lines(part * 500, part * 500 + 700))
    for pause in (0.9, 1.2, 1.5, 1.8):
        process = sync_in_background("--source", str(source.pk))
        time.sleep(pause)
        process.kill()
        process.wait()
    until = time.monotonic() + 30
    while not isinstance(sync(source.pk, isolate="here"), Synced) and time.monotonic() < until:
        time.sleep(0.2)
    assert (points(), EventId.objects.count()) == (15_200, 15_200)
