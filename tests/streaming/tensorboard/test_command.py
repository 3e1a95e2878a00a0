"""What may be said to a TensorBoard, where its sources lie, and when it should run."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError

from runs.models import Run, Source, Trainer
from streaming.models import TensorBoard
from streaming.tensorboard.command import check_arguments, command, needed_paths
from streaming.tensorboard.mounts import mounted, run_name
from streaming.tensorboard.wishes import State, Wish, wished
from tests.runs.factories import make_run, make_source, make_trainer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LORA = Trainer(name="lora", slug="lora")
Mode = TensorBoard.Mode


@pytest.mark.parametrize("argument", [
    "--logdir=/etc", "--host=0.0.0.0", "--port=80", "--path_prefix=/", "--db=sqlite:/x", "--logdir_spec=a:/etc",
    "--bind_all=true", "--grpc_data_provider=elsewhere:1", "--extra_data_server_flags=--x", "--window_title", "window_title=x",
    "-h", "serve", "",
    "--samples_per_plugin=images=1\n--logdir=/etc", "--samples_per_plugin=" + "x" * 1000, "--window_title=\0",
])
def test_arguments_that_name_files_addresses_or_programs_are_refused(argument):
    with pytest.raises(ValidationError):
        check_arguments([argument])


@pytest.mark.parametrize("arguments", ["--window_title=x", {"a": 1}, [1], [["--window_title=x"]], None])
def test_arguments_are_a_list_of_strings(arguments):
    with pytest.raises(ValidationError, match="list of strings"):
        check_arguments(arguments)


def test_the_command_line_has_what_is_set_and_what_was_given():
    row = TensorBoard(trainer=LORA, reload_interval=7, arguments=["--samples_per_plugin=images=50", "--load_fast=false"])
    words = command(row, "/logs")
    assert words[1:4] == ["-I", "-m", "tensorboard.main"]
    assert {"--logdir=/logs", "--path_prefix=/tensorboard/lora", "--reload_interval=7", "--reload_multifile=true"} < set(words)
    assert words[-2:] == row.arguments and "--load_fast=true" not in words


def test_only_named_programs_are_run(settings):
    row = TensorBoard(trainer=LORA, executable="/opt/tb/bin/tensorboard")
    with pytest.raises(ValidationError, match="TRAINMON_TB_PROGRAMS"):
        command(row, "/logs")
    settings.TRAINMON_TB_PROGRAMS = ["/opt/tb/bin/tensorboard"]
    assert command(row, "/logs")[0] == "/opt/tb/bin/tensorboard"


def test_a_program_needs_its_environment_and_the_python_it_was_made_from():
    found = needed_paths([sys.executable])
    assert {os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)} <= set(found)


def test_a_script_in_a_home_does_not_show_that_home(tmp_path):
    path = tmp_path / "bin" / "tensorboard"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n")
    assert str(path) in needed_paths([str(path)]) and str(tmp_path) not in needed_paths([str(path)])
    assert os.path.realpath(sys.base_prefix) in needed_paths([str(path)])


def test_one_source_is_the_whole_folder_and_of_several_each_has_its_own():
    one, two, three = (Source(pk=n, root=root) for n, root in enumerate(["/a/logs", "/b/logs", "/c/other"]))
    assert mounted([one]) == {one: ""}
    assert mounted([three, two, one]) == {one: "logs", two: "logs-2", three: "other"}


@pytest.mark.django_db
def test_a_run_is_called_by_its_path_below_what_tensorboard_reads():
    lora = make_trainer("lora")
    run = make_run(make_source(lora, root="/a/logs"), path=b"data/first")
    top = make_run(run.source, path=b"")
    assert (run_name(run), run_name(top)) == ("data/first", ".")
    make_source(lora, root="/b/more")
    assert [run_name(Run.objects.get(pk=one.pk)) for one in (run, top)] == ["logs/data/first", "logs"]


@pytest.mark.parametrize(("fields", "wish"), [
    ({}, Wish(True)),
    ({"mode": Mode.STOPPED}, Wish(False, State.STOPPED, "Somebody stopped it.")),
    ({"mode": Mode.STOPPED, "until": NOW + timedelta(minutes=1)}, Wish(True)),
    ({"mode": Mode.STOPPED, "until": NOW}, Wish(False, State.STOPPED, "Its time was over at 2026-01-01 00:00 UTC.")),
    ({"mode": Mode.DEMAND, "visited": NOW - timedelta(minutes=29)}, Wish(True)),
    ({"mode": Mode.DEMAND}, Wish(False, State.ASLEEP, "Nobody has looked for 30 minutes; it wakes with the next visit.")),
])
def test_when_it_should_run(fields, wish):
    assert wished(TensorBoard(trainer=LORA, **fields), [Source(root="/a")], NOW) == wish


def test_without_sources_it_should_not():
    assert wished(TensorBoard(trainer=LORA), [], NOW).reason == "No source of this trainer is enabled."


def test_the_program_of_ours_is_found_through_real_folders(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(Path(sys.executable).parent)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "link" / Path(sys.executable).name))
    assert not command(TensorBoard(trainer=LORA), "/logs")[0].startswith(str(tmp_path))
