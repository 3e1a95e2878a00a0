"""Where a name does not decide: a look into the file, once; and whose a job log is."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter

from runs.readers import confined, tfevents, writers
from runs.readers.found import EVENTS, HPARAMS, JSONL, SCALARS, Peeked
from runs.readers.layout import find_runs
from tests.runs.readers.planting import EVENTS as EVENT_FILE
from tests.runs.readers.planting import Peeks, find, only, paths, plant, runs_at, scan

LOSS = Peeked(tags=("loss",), settled=True)
FOREIGN = Peeked(tags=("reward", "length"), settled=True)
HPARAMS_FIRST = Peeked(tags=("_hparams_/experiment", "_hparams_/session_start_info"), settled=True)
JOB = Peeked(dialect="isengard", settled=True)


# What add_scalars and add_hparams make


def test_torch_add_scalars_children_belong_to_their_writers_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "ds/run", "ds/run/loss_a", "ds/run/loss_b")
    run = only(find(tmp_path, {"ds/run/loss_a": LOSS, "ds/run/loss_b": LOSS}))
    assert run.parts == ((b"loss_a", "loss_a/", SCALARS), (b"loss_b", "loss_b/", SCALARS))


def test_a_main_tag_with_a_slash_is_recognised(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/train_loss_a/deep")
    run = only(find(tmp_path, {"run/train_loss_a/deep": Peeked(tags=("train/loss",))}))
    assert run.parts[0].kind == SCALARS


def test_a_nested_run_whose_name_begins_like_its_first_tag_is_a_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/loss_ablation")
    found = find(tmp_path, {"run/loss_ablation": Peeked(tags=("loss", "accuracy"))})
    assert paths(found) == ["run", "run/loss_ablation"]


def test_add_hparams_child_belongs_to_the_run_under_its_own_tags(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/1700000000.123", "run/by-name")
    run = only(find(tmp_path, {"run/1700000000.123": HPARAMS_FIRST, "run/by-name": HPARAMS_FIRST}))
    assert run.parts == ((b"1700000000.123", "", HPARAMS), (b"by-name", "", HPARAMS))


def test_a_time_as_name_is_enough_while_there_is_no_record(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/1700000000.123")
    assert only(find(tmp_path)).parts[0].kind == HPARAMS


def test_runs_of_tensorflows_hparams_guide_are_runs(tmp_path: Path) -> None:
    runs_at(tmp_path, "hparam_tuning", "hparam_tuning/run-0", "hparam_tuning/run-1")
    session = Peeked(tags=("_hparams_/session_start_info", "accuracy"))
    found = find(tmp_path, {"hparam_tuning/run-0": session, "hparam_tuning/run-1": session})
    assert paths(found) == ["hparam_tuning", "hparam_tuning/run-0", "hparam_tuning/run-1"]


def test_a_nested_directory_without_a_record_waits(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/loss_a")
    found = find(tmp_path)
    (waiting,) = found.undecided
    assert only(found).path == waiting.inside == b"run"
    assert only(found).file_count == 2  # its bytes are below the run whatever it becomes
    assert [log.path for log in waiting.log_files] == [f"run/loss_a/{EVENT_FILE}".encode()]


def test_a_directory_that_never_got_a_record_becomes_a_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/crashed")
    found = find(tmp_path, stale_before_ns=time.time_ns() + 1)
    assert paths(found) == ["run", "run/crashed"]


def test_another_run_inside_a_run_is_a_run_and_bytes_count_once(tmp_path: Path) -> None:
    runs_at(tmp_path, "exp", "exp/sub/trial")
    plant(tmp_path, "exp/notes.txt", "exp/sub/trial/model.bin", content=b"x" * 12)
    outer, inner = find(tmp_path, {"exp/sub/trial": FOREIGN}).runs
    assert (inner.dataset, inner.name, inner.inside) == ("exp/sub", "trial", b"exp")
    assert (outer.size, inner.size) == (88 + 12, 88 + 12)
    assert outer.nested == (b"exp/sub/trial",)


def test_tensorboardx_really_writes_what_we_recognise(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "ds/run")) as writer:
        writer.add_scalar("loss", 1.0, 0)
        writer.add_scalars("group/loss it", {"train": 1.0, "val": 2.0}, 0)
        writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.9}, name="trial")
    root = os.fsencode(tmp_path)

    def peek(path: bytes) -> Peeked:
        with confined.opened(root, path) as descriptor:
            return Peeked(tags=tuple(tfevents.peek(descriptor).tags))

    run = only(find_runs(scan(tmp_path), peek=peek))
    assert {part.subdir: part.kind for part in run.parts} == {
        b"group/loss it/train": SCALARS,
        b"group/loss it/val": SCALARS,
        b"trial": HPARAMS,
    }


@pytest.mark.parametrize(
    "relative, tags, is_child",
    [
        (b"loss_a", ("loss",), True),
        (b"loss/a", ("loss",), True),
        (b"lossy", ("loss",), False),
        (b"loss", ("loss",), False),
        (b"loss_a", (), False),
        (b"_a", ("",), False),
        (b"b_loss_a", ("loss",), False),
        (b"\xff_a", ("\udcff",), True),
    ],
)
def test_add_scalars_directory_names(relative: bytes, tags: tuple[str, ...], is_child: bool) -> None:
    assert writers.is_scalars_child(relative, tags) is is_child


# Looking into files


def test_names_alone_decide_the_usual_layouts(tmp_path: Path) -> None:
    runs_at(tmp_path, "one", "ds/two", "ds/two/eval_examples", "exp/train", "exp/validation")
    peek = Peeks()
    find_runs(scan(tmp_path), peek=peek)
    assert peek.asked == []


def test_an_unchanged_tree_is_looked_into_once(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/loss_a", "run/odd")
    plant(tmp_path, "data/train.jsonl", "logs/jobs/train-1.jsonl", "run/waiting/" + EVENT_FILE)
    answers = {"run/loss_a": LOSS, "run/odd": FOREIGN, "logs/jobs/train-1.jsonl": JOB}
    first = find(tmp_path, answers)
    peek = Peeks()
    again = find_runs(scan(tmp_path), peek=peek, known=first.verdicts)
    assert peek.asked == []
    assert again == first


def test_a_settled_verdict_survives_growth_and_an_unsettled_one_does_not(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/loss_a", "run/new")
    first = find(tmp_path, {"run/loss_a": LOSS})
    plant(tmp_path, f"run/loss_a/{EVENT_FILE}", f"run/new/{EVENT_FILE}", content=b"y" * 200)
    peek = Peeks()
    find_runs(scan(tmp_path), peek=peek, known=first.verdicts)
    assert peek.asked == [f"run/new/{EVENT_FILE}"]


def test_a_replaced_or_shorter_file_is_looked_into_again(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/a", "run/b")
    first = find(tmp_path, {"run/a": LOSS, "run/b": LOSS})
    os.truncate(tmp_path / "run/a" / EVENT_FILE, 10)
    os.replace(tmp_path / "run/b" / EVENT_FILE, tmp_path / "old")
    plant(tmp_path, f"run/b/{EVENT_FILE}")
    peek = Peeks()
    find_runs(scan(tmp_path), peek=peek, known=first.verdicts)
    assert peek.asked == [f"run/a/{EVENT_FILE}", f"run/b/{EVENT_FILE}"]


def test_a_file_that_cannot_be_looked_into_is_asked_for_again(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/loss_a")
    found = find_runs(scan(tmp_path), peek=lambda path: None)
    assert found.verdicts == {}
    assert len(found.undecided) == 1


def test_verdicts_of_files_that_are_gone_are_dropped(tmp_path: Path) -> None:
    plant(tmp_path, "a.jsonl", "b.jsonl")
    first = find(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    assert set(find(tmp_path, known=first.verdicts).verdicts) == {b"b.jsonl"}


# Job logs


def test_a_job_log_by_itself_is_a_run_without_event_files(tmp_path: Path) -> None:
    plant(tmp_path, "logs/jobs/train-ab12cd34ef56.jsonl")
    run = only(find(tmp_path, {"logs/jobs/train-ab12cd34ef56.jsonl": JOB}))
    assert (run.path, run.name, run.dataset) == (
        b"logs/jobs/train-ab12cd34ef56.jsonl",
        "train-ab12cd34ef56",
        "",
    )
    assert (run.shape, run.event_files, run.file_count, run.size) == ("job log", 0, 1, 88)
    assert [(log.kind, log.dialect) for log in run.log_files] == [(JSONL, "isengard")]


def test_a_job_log_inside_a_run_belongs_to_the_nearest_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "exp", "exp/trial")
    plant(tmp_path, "exp/trial/logs/job.jsonl")
    outer, inner = find(tmp_path, {"exp/trial": FOREIGN, "exp/trial/logs/job.jsonl": JOB}).runs
    assert [log.kind for log in outer.log_files] == [EVENTS]
    assert [log.kind for log in inner.log_files] == [EVENTS, JSONL]


@pytest.mark.parametrize("said", ["ds/run", "/volume/tensorboard/ds/run", "./ds/run/", "run", "{root}/ds/run"])
def test_a_job_log_belongs_to_the_run_that_it_names(tmp_path: Path, said: str) -> None:
    runs_at(tmp_path, "ds/run", "ds/other")
    plant(tmp_path, "logs/jobs/1.jsonl")
    job = dataclasses.replace(JOB, named=(said.format(root=tmp_path),))
    other, run = find(tmp_path, {"logs/jobs/1.jsonl": job}).runs
    assert [log.path for log in run.log_files if log.kind == JSONL] == [b"logs/jobs/1.jsonl"]
    assert run.file_count == 1  # the log lies elsewhere


@pytest.mark.parametrize(
    "said", ["", "run", "../ds/run", "/etc", "ds", "\ud800", pytest.param("a/" * 200_000 + "ds/run", id="400 KB")]
)
def test_a_name_that_means_no_run_or_two_makes_the_log_a_run(tmp_path: Path, said: str) -> None:
    runs_at(tmp_path, "ds/run", "other/run")
    plant(tmp_path, "logs/jobs/1.jsonl")
    found = find(tmp_path, {"logs/jobs/1.jsonl": dataclasses.replace(JOB, named=(said,))})
    assert "logs/jobs/1.jsonl" in paths(found)


def test_a_datasets_jsonl_is_no_log(tmp_path: Path) -> None:
    runs_at(tmp_path, "run")
    plant(tmp_path, "models/majora_v1_merged.jsonl", "run/predictions.jsonl")
    assert [log.kind for log in only(find(tmp_path)).log_files] == [EVENTS]


def test_a_log_that_is_called_like_any_other_has_its_directorys_name(tmp_path: Path) -> None:
    plant(tmp_path, "lifecycle/20260101-router/events.jsonl")
    run = only(find(tmp_path, {"lifecycle/20260101-router": JOB}))
    assert run.name == "20260101-router"
