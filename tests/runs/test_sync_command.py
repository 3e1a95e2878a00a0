"""manage.py sync_runs: what it prints and how it ends."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runs.models import Run, Source, Trainer, Transition
from runs.sync import sync as the_sync
from tests.runs.commands import said_by
from tests.runs.processes import argv, sync_command
from tests.runs.trees import copy, registry, same, settle, source_of, synced, write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, inside the test's transaction; real processes see nothing of it."""
    from runs.management.commands import sync_runs

    def in_this_process(pk: int, how: Any, *, isolate: str, report: Any) -> Any:
        return the_sync(pk, dataclasses.replace(how, workers=1), isolate="here", report=report)

    monkeypatch.setattr(sync_runs, "sync", in_this_process)


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    return said_by("sync_runs", *words)


def damaged(folder: Path) -> Path:
    path = write(folder)
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(data)
    return path


def test_a_new_path_becomes_a_source_and_its_runs_are_counted(tmp_path):
    write(tmp_path / "ds" / "one")
    code, out, err = command(f"lora={tmp_path}")
    assert (code, err) == (0, "")
    assert Source.objects.get().trainer.slug == "lora"
    assert "lora=" in out and "40" in out


def test_damage_is_named_and_ends_with_1(tmp_path):
    path = damaged(tmp_path / "run")
    write(tmp_path / "fine")
    code, _, err = command(f"lora={tmp_path}")
    assert code == 1
    assert path.name in err
    assert Run.objects.get(name="fine").point_count == 40


def test_damage_is_named_again_when_nothing_has_changed(tmp_path):
    damaged(tmp_path / "run")
    settle(tmp_path)
    first = command(f"lora={tmp_path}")
    assert command()[2] == command()[2] == first[2]


def test_a_source_in_error_is_named_and_the_others_are_synced(tmp_path):
    write(tmp_path / "gone" / "run")
    write(tmp_path / "fine" / "run")
    synced(tmp_path / "gone", "gone")
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    code, out, err = command(f"fine={tmp_path}/fine")
    assert code == 0
    code, out, err = command()
    assert code == 1 and "does not exist" in err and "fine=" in out


@pytest.mark.parametrize("words", [
    ["--workers", "0"], ["--workers", "65"], ["--trainer", "nobody"], ["--source", "999999"], ["/does/not/exist"],
    ["x y=/tmp"], ["slug="], [], ["--confirm-loss", "--dry-run"], ["../../../../../../proc/self/nothing"], ["/etc/passwd"]])
def test_bad_arguments_end_with_2_and_say_what_to_do(words):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err and "Traceback" not in err
    assert not Source.objects.exists() and not Trainer.objects.exists()


def test_a_root_inside_another_is_refused(tmp_path):
    write(tmp_path / "a" / "run")
    assert command(f"one={tmp_path}")[0] == 0
    code, _, err = command(f"two={tmp_path}/a")
    assert code == 2 and "contain one another" in err


def test_a_root_that_is_no_text_is_refused(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    code, _, err = command(os.fsdecode(folder))
    assert code == 2 and "not UTF-8" in err


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(tmp_path):
    write(tmp_path / "one")
    source_of(tmp_path)
    code, out, _ = command("--dry-run")
    assert code == 0 and "dry run" in out
    assert not Run.objects.exists()
    synced(tmp_path)
    settle(tmp_path)
    synced(tmp_path)
    before, transitions = registry(source_of(tmp_path)), Transition.objects.count()
    Run.objects.update(last_arrival="2020-01-01T00:00:00Z")
    write(tmp_path / "two")
    assert command("--dry-run")[0] == 0
    assert same(registry(source_of(tmp_path)), before)
    assert Transition.objects.count() == transitions


def test_a_dry_run_of_an_unchanged_tree_writes_nothing_either(tmp_path):
    write(tmp_path / "one")
    settle(tmp_path)
    synced(tmp_path)
    Run.objects.update(last_arrival="2020-01-01T00:00:00Z", status="running")
    command("--dry-run")
    assert Run.objects.get().status == "running"


def test_json_is_one_object_with_every_source(tmp_path):
    write(tmp_path / "a" / "run")
    damaged(tmp_path / "b" / "run")
    command(f"a={tmp_path}/a", f"b={tmp_path}/b")
    write(tmp_path / "a" / "more")
    code, out, err = command("--json")
    found = json.loads(out)
    assert (code, err, found["ok"], len(found["sources"])) == (1, "", False, 2)
    assert (found["total"]["new"], found["total"]["runs"], found["total"]["points"]) == (1, 3, 40)


def test_names_with_terminal_escapes_are_printed_harmless(tmp_path):
    folder = tmp_path / "\x1b[31mred\x1b]0;title\x07"
    damaged(folder)
    (folder / "\x1b[2J").symlink_to("/etc")
    _, out, err = command(f"t={tmp_path}")
    assert "\x1b" not in out.replace("\x1b[0m", "") and "\x1b" not in err and "\x07" not in err
    assert "\\x1b" in err


def test_only_the_named_trainer_is_synced(tmp_path):
    for name in ("lora", "router"):
        write(tmp_path / name / "run")
        source_of(tmp_path / name, name)
    assert command("--trainer", "lora")[0] == 0
    assert Run.objects.get().source.trainer.slug == "lora"


def test_a_disabled_source_is_left_alone_unless_it_is_named(tmp_path):
    write(tmp_path / "logs" / "run")
    source_of(tmp_path / "logs")
    Source.objects.update(enabled=False)
    assert command()[0] == 2
    assert command(f"t={tmp_path}/logs")[0] == 0


def test_full_reads_everything_again_and_keeps_what_is_shown(tmp_path):
    write(tmp_path / "run")
    command(f"t={tmp_path}")
    code, out, _ = command("--full", "--json")
    assert (code, json.loads(out)["total"]["points"], Run.objects.get().point_count) == (0, 40, 40)


@pytest.mark.django_db(transaction=True)
def test_the_real_command_ends_as_it_says(tmp_path):
    write(tmp_path / "logs" / "run")
    fine = sync_command(f"t={tmp_path}/logs")
    assert (fine.returncode, fine.stderr) == (0, ""), fine.stderr
    damaged(tmp_path / "logs" / "hurt")
    assert sync_command().returncode == 1
    wrong = sync_command("--source", "one")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
    assert sync_command("--nonsense").returncode == 2
    nowhere = sync_command(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (nowhere.returncode, "Traceback" in nowhere.stderr) == (1, False), nowhere.stderr
    assert "the database failed" in nowhere.stderr
    assert argv()[1:] == ["manage.py", "sync_runs"]


def test_equal_trees_of_two_sources_have_equal_registries(tmp_path):
    write(tmp_path / "one" / "ds" / "run")
    settle(tmp_path)
    copy(tmp_path / "one", tmp_path / "two")
    assert command(f"a={tmp_path}/one", f"b={tmp_path}/two")[0] == 0
    assert same(registry(source_of(tmp_path / "one", "a")), registry(source_of(tmp_path / "two", "b")))
