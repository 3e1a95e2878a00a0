"""manage.py cleanup: what it lists, what it would do, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from retention.candidates import candidates
from retention.console import colour
from retention.models import Plan
from runs.models import AuditEntry, Run, Source
from tests.retention.oldruns import content, run_at, source_at

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return source_at(tmp_path / "logs")


def command(*words: str, name: str = "cleanup") -> tuple[int, str, str]:
    """Exit code, standard output and standard error, as without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(name, *words, stdout=out, stderr=err)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue(), str(error)
    return 0, out.getvalue(), err.getvalue()


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


def test_nothing_selected_is_nothing_done(source):
    run_at(source, "a")
    assert command("--select", "  ", "--dry-run")[0] == 0
    assert "Nothing is selected" in command("--select", "", "--dry-run")[1]


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
