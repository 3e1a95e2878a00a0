"""Cleanup for scripts: a dry run gives a token, and only that token does what it told."""

from __future__ import annotations

from pathlib import Path

import pytest

from retention.models import Plan
from runs.models import AuditEntry, Run
from tests.retention.oldruns import run_at
from tests.retention.test_cleaning_pages import carried_out
from tests.retention.test_cleanup_command import asked as console
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.factories import make_trainer

pytestmark = pytest.mark.django_db


def test_a_dry_run_tells_exactly_what_the_console_tells(source, bob):
    """CH-49."""
    for name, days in (("a", 40), ("b", 20), ("c", 3)):
        run_at(source, name, days=days, pinned=name == "b")
    told = console("--select", "old", "--older-than", "10d", "--dry-run")
    said = send(by_token(bob), "POST", "/api/cleanups/", {"older_than": "10d"}).json()
    for side in ("going", "staying"):
        assert [one["id"] for one in said[side]] == [one["id"] for one in told[side]]
        assert [one["reason"] for one in said[side]] == [one["reason"] for one in told[side]]
    assert (said["token"], said["total"]) == (told["token"], told["total"])
    assert not Plan.objects.exists()


def test_the_token_of_a_dry_run_confirms_it_and_the_run_comes_back_from_the_trash(source, bob):
    caller, run = by_token(bob), run_at(source, "a")
    asked = {"runs": [run.pk], "grace": "2d"}
    token = send(caller, "POST", "/api/cleanups/", asked).json()["token"]
    problem(send(caller, "POST", "/api/cleanups/confirm/", {"runs": [run.pk], "token": token}), 409, "changed")
    answer = send(caller, "POST", "/api/cleanups/confirm/", asked | {"token": token, "why": "full"})
    told = answer.json()
    assert answer.status_code == 201 and answer["Location"] == told["url"]
    assert (told["state"], told["origin"], told["grace_seconds"], told["results"][0]["step"]) == (
        "confirmed", "api", 172_800, "planned")
    replay = send(caller, "POST", "/api/cleanups/confirm/", asked | {"token": token, "seen": f"{run.pk}:"})
    again = problem(replay, 409, "nothing-to-do")
    assert again["errors"]["runs"] == [f"a would be left alone now: is in cleanup {told['id']}, which is under way."]
    carried_out(told["id"])
    done = caller.get(told["url"]).json()
    assert (done["state"], done["share"], done["moved"], done["results"][0]["step"]) == ("done", 1.0, 1, "buried")
    assert [one["id"] for one in caller.get("/api/cleanups/").json()["results"]] == [told["id"]]
    tomb = caller.get("/api/trash/").json()["results"][0]
    assert (tomb["run"], tomb["archived"]) == (run.pk, True)
    for _ in range(2):
        assert send(caller, "POST", f"/api/trash/{tomb['id']}/restore/", {"why": "wanted"}).status_code == 202
    assert AuditEntry.objects.filter(action="order restore", why="wanted").count() == 1


def test_a_confirmation_that_is_out_of_date_names_each_run_that_changed(source, bob):
    caller, runs = by_token(bob), [run_at(source, name) for name in "abc"]
    asked = {"runs": [run.pk for run in runs]}
    dry = send(caller, "POST", "/api/cleanups/", asked).json()
    order = asked | {"token": dry["token"], "seen": dry["seen"]}
    (Path(source.root) / "a/sub/file-1").chmod(0o600)
    Run.objects.filter(name="b").update(pinned=True)
    told = problem(send(caller, "POST", "/api/cleanups/confirm/", order), 409, "changed")["errors"]["runs"]
    assert told == ["What lies in a has changed.", "b would be left alone now: is pinned."]
    Run.objects.update(pinned=True)
    assert len(problem(send(caller, "POST", "/api/cleanups/confirm/", order), 409, "nothing-to-do")["errors"]["runs"]) == 3
    assert not Plan.objects.exists()


@pytest.mark.parametrize(("body", "field"), [
    ({}, "request"), ({"runs": []}, "request"), ({"runs": [999_999]}, "runs"), ({"older_than": "soon"}, "older_than"),
    ({"trainer": "router"}, "trainer"), ({"dataset": 2**62}, "dataset"), ({"most": 0}, "most"),
    ({"runs": [1], "most": 1}, "request"), ({"path": "/etc"}, "path"), ({"most": 1, "grace": "999999w"}, "grace"),
])
def test_a_wrong_question_names_what_is_wrong(source, bob, body, field):
    make_trainer("router", "team-router")
    assert field in problem(send(by_token(bob), "POST", "/api/cleanups/", body), 400, "invalid")["errors"]


def test_only_an_admin_takes_what_is_pinned_and_a_reader_nothing(source, bob, ada, alice):
    run = run_at(source, "a", pinned=True)
    forced = {"runs": [run.pk], "force": True}
    problem(send(by_token(bob), "POST", "/api/cleanups/", forced), 403, "permission-denied")
    assert len(send(by_token(ada), "POST", "/api/cleanups/", forced).json()["going"]) == 1
    problem(send(by_token(bob, "read"), "POST", "/api/cleanups/", forced), 403, "insufficient-scope")
    problem(send(by_token(alice), "POST", "/api/cleanups/", forced), 403, "permission-denied")
    kept = {"runs": [run.pk], "token": "0" * 64}
    problem(send(by_token(bob), "POST", "/api/cleanups/confirm/", kept), 409, "nothing-to-do")
    assert Run.objects.get().lifecycle_stage == "active" and not Plan.objects.exists()
