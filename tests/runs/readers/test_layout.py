"""Layouts: each tree that trainers really write gives the runs that a person would name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runs.readers import naming, problems, tree
from runs.readers.claims import COPYING, EMPTY
from runs.readers.found import NAMED, Peeked
from runs.readers.layout import find_runs
from tests.runs.readers.planting import EVENTS as EVENT_FILE
from tests.runs.readers.planting import Peeks, find, named, only, paths, plant, runs_at, scan

FOREIGN = Peeked(tags=("reward", "length"), settled=True)
JOB = Peeked(dialect="isengard", settled=True)


# Where runs lie


def test_l1_has_no_dataset(tmp_path: Path) -> None:
    runs_at(tmp_path, "run_20251205_115325")
    run = only(find(tmp_path))
    assert (run.dataset, run.name, run.rule) == ("", "run_20251205_115325", "L1")


def test_l2_is_dataset_and_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "routing_20251205_115325/routing-overnight-001")
    run = only(find(tmp_path))
    assert (run.dataset, run.name) == ("routing_20251205_115325", "routing-overnight-001")
    assert run.path == b"routing_20251205_115325/routing-overnight-001"


def test_eval_examples_is_a_part_of_its_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "ds/run", "ds/run/eval_examples")
    run = only(find(tmp_path))
    assert run.parts == ((b"eval_examples", "", NAMED),)
    assert [log.path for log in run.log_files] == [
        f"ds/run/eval_examples/{EVENT_FILE}".encode(),
        f"ds/run/{EVENT_FILE}".encode(),
    ]


def test_an_l1_run_is_not_taken_for_a_dataset_of_its_eval_examples(tmp_path: Path) -> None:
    runs_at(tmp_path, "run/eval_examples")
    plant(tmp_path, "run/config.json")
    assert named(find(tmp_path)) == {"run": ("", "run")}


def test_l3_drops_the_word_datasets(tmp_path: Path) -> None:
    runs_at(tmp_path, "datasets/routing_x/a", "datasets/routing_x/b", "datasets/calendar_y/c")
    assert named(find(tmp_path)) == {
        "datasets/routing_x/a": ("routing_x", "a"),
        "datasets/routing_x/b": ("routing_x", "b"),
        "datasets/calendar_y/c": ("calendar_y", "c"),
    }


def test_deeper_runs_have_all_above_them_as_dataset(tmp_path: Path) -> None:
    runs_at(tmp_path, "team/project/ds/run")
    run = only(find(tmp_path))
    assert (run.dataset, run.name, run.rule) == ("team/project/ds", "run", "deeper")


def test_layouts_may_be_mixed_below_one_root(tmp_path: Path) -> None:
    runs_at(tmp_path, "one", "ds/two", "datasets/ds/three")
    assert named(find(tmp_path)) == {
        "one": ("", "one"),
        "ds/two": ("ds", "two"),
        "datasets/ds/three": ("ds", "three"),
    }


def test_event_files_right_in_the_root_make_the_root_a_run(tmp_path: Path) -> None:
    runs_at(tmp_path / "exp1", "")
    run = only(find(tmp_path / "exp1"))
    assert (run.path, run.name, run.dataset) == (b"", "exp1", "")


def test_lightnings_versions_are_runs_of_the_dataset_above(tmp_path: Path) -> None:
    runs_at(tmp_path, "lightning_logs/version_0", "lightning_logs/version_1", "exp/version_3")
    plant(tmp_path, "lightning_logs/version_0/hparams.yaml", "lightning_logs/version_0/checkpoints/e.ckpt")
    found = find(tmp_path)
    assert named(found)["lightning_logs/version_0"] == ("lightning_logs", "version_0")
    assert named(found)["exp/version_3"] == ("exp", "version_3")
    assert found.runs[1].sidecars == (b"lightning_logs/version_0/hparams.yaml",)
    assert found.runs[1].file_count == 3


def test_lightning_logs_as_the_root_is_the_dataset(tmp_path: Path) -> None:
    root = tmp_path / "lightning_logs"
    runs_at(root, "version_0")
    assert named(find(root)) == {"version_0": ("lightning_logs", "version_0")}


def test_hugging_faces_runs_folder_is_no_dataset(tmp_path: Path) -> None:
    runs_at(tmp_path, "out/runs/Jan01_10-00-00_host", "runs/Feb02_11-00-00_host")
    assert named(find(tmp_path)) == {
        "out/runs/Jan01_10-00-00_host": ("out", "Jan01_10-00-00_host"),
        "runs/Feb02_11-00-00_host": ("", "Feb02_11-00-00_host"),
    }


def test_hugging_faces_checkpoints_tell_of_the_run_written_last(tmp_path: Path) -> None:
    runs_at(tmp_path, "out/runs/Jan01", "out/runs/Feb02")
    os.utime(tmp_path / "out/runs/Jan01" / EVENT_FILE, (1, 1))
    plant(tmp_path, "out/config.json", *(f"out/checkpoint-{n}/trainer_state.json" for n in (500, 1000, 90)))
    february, january = find(tmp_path).runs
    assert january.sidecars == ()
    assert february.sidecars == (b"out/config.json", b"out/checkpoint-1000/trainer_state.json")


def test_checkpoints_in_a_runs_directory_count_with_it(tmp_path: Path) -> None:
    runs_at(tmp_path, "run")
    plant(tmp_path, "run/trainer_state.json", "run/checkpoint-9/trainer_state.json", "run/checkpoint-10/w.bin")
    plant(tmp_path, "run/checkpoint-8/trainer_state.json")
    run = only(find(tmp_path))
    assert run.sidecars == (b"run/trainer_state.json", b"run/checkpoint-9/trainer_state.json")
    assert run.file_count == 5


def test_ultralytics_train_with_its_own_arguments_is_a_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "runs/detect/train", "runs/detect/train2")
    plant(tmp_path, "runs/detect/train/args.yaml")
    plant(tmp_path, "alone/detect/train/args.yaml", f"alone/detect/train/{EVENT_FILE}")
    assert paths(find(tmp_path)) == ["alone/detect/train", "runs/detect/train", "runs/detect/train2"]


# Keras and Estimator


def test_keras_train_beside_validation_is_one_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "exp/20251205/train", "exp/20251205/validation")
    run = only(find(tmp_path))
    assert (run.path, run.dataset, run.name) == (b"exp/20251205", "exp", "20251205")
    assert run.parts == ((b"train", "train/", NAMED), (b"validation", "validation/", NAMED))
    assert [log.prefix for log in run.log_files] == ["train/", "validation/"]


def test_keras_keeps_its_identity_when_validation_appears(tmp_path: Path) -> None:
    runs_at(tmp_path, "exp/train")
    before = only(find(tmp_path)).path
    runs_at(tmp_path, "exp/validation")
    assert only(find(tmp_path)).path == before == b"exp"


def test_a_root_that_keras_wrote_into_is_the_run(tmp_path: Path) -> None:
    root = tmp_path / "exp7"
    runs_at(root, "train", "validation")
    assert named(find(root)) == {"": ("", "exp7")}


def test_train_alone_below_the_root_is_a_run_of_its_own(tmp_path: Path) -> None:
    runs_at(tmp_path, "train")
    assert paths(find(tmp_path)) == ["train"]


def test_a_run_called_test_among_others_is_a_run(tmp_path: Path) -> None:
    runs_at(tmp_path, "ds/test", "ds/lr-3e-4", "ds/lr-1e-4")
    assert paths(find(tmp_path)) == ["ds/lr-1e-4", "ds/lr-3e-4", "ds/test"]


def test_kerass_own_writer_beside_train_and_validation_is_a_run_inside(tmp_path: Path) -> None:
    runs_at(tmp_path, "logs/exp/train", "logs/exp/validation", "logs/exp/metrics")
    found = find(tmp_path)
    assert named(found) == {"logs/exp": ("logs", "exp"), "logs/exp/metrics": ("logs/exp", "metrics")}
    assert found.runs[0].nested == (b"logs/exp/metrics",)
    assert found.runs[1].inside == b"logs/exp"


def test_estimators_eval_is_a_part(tmp_path: Path) -> None:
    runs_at(tmp_path, "model", "model/eval")
    assert only(find(tmp_path)).parts == ((b"eval", "eval/", NAMED),)


@pytest.mark.parametrize("name", ["Train", "training", "train_2", "evaluation", "EVAL"])
def test_only_the_exact_names_are_parts(tmp_path: Path, name: str) -> None:
    runs_at(tmp_path, "run", f"run/{name}")
    found = find(tmp_path, {f"run/{name}": FOREIGN})
    assert paths(found) == ["run", f"run/{name}"]


def test_a_dataset_called_train_holds_runs(tmp_path: Path) -> None:
    runs_at(tmp_path, "train/run1", "train/run2")
    assert named(find(tmp_path)) == {"train/run1": ("train", "run1"), "train/run2": ("train", "run2")}


# Which files count


def test_event_files_are_tensorboards_and_the_count_is_cleanups(tmp_path: Path) -> None:
    plant(tmp_path, f"run/{EVENT_FILE}", "run/my.tfevents.log", f"run/{EVENT_FILE}.profile-empty")
    plant(tmp_path, f"run/old/{EVENT_FILE}.v2.profile-empty")
    run = only(find(tmp_path))
    assert [log.path for log in run.log_files] == [f"run/{EVENT_FILE}".encode(), b"run/my.tfevents.log"]
    assert run.event_files == 3


def test_a_directory_with_the_profilers_marker_only_is_no_run(tmp_path: Path) -> None:
    plant(tmp_path, f"run/{EVENT_FILE}.profile-empty")
    assert find(tmp_path).runs == ()


@pytest.mark.parametrize(
    "copy",
    [f".{EVENT_FILE}.Xk3f9a", f"{EVENT_FILE}.tmp", f"{EVENT_FILE}.partial", f".rsync-partial/{EVENT_FILE}"],
)
def test_a_copy_under_way_is_said_and_not_read(tmp_path: Path, copy: str) -> None:
    runs_at(tmp_path, "run")
    plant(tmp_path, f"run/{copy}")
    run = only(find(tmp_path))
    assert len(run.log_files) == 1
    assert [problem.kind for problem in run.problems] == [COPYING]


def test_sizes_counts_and_age_are_those_of_find(tmp_path: Path) -> None:
    runs_at(tmp_path, "ds/run", "ds/run/eval_examples")
    plant(tmp_path, "ds/run/checkpoint-20/model.bin", "ds/run/a/b/c/deep.txt", content=b"x" * 4321)
    os.utime(tmp_path / "ds/run/a/b/c/deep.txt", ns=(2**61, 2**61))
    run = only(find(tmp_path))
    command = ["find", str(tmp_path / "ds/run"), "-type", "f", "-printf", "%s\n"]
    sizes = list(map(int, subprocess.run(command, capture_output=True, check=True).stdout.split()))
    assert (run.file_count, run.size, run.event_files) == (len(sizes), sum(sizes), 2)
    assert run.newest_mtime_ns == 2**61


def test_rows_sum_to_what_lies_in_runs(tmp_path: Path) -> None:
    runs_at(tmp_path, "a", "a/eval", "a/trial", "ds/b", "ds/b/waiting")
    plant(tmp_path, "lost.txt", "logs/1.jsonl")
    found = find(tmp_path, {"a/trial": FOREIGN, "logs/1.jsonl": JOB})
    assert sum(run.file_count for run in found.runs) == scan(tmp_path).top.total.files - 1


# Odd directories


def test_an_empty_directory_beside_runs_is_a_run_of_unknown_age(tmp_path: Path) -> None:
    runs_at(tmp_path, "ds/run")
    plant(tmp_path, "ds/wiped/")
    wiped = find(tmp_path).runs[1]
    assert (wiped.name, wiped.dataset, wiped.file_count, wiped.newest_mtime_ns) == ("wiped", "ds", 0, None)
    assert [problem.kind for problem in wiped.problems] == [EMPTY]


@pytest.mark.parametrize("empty", ["ds/run/checkpoints/", "other/", "ds/lost+found/", "x/y/"])
def test_other_empty_directories_are_no_runs(tmp_path: Path, empty: str) -> None:
    runs_at(tmp_path, "ds/run")
    plant(tmp_path, empty)
    assert paths(find(tmp_path)) == ["ds/run"]


def test_directories_of_other_things_are_no_runs(tmp_path: Path) -> None:
    runs_at(tmp_path, "run")
    plant(tmp_path, "checkpoints/ds/run/cost_report.json", "artifacts/jobs/1/samples/step_00001.png")
    assert paths(find(tmp_path)) == ["run"]


def test_a_symlink_in_a_run_is_the_runs_problem_and_others_are_the_trees(tmp_path: Path) -> None:
    runs_at(tmp_path, "output/run")
    os.symlink("/etc", tmp_path / "output/run/etc")
    os.symlink("run", tmp_path / "output/latest")
    found = find(tmp_path)
    assert [problem.kind for problem in only(found).problems] == [problems.LEAVES_ROOT]
    assert [problem.path for problem in found.problems] == [b"output/latest"]


def test_a_fifo_named_as_an_event_file_makes_no_run(tmp_path: Path) -> None:
    plant(tmp_path, "ds/notes.txt")
    os.mkfifo(tmp_path / "ds/events.out.tfevents.1")
    found = find(tmp_path)
    assert found.runs == ()
    assert [problem.kind for problem in found.problems] == [problems.SPECIAL]


@pytest.mark.parametrize(
    "name, shown",
    [
        (b"..x", "..x"),
        (b"-rf", "-rf"),
        (b".hidden", ".hidden"),
        (b"line\nbreak", "line\\nbreak"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gpj".encode(), "\\u202egpj"),
        ("überlauf 你好".encode(), "überlauf 你好"),
        (b"n" * 255, "n" * 255),
    ],
)
def test_any_name_is_shown_on_one_printable_line(tmp_path: Path, name: bytes, shown: str) -> None:
    plant(tmp_path, b"ds/" + name + b"/" + EVENT_FILE.encode())
    run = only(find(tmp_path))
    assert (run.path, run.name) == (b"ds/" + name, shown)
    assert run.name.isprintable()


# What an admin may say


def test_flat_makes_the_whole_path_the_name(tmp_path: Path) -> None:
    runs_at(tmp_path, "datasets/x/a", "b")
    assert named(find(tmp_path, layout="flat")) == {"datasets/x/a": ("", "datasets/x/a"), "b": ("", "b")}


def test_dataset_run_splits_at_the_first_component(tmp_path: Path) -> None:
    runs_at(tmp_path, "team/exp/a", "b")
    assert named(find(tmp_path, layout="dataset/run")) == {"team/exp/a": ("team", "exp/a"), "b": ("", "b")}


def test_another_word_for_the_layout_is_refused(tmp_path: Path) -> None:
    runs_at(tmp_path, "a")
    with pytest.raises(ValueError, match="no such layout"):
        find(tmp_path, layout="guess")


def test_the_scan_may_forget_what_the_layout_does_not_look_at(tmp_path: Path) -> None:
    runs_at(tmp_path, "run", "run/eval")
    plant(tmp_path, "run/model.bin", "run/args.yaml", "run/trainer_state.json", "x.jsonl")
    kept = tree.walk(os.fsencode(tmp_path), keep=naming.is_wanted)
    assert isinstance(kept, tree.Tree)
    assert find_runs(kept, peek=Peeks()) == find_runs(scan(tmp_path), peek=Peeks())
