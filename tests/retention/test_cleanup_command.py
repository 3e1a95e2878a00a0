"""manage.py cleanup: what it lists, what it would do, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from retention import plan
from retention.candidates import candidates
from retention.console import colour
from retention.models import Archive, Hold, Plan, PlannedRun, Tombstone
from retention.turn import turn
from runs.models import AuditEntry, Run
from tests.retention.oldruns import content, run_at, source_at
from tests.runs.commands import said_by
from tests.runs.factories import make_trainer

pytestmark = pytest.mark.django_db


def command(*words: str, name: str = "cleanup") -> tuple[int, str, str]:
    """Exit code, standard output and standard error, as without a terminal."""
    return said_by(name, *words)


def asked(*words: str) -> dict[str, Any]:
    return json.loads(command(*words, "--json")[1])


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_it_lists_every_run_oldest_first_with_totals(source):
    run_at(source, "ds/young", days=1, dataset="alpaca", point_count=1234)
    run_at(source, "ds/old", days=40, sizes=(2048, 1024))
    code, out, _ = command()
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["#", "trainer", "dataset", "run", "size", "event", "files", "points", "last", "modified", "status"]
    assert [line[:4] for line in lines[1:3]] == [["0", "lora", "–", "old"], ["1", "lora", "alpaca", "young"]]
    assert "3.0 KiB" in out and "1,234" in out and "2 runs" in out


def test_without_runs_it_says_so(db):
    assert command()[:2] == (0, "There are no runs: nothing to clean up.\n")
    assert "older than 7d" in command("--older-than", "7d")[1]


def test_a_dry_run_shows_what_goes_and_what_stays_and_changes_nothing(source):
    run_at(source, "a", sizes=(2048,)), run_at(source, "b", pinned=True)
    before = content(Path(source.root))
    code, out, _ = command("--select", "all", "--dry-run")
    assert code == 0 and "is pinned" in out and "2.0 KiB" in out and "archived and checked first" in out
    assert re.search(r"2\.0 KiB +[0-9.]+ KiB +30 d +all were selected", out)
    assert content(Path(source.root)) == before
    assert not Plan.objects.exists() and not AuditEntry.objects.exists()


def test_a_dry_run_in_json_names_the_same_and_its_token(source):
    run_at(source, "a", sizes=(2048,)), run_at(source, "b", pinned=True), run_at(source, "c", days=2)
    told = asked("--select", "old", "--dry-run")
    assert (names(told["going"]), names(told["staying"])) == (["a"], ["b"])
    assert told["staying"][0]["reason"] == "is pinned" and told["going"][0]["reason"].startswith("old: nothing came for 30 d")
    assert (told["total"]["runs"], told["total"]["size"], told["dry_run"]) == (1, 2048, True)
    assert told["token"] == asked("--select", "0 0-0", "--dry-run")["token"]


@pytest.mark.parametrize(("selected", "named"), [("0 x", '"x"'), ("1-0", '"1-0"'), ("0-9", '"0-9"'), ("-1", '"-1"')])
def test_a_wrong_selection_names_itself_and_ends_with_2(source, selected, named):
    run_at(source, "a"), run_at(source, "b")
    code, _, err = command(f"--select={selected}", "--dry-run")
    assert code == 2 and named in err


def test_only_runs_of_that_age_are_listed_and_are_what_is_meant(source):
    run_at(source, "a", days=40), run_at(source, "b", days=20), run_at(source, "c", days=8)
    assert names(asked("--older-than", "30d", "--dry-run")["going"]) == ["a"]
    assert names(asked("--older-than", "10d", "--select", "1", "--dry-run")["going"]) == ["b"]
    assert names(asked("--older-than", "30d", "--select", "old", "--dry-run")["going"]) == ["a"]
    code, _, err = command("--older-than", "soon")
    assert code == 2 and '"soon"' in err


def test_only_the_runs_of_a_trainer_are_listed_and_a_wrong_one_is_refused(source, tmp_path):
    run_at(source, "a"), run_at(source_at(tmp_path / "router", "router"), "b")
    assert names(asked("--trainer", "router")["runs"]) == ["b"]
    assert names(asked("--trainer", "all")["runs"]) == ["a", "b"]
    code, _, err = command("--trainer", "rooter")
    assert code == 2 and err == "There is no trainer rooter; there are: lora, router."
    code, _, err = command("--trainer", "", "--select", "all", "--yes")
    assert code == 2 and err == "There is no trainer without a name; there are: lora, router." and not Plan.objects.exists()
    make_trainer("all")
    assert command("--trainer", "all", "--select", "all", "--yes")[0] == 2 and not Plan.objects.exists()


def test_nothing_selected_is_nothing_done(source):
    run_at(source, "a")
    assert command("--select", "  ", "--dry-run")[0] == 0
    assert "Nothing is selected" in command("--select", "", "--dry-run")[1]
    nothing = {"runs": 0, "files": 0, "size": 0, "frees": 0}
    for words in (("--select", ""), ("--older-than", "90d", "--yes"), ("--older-than", "90d", "--select", "all")):
        told = asked(*words)
        assert (told["going"], told["staying"], told["total"]) == ([], [], nothing), words


def test_names_that_hold_escapes_and_markup_are_shown_as_text(source):
    run_at(source, "a", name="[red]x[/red]\x1b[2J\u202egnp")
    out = command()[1]
    assert "[red]x[/red]" in out and "\x1b" not in out and "\u202e" not in out


def test_the_age_is_coloured_by_the_thresholds(source, settings):
    for days in (0.5, 3, 8):
        run_at(source, f"r{days}", days=days)
    rows = candidates(Run.objects.all())
    assert [colour(row, now()) for row in rows] == ["red", "yellow", "green"]
    settings.TRAINMON_OLD_DAYS, settings.TRAINMON_FRESH_DAYS = 30, 5
    assert [colour(row, now()) for row in rows] == ["yellow", "green", "green"]


# what is really done


@pytest.fixture
def archives(tmp_path: Path, settings: Any) -> Path:
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    return tmp_path / "archive"


def audited() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def stages() -> dict[str, str]:
    return dict(Run.objects.values_list("name", "lifecycle_stage"))


def test_selected_runs_are_archived_and_lie_in_the_trash_and_others_stay(source, archives):
    run_at(source, "a", sizes=(2048, 10)), run_at(source, "b", days=2)
    before = content(Path(source.root))
    code, out, err = command("--select", "old", "--yes", "--why", "the volume is full")
    assert (code, err) == (0, "") and "1 run is in the trash" in out and "Nothing failed." in out
    assert content(Path(source.root)) == {path: what for path, what in before.items() if path.startswith("b")}
    assert stages() == {"a": "buried", "b": "active"}
    assert command("verify", name="archives")[0] == 0
    tomb = Tombstone.objects.get()
    assert (tomb.size, tomb.archive.state, tomb.planned.step) == (2058, "verified", "buried")
    assert audited() == ["confirm cleanup", "archive run", "bury run", "finish cleanup"]
    bury = AuditEntry.objects.get(action="bury run")
    assert (bury.why, bury.details["bytes"], "(console)" in bury.who) == ("the volume is full", 2058, True)


def test_without_a_terminal_nobody_is_asked_and_nothing_done(source, archives):
    run_at(source, "a")
    before = content(Path(source.root))
    code, _, err = command("--select", "all")
    assert code == 2 and "--yes" in err
    assert content(Path(source.root)) == before and not Plan.objects.exists()


def test_a_token_is_good_for_exactly_what_it_was_given_for(source, archives):
    run_at(source, "a")
    token = asked("--select", "all", "--dry-run")["token"]
    run_at(source, "b")
    code, _, err = command("--select", "all", "--confirm", token)
    assert code == 2 and "new dry run" in err and not Plan.objects.exists()
    assert asked("--select", "0", "--confirm", token)["left"] == [] and stages() == {"a": "buried", "b": "active"}


def test_what_must_stay_is_named_and_ends_with_1_and_the_rest_goes(source, archives):
    run_at(source, "a"), run_at(source, "b", pinned=True), run_at(source, "c", status="running")
    code, _, err = command("--select", "all", "--yes")
    assert code == 1 and "b: skipped: is pinned" in err and "c: skipped: is running" in err
    assert stages() == {"a": "buried", "b": "active", "c": "active"}
    assert command("--select", "0", "--yes", "--force")[0] == 0 and stages()["b"] == "buried"
    assert command("--select", "0", "--yes")[0] == 1


def test_a_run_that_changes_after_the_confirmation_stays_and_the_others_go(source, archives, monkeypatch):
    run_at(source, "a"), run_at(source, "b")
    confirm = plan.confirm

    def late(*args: Any) -> Plan:
        (Path(source.root) / "a/sub/file-1").write_bytes(b"more than before")
        return confirm(*args)

    monkeypatch.setattr(plan, "confirm", late)
    code, _, err = command("--select", "all", "--yes")
    assert code == 1 and "a: skipped" in err and "changed" in err
    assert stages() == {"a": "active", "b": "buried"}
    assert (Path(source.root) / "a/sub/file-1").read_bytes() == b"more than before"


def test_a_buried_run_comes_back_as_it_was(source, archives):
    run = run_at(source, "ds/a", sizes=(2048, 10, 0))
    before = content(Path(source.root) / "ds/a")
    command("--select", "all", "--yes")
    assert not (Path(source.root) / "ds/a").exists()
    assert json.loads(command("--json", name="restore")[1])["trash"][0]["id"] == run.pk
    assert command(str(run.pk), name="restore")[:2] == (0, "a is back, from the trash.\n")
    assert content(Path(source.root) / "ds/a") == before and stages() == {"a": "active"}
    assert command(name="restore")[1] == "Nothing lies in the trash.\n"


def test_the_trash_is_purged_after_its_time_and_the_archive_still_brings_the_run_back(source, archives):
    run = run_at(source, "a", sizes=(5000, 10))
    before = content(Path(source.root))
    assert command("--select", "all", "--yes", "--grace", "7d")[0] == 0
    told = json.loads(command("--purge", "--json")[1])
    assert told.pop("database")["points_dropped"] == 0 and told.pop("saved_a_month") == "$0.00 a month"
    assert told == {"purged": [], "freed": 0, "kept": [], "points_kept": []}
    Tombstone.objects.update(purge_after=now())
    told = json.loads(command("--purge", "--json")[1])
    assert (told["purged"], told["freed"], stages()) == ([run.pk], Tombstone.objects.get().frees, {"a": "purged"})
    assert [one.name for one in Path(source.root).parent.rglob("*") if "plan" in one.name and "archive" not in str(one)] == []
    assert command(str(run.pk), name="restore")[:2] == (0, "a is back, from the archive.\n")
    assert content(Path(source.root)) == before and stages() == {"a": "active"}
    assert audited()[-2:] == ["purge run", "restore run"]


def test_an_override_deletes_without_an_archive_and_the_trail_says_so(source, archives):
    run = run_at(source, "a")
    assert command("--select", "all", "--yes", "--no-archive", "--grace", "0d")[0] == 0
    assert AuditEntry.objects.get(action="confirm cleanup").details["archive"] is False
    assert command("--purge")[0] == 0 and not archives.exists()
    code, _, err = command(str(run.pk), name="restore")
    assert code == 1 and "without an archive" in err and stages() == {"a": "purged"}


@pytest.mark.parametrize("harm", ["byte", "manifest", "gone"])
def test_without_a_sound_archive_nothing_is_purged(source, archives, harm):
    run_at(source, "a", sizes=(5000,))
    command("--select", "all", "--yes", "--grace", "0d")
    data, manifest = next(archives.glob("*.tar.zst")), next(archives.glob("*.manifest.json"))
    if harm == "gone":
        data.unlink()
    else:
        hurt = bytearray((path := data if harm == "byte" else manifest).read_bytes())
        hurt[len(hurt) // 2] ^= 1
        path.write_bytes(hurt)
    code, _, err = command("--purge")
    assert code == 1 and "its archive cannot be relied on" in err and stages() == {"a": "buried"}
    code, out, _ = command("verify", "--json", name="archives")
    assert code == 1 and json.loads(out)["archives"][0]["state"] == "broken"
    assert f"{Archive.objects.get().name} is broken: " in command("verify", name="archives")[2]


def test_a_run_that_is_pinned_or_held_in_the_trash_is_not_purged(source, archives):
    one, two = run_at(source, "a"), run_at(source, "b")
    command("--select", "all", "--yes", "--grace", "0d")
    Run.objects.filter(pk=one.pk).update(pinned=True)
    Hold.objects.create(run=two, reason="audit")
    code, _, err = command("--purge")
    assert code == 1 and "pinned" in err and "is held: audit" in err
    assert stages() == {"a": "buried", "b": "buried"}


def test_a_run_that_cannot_be_moved_is_not_archived_each_time_for_nothing(source, archives):
    run_at(source, "a")
    (Path(source.root).parent / ".trainmon-trash").mkdir(mode=0o755)
    code, _, err = command("--select", "all", "--yes")
    assert code == 1 and "failed: was not archived:" in err and "mode 0700" in err
    assert not archives.exists() and not Archive.objects.exists() and stages() == {"a": "active"}


def test_a_purge_that_found_no_volume_deletes_nothing_later_that_is_held_meanwhile_and_can_be_undone(source, archives):
    run, root = run_at(source, "a"), Path(source.root)
    command("--select", "all", "--yes", "--grace", "0d")
    trash, away = root.parent / ".trainmon-trash", root.parent / "away"
    trash.rename(away)
    code, _, err = command("--purge")
    assert code == 1 and "is the right volume mounted?" in err and PlannedRun.objects.get().step == "buried"
    away.rename(trash)
    PlannedRun.objects.update(step="purging")  # as a kill leaves it that comes before the first file is deleted
    hold = Hold.objects.create(run=run, reason="audit")
    code, _, err = command("--purge")
    assert code == 1 and "is held: audit" in err and PlannedRun.objects.get().step == "buried"
    hold.delete()
    PlannedRun.objects.update(step="purging")
    assert command(str(run.pk), name="restore")[0] == 0 and stages() == {"a": "active"} and (root / "a/sub/file-1").exists()


def test_a_buried_run_that_grows_is_not_purged_but_named(source, archives):
    run_at(source, "a")
    command("--select", "all", "--yes", "--grace", "0d")
    grave = next(Path(source.root).parent.glob(".trainmon-trash/run-*-plan-*/sub"))
    (grave / "late").write_text("still writing")
    code, _, err = command("--purge")
    assert code == 1 and "changed since it was buried" in err
    assert Tombstone.objects.get().grew == ["'sub'", "'sub/late'"] and stages() == {"a": "buried"}


def test_a_run_is_not_restored_over_what_lies_in_its_place(source, archives):
    run = run_at(source, "a")
    command("--select", "all", "--yes")
    other = Path(source.root) / "a"
    other.mkdir()
    code, _, err = command(str(run.pk), name="restore")
    assert code == 1 and "something lies at a now" in err and stages() == {"a": "buried"}
    other.rmdir()
    new = run_at(source, "a", name="new")
    assert command(str(run.pk), name="restore")[0] == 1 and Run.objects.get(pk=new.pk).lifecycle_stage == "active"


def test_an_archive_is_unpacked_elsewhere_and_the_registry_stays_as_it_is(source, archives, tmp_path):
    run = run_at(source, "a", sizes=(5000, 7))
    before = content(Path(source.root) / "a")
    command("--select", "all", "--yes")
    assert command(str(run.pk), "--to", str(tmp_path / "copy"), name="restore")[0] == 0
    code, _, err = command(str(run.pk), "--to", str(tmp_path / "copy"), name="restore")
    assert code == 1 and f"something lies at '{tmp_path}/copy' already" in err
    code, _, err = command(str(run.pk), "--to", str(tmp_path / "no/copy"), name="restore")
    assert code == 1 and f"'{tmp_path}/no', in which it was to be restored, is no folder" in err
    assert content(tmp_path / "copy") == before and stages() == {"a": "buried"}
    assert command(str(run.pk), "--to", "copy", name="restore")[0] == 2
    assert command(str(run.pk), "--to", str(tmp_path / "copy"), name="restore")[0] == 1


def test_there_is_no_restoring_what_is_not_there(db):
    assert command("99999999999999999999", name="restore")[0] == 2
    assert command("verify", "nothing", name="archives")[0] == 2
    assert command("list", name="archives")[1] == "There are no archives.\n"


def test_an_archive_inside_the_logs_is_refused_and_nothing_is_touched(source, settings):
    run_at(source, "a")
    settings.TRAINMON_ARCHIVE = f"{source.root}/archive"
    before = content(Path(source.root))
    code, _, err = command("--select", "all", "--yes")
    assert code == 1 and "inside the logs" in err
    assert content(Path(source.root)) == before and stages() == {"a": "active"}


def test_two_cleanups_exclude_each_other(source, monkeypatch):
    monkeypatch.setattr("retention.turn.PATIENCE", 0.2)
    run_at(source, "a")
    with turn():
        code, _, err = command("--select", "all", "--yes")
    assert code == 1 and "another cleanup is at work" in err and stages() == {"a": "active"}
