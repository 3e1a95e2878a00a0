"""A file whose run is judged otherwise by a later scan is read where it belongs now."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter

from runs.models import LogFile, Run, Series, Source
from runs.moved import take_away
from runs.register import _known_files
from runs.scan import Options, Synced
from runs.sources import register
from runs.sync import sync
from tests.runs.trees import write as make

pytestmark = pytest.mark.django_db


def write(folder: Path, tag: str, count: int = 3) -> None:
    with SummaryWriter(str(folder)) as writer:
        for step in range(count):
            writer.add_scalar(tag, step * 0.5, step)


def names() -> list[tuple[str, int]]:
    return sorted(Run.objects.values_list("name", "point_count"))


def synced(root: Path) -> Synced:
    outcome = sync(register(f"t={root}").pk, Options(), isolate="here")
    assert isinstance(outcome, Synced), outcome
    return outcome


def test_a_train_folder_that_gets_a_sibling_becomes_a_run_with_its_own_tags(tmp_path):
    write(tmp_path / "exp" / "train", "loss")
    synced(tmp_path)
    assert list(Series.objects.values_list("tag__name", flat=True)) == ["train/loss"]
    write(tmp_path / "exp" / "other", "loss", 5)
    synced(tmp_path)
    assert names() == [("other", 5), ("train", 3)]
    assert set(Series.objects.values_list("tag__name", flat=True)) == {"loss"}


def test_a_run_that_turns_out_to_be_a_part_is_counted_once(tmp_path):
    write(tmp_path / "run", "acc")
    write(tmp_path / "run" / "loss_a", "loss")
    child = next((tmp_path / "run" / "loss_a").iterdir())
    content = child.read_bytes()
    child.write_bytes(content[:40])
    os.utime(child, (time.time() - 7200,) * 2)
    synced(tmp_path)
    assert {path for path, in Run.objects.values_list("name")} == {"run", "loss_a"}
    child.write_bytes(content)
    synced(tmp_path)
    assert names() == [("run", 6)]
    assert LogFile.objects.count() == 2


def test_a_file_renamed_to_a_name_that_is_free_again_moves_and_fails_no_source(tmp_path):
    first, second = (make(tmp_path / "run", ("loss",), 50, start=start) for start in (0, 50))
    for path in (first, second):
        synced(tmp_path)
        path.rename(tmp_path / "kept") if path == first else path.rename(first)
    synced(tmp_path)
    assert dict(LogFile.objects.values_list("missing", "path")) == {
        False: b"run/" + first.name.encode(), True: b"run/" + second.name.encode()}
    (tmp_path / "kept").rename(second)
    synced(tmp_path)
    assert (Run.objects.get().point_count, set(LogFile.objects.values_list("missing", "generation"))) == (100, {(False, 0)})


def test_damage_goes_with_the_file_that_is_taken_from_a_run(tmp_path):
    make(tmp_path / "run")
    damaged = make(tmp_path / "run")
    data = bytearray(damaged.read_bytes())
    data[300] ^= 0xFF
    damaged.write_bytes(data)
    synced(tmp_path)
    assert Run.objects.get().lost_bytes or Run.objects.get().bad_records
    files = _known_files(Source.objects.get())[Run.objects.get().pk]
    take_away([files[b"run/" + damaged.name.encode()]], set())
    run = Run.objects.get()
    assert (run.bad_records, run.lost_bytes, run.point_count) == (0, 0, 40)


def test_a_file_renamed_beside_others_of_its_run_is_counted_once(tmp_path):
    kept, renamed = (make(tmp_path / "run", ("loss",), 50, start=start) for start in (0, 50))
    gone = make(tmp_path / "run", ("loss",), 50, start=100)
    synced(tmp_path)
    renamed.rename(kept.with_name(kept.name + ".later"))
    assert synced(tmp_path).bytes_read == 0
    gone.unlink()
    synced(tmp_path)
    kept.with_name(kept.name + ".later").rename(gone)
    synced(tmp_path)
    assert (names(), LogFile.objects.filter(missing=True).count()) == ([("run", 150)], 1)
    assert set(LogFile.objects.values_list("generation", flat=True)) == {0}


def test_a_file_renamed_onto_another_of_its_run_is_counted_once_and_the_other_kept(tmp_path):
    write(tmp_path / "run", "loss", 50)
    first = next((tmp_path / "run").iterdir())
    write(tmp_path / "aside", "acc", 30)
    second = next((tmp_path / "aside").iterdir()).rename(first.with_name(f"{first.name}.later"))
    (tmp_path / "aside").rmdir()
    synced(tmp_path)
    os.replace(second, first)
    done = synced(tmp_path)
    assert (done.points, names()) == (0, [("run", 80)])
    assert sorted(LogFile.objects.values_list("points", "missing", "generation")) == [(30, False, 0), (50, True, 0)]
    assert {s.tag.name: s.count for s in Series.objects.all()} == {"acc": 30, "loss": 50}
