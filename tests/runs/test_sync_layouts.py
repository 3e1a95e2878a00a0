"""Where runs lie and where they go: renamed, deleted, wiped, restored, judged otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runs.models import Dataset, Job, LogFile, Run, Series, Source
from tests.runs.trees import job_log, outcome_of, points, registry, settle, source_of, synced, write, write_x

pytestmark = pytest.mark.django_db


def names(**where: object) -> list[str]:
    return sorted(Run.objects.filter(**where).values_list("name", flat=True))


def test_each_layout_gives_one_run_with_its_dataset(tmp_path):
    write(tmp_path / "flat")
    write(tmp_path / "ds" / "nested")
    write(tmp_path / "datasets" / "three" / "deep")
    write(tmp_path / "ds" / "nested" / "eval_examples")
    synced(tmp_path)
    found = sorted(Run.objects.values_list("dataset__name", "name"), key=str)
    assert found == [("ds", "nested"), ("three", "deep"), (None, "flat")]


def test_a_lone_train_folder_and_its_later_validation_are_one_run(tmp_path):
    write(tmp_path / "exp" / "train", ("loss",))
    synced(tmp_path)
    run = Run.objects.get()
    write(tmp_path / "exp" / "validation", ("loss",))
    synced(tmp_path)
    assert Run.objects.get().pk == run.pk
    assert set(Series.objects.values_list("tag__name", flat=True)) == {"train/loss", "validation/loss"}


def test_a_train_folder_right_below_the_root_becomes_a_part_of_the_roots_run(tmp_path):
    write(tmp_path / "train", ("loss",))
    synced(tmp_path)
    write(tmp_path / "validation", ("loss",), 7)
    synced(tmp_path)
    assert set(Series.objects.values_list("run__path", "tag__name", "count")) == {
        (b"", "train/loss", 20), (b"", "validation/loss", 7)}


def test_a_renamed_run_keeps_its_row_and_rereads_nothing(tmp_path):
    write(tmp_path / "ds" / "before")
    settle(tmp_path)
    synced(tmp_path)
    run = Run.objects.get()
    Run.objects.update(pinned=True)
    (tmp_path / "ds" / "before").rename(tmp_path / "ds" / "after")
    done = synced(tmp_path)
    now = Run.objects.get()
    assert (now.pk, now.name, bytes(now.path), now.pinned) == (run.pk, "after", b"ds/after", True)
    assert (done.moved, done.new, done.missing, done.bytes_read) == (1, 0, 0, 0)
    assert LogFile.objects.get().generation == 0


def test_a_renamed_run_keeps_the_name_that_people_gave_it(tmp_path):
    write(tmp_path / "before")
    synced(tmp_path)
    Run.objects.update(name="the good one")
    (tmp_path / "before").rename(tmp_path / "after")
    synced(tmp_path)
    assert names() == ["the good one"]


def test_a_renamed_dataset_takes_its_runs_along(tmp_path):
    for number in range(5):
        write(tmp_path / "old" / f"run{number}", steps=5 + number)
    settle(tmp_path)
    synced(tmp_path)
    before = dict(Run.objects.values_list("name", "pk"))
    (tmp_path / "old").rename(tmp_path / "new")
    done = synced(tmp_path)
    assert (done.moved, done.bytes_read) == (5, 0)
    assert dict(Run.objects.filter(dataset__name="new").values_list("name", "pk")) == before


def test_a_renamed_run_is_told_although_one_of_its_files_was_gone_before(tmp_path):
    write(tmp_path / "before")
    gone = write(tmp_path / "before")
    synced(tmp_path)
    gone.unlink()
    synced(tmp_path)
    run = Run.objects.get()
    (tmp_path / "before").rename(tmp_path / "after")
    synced(tmp_path)
    assert [(r.pk, r.name, r.files_missing) for r in Run.objects.all()] == [(run.pk, "after", False)]
    assert LogFile.objects.filter(missing=True).count() == 1


def test_a_renamed_run_that_also_grew_goes_on_where_it_was(tmp_path):
    path = write(tmp_path / "before", ("loss",))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    synced(tmp_path)
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "after" / path.name).write_bytes(whole)
    synced(tmp_path)
    assert (Run.objects.get().point_count, LogFile.objects.get().generation) == (20, 0)


def test_a_run_put_where_another_was_deleted_is_read_from_its_start(tmp_path):
    write(tmp_path / "run", ("loss",), 20)
    synced(tmp_path)
    shutil.rmtree(tmp_path / "run")
    write(tmp_path / "run", ("loss",), 7, wall=1_800_000_000.0)
    write(tmp_path / "other")
    synced(tmp_path)
    assert sorted(LogFile.objects.filter(run__name="run").values_list("points", "missing")) == [(7, False), (20, True)]


def test_a_run_put_where_a_purged_one_was_is_a_new_run(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    synced(tmp_path)
    content = path.read_bytes()
    shutil.rmtree(tmp_path / "run")
    Run.objects.update(lifecycle_stage=Run.Stage.PURGED, files_missing=True)
    write(tmp_path / "other")
    (tmp_path / "run").mkdir()
    path.write_bytes(content)
    synced(tmp_path)
    fresh = Run.objects.get(name="run", lifecycle_stage=Run.Stage.ACTIVE)
    assert (Run.objects.filter(name="run").count(), fresh.point_count) == (2, 20)
    assert Run.objects.get(lifecycle_stage=Run.Stage.PURGED).point_count == 20


def test_a_file_that_vanishes_and_comes_back_is_not_read_again(tmp_path):
    path = write(tmp_path / "run", ("loss",))
    write(tmp_path / "run", ("loss",), 5)
    settle(tmp_path)
    synced(tmp_path)
    path.rename(tmp_path / "aside")
    assert synced(tmp_path).bytes_read == 0
    assert LogFile.objects.filter(missing=True).count() == 1
    (tmp_path / "aside").rename(path)
    assert synced(tmp_path).bytes_read == 0
    assert list(LogFile.objects.values_list("missing", "generation")) == [(False, 0)] * 2


def test_a_file_that_is_gone_stays_gone_when_its_neighbour_grows(tmp_path):
    gone = write(tmp_path / "run", ("loss",))
    synced(tmp_path)
    gone.unlink()
    other = write(tmp_path / "run", ("loss",), 5)
    synced(tmp_path)
    whole = other.read_bytes()
    other.write_bytes(whole + write(tmp_path / "aside").read_bytes())
    done = synced(tmp_path)
    assert done.problems == []
    assert LogFile.objects.get(path=b"run/" + gone.name.encode()).missing


def test_a_wiped_tree_leaves_its_runs_with_their_charts(tmp_path):
    write(tmp_path / "ds" / "run")
    (tmp_path / "README").write_text("the folder stays")
    synced(tmp_path)
    before = points(source_of(tmp_path))
    shutil.rmtree(tmp_path / "ds")
    assert synced(tmp_path).missing == 1
    assert Run.objects.get().files_missing
    assert points(source_of(tmp_path)) == before


@pytest.mark.parametrize("how", ["cp -a {} {}", "mkdir {1} && tar -C {0} -c . | tar -C {1} -x", "cp -r {} {}"])
def test_a_tree_restored_from_an_archive_gives_no_new_point_and_no_new_generation(tmp_path, how):
    root, archive = tmp_path / "root", tmp_path / "archive"
    write(root / "ds" / "run")
    write_x(root / "ds" / "other")
    job_log(root / "ds" / "run" / "job.jsonl")
    settle(root)
    synced(root)
    before = registry(source_of(root))
    subprocess.run(how.format(root / "ds", archive), shell=True, check=True)
    shutil.rmtree(root / "ds")
    (root / "kept").write_text("")
    synced(root)
    subprocess.run(how.format(archive, root / "ds"), shell=True, check=True)
    (root / "kept").unlink()
    assert synced(root).points == 0
    assert registry(source_of(root)) == before


def test_a_copied_run_is_another_run(tmp_path):
    write(tmp_path / "run")
    synced(tmp_path)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert synced(tmp_path).new == 1
    assert names() == ["copy", "run"]


def test_two_runs_that_change_places_keep_their_own_points(tmp_path):
    write(tmp_path / "a", ("loss",), 5)
    write(tmp_path / "b", ("loss",), 9)
    synced(tmp_path)
    ids = {run.point_count: run.pk for run in Run.objects.all()}
    (tmp_path / "a").rename(tmp_path / "x")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "x").rename(tmp_path / "b")
    synced(tmp_path)
    assert dict(Run.objects.values_list("name", "point_count")) == {"a": 9, "b": 5}
    assert {run.point_count: run.pk for run in Run.objects.all()} == ids


def test_a_changed_layout_renames_the_datasets_of_an_unchanged_tree(tmp_path):
    write(tmp_path / "ds" / "run")
    settle(tmp_path)
    synced(tmp_path)
    synced(tmp_path)
    Source.objects.update(layout=Source.Layout.FLAT)
    synced(tmp_path)
    assert (Run.objects.get().dataset, Run.objects.get().name) == (None, "ds/run")


def test_a_changed_layout_leaves_the_name_that_people_gave(tmp_path):
    write(tmp_path / "ds" / "run")
    synced(tmp_path)
    Run.objects.update(name="the good one")
    Source.objects.update(layout=Source.Layout.FLAT)
    synced(tmp_path)
    assert Run.objects.get().name == "the good one"


def test_a_new_folder_appears_as_a_run_at_the_next_sync(tmp_path):
    write(tmp_path / "one")
    settle(tmp_path)
    synced(tmp_path)
    synced(tmp_path)
    write(tmp_path / "two")
    assert synced(tmp_path).new == 1
    assert names() == ["one", "two"]


def test_totals_equal_those_of_find(tmp_path):
    write(tmp_path / "ds" / "run")
    (tmp_path / "ds" / "run" / "checkpoints" / "deep").mkdir(parents=True)
    (tmp_path / "ds" / "run" / "checkpoints" / "deep" / "model.bin").write_bytes(bytes(5000))
    synced(tmp_path)
    run = Run.objects.get()
    files = [path for path in (tmp_path / "ds" / "run").rglob("*") if path.is_file()]
    assert (run.file_count, run.size) == (len(files), sum(path.stat().st_size for path in files))
    assert run.event_file_count == 1


def test_an_empty_folder_beside_runs_is_a_run_of_unknown_age(tmp_path):
    write(tmp_path / "ds" / "run")
    (tmp_path / "ds" / "empty").mkdir()
    assert synced(tmp_path).problems == []
    run = Run.objects.get(name="empty")
    assert (run.modified, run.status, [w["kind"] for w in run.warnings]) == (None, "unknown", ["empty directory"])


def test_a_job_log_outside_of_any_run_is_a_run_with_its_job(tmp_path):
    job_log(tmp_path / "logs" / "night.jsonl", job="j1")
    synced(tmp_path)
    job = Job.objects.get()
    assert (job.external_id, job.status, job.run.name, job.run.status) == ("j1", "finished", "night", "finished")
    assert job.run.point_count == 10


def test_a_job_log_belongs_to_the_run_that_it_names(tmp_path):
    write(tmp_path / "ds" / "run")
    job_log(tmp_path / "logs" / "night.jsonl", job="j1", run="ds/run")
    synced(tmp_path)
    assert Job.objects.get().run == Run.objects.get()
    assert Run.objects.get().name == "run"


def test_two_job_logs_join_the_run_that_they_name_when_it_appears(tmp_path):
    job_log(tmp_path / "logs" / "train.jsonl", job="j1", run="ds/run")
    job_log(tmp_path / "logs" / "rate.jsonl", job="j2", run="ds/run")
    synced(tmp_path)
    write(tmp_path / "ds" / "run", steps=5)
    synced(tmp_path)
    run = Run.objects.get()
    assert (run.name, sorted(run.jobs.values_list("external_id", flat=True))) == ("run", ["j1", "j2"])
    assert run.point_count == 10 + 10 + 2 * 5


def test_two_runs_may_have_a_job_of_the_same_id(tmp_path):
    job_log(tmp_path / "a" / "job.jsonl", job="1", steps=5)
    job_log(tmp_path / "b" / "job.jsonl", job="1", steps=9, end=False, total_steps=50)
    synced(tmp_path)
    found = {run.path_text: run for run in Run.objects.all()}
    assert {name: run.status for name, run in found.items()} == {"a/job.jsonl": "finished", "b/job.jsonl": "running"}
    assert {name: (run.step, run.total_steps) for name, run in found.items()} == {
        "a/job.jsonl": (4, 100), "b/job.jsonl": (8, 50)}
    assert {job.run.path_text: job.step for job in Job.objects.all()} == {"a/job.jsonl": 4, "b/job.jsonl": 8}


def test_nothing_is_missing_below_a_folder_that_cannot_be_looked_into(tmp_path):
    write(tmp_path / "ds" / "run")
    synced(tmp_path)
    assert Dataset.objects.get().name == "ds"
    assert os.path.isdir(tmp_path)
    outcome_of(Path(tmp_path))
    assert not Run.objects.get().files_missing
