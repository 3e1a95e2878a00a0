"""Cleaning up from the browser: what is chosen is shown, confirmed by its number, done, and told."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.timezone import now

from retention import work
from retention.candidates import candidates
from retention.models import Hold, Plan
from retention.plan import Author, Options, draft
from retention.plan import confirm as confirm_plan
from retention.telling import price
from retention.turn import turn
from runs.models import AuditEntry, Bookmark, Run
from tests.retention.oldruns import aged, content, run_at, source_at
from tests.retention.test_cleanup_command import asked as console
from tests.runs.conftest import signed_in
from tests.runs.factories import make_trainer, make_user

pytestmark = pytest.mark.django_db


def page(user: User, path: str, **query: Any) -> Any:
    return signed_in(user).get(f"/storage/cleanups/{path}", query)


def hidden(answer: Any) -> dict[str, list[str]]:
    """What the form of a preview sends along."""
    form = answer.content.decode().partition('class="sure')[2].partition("</form>")[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', form):
        found.setdefault(name, []).append(value)
    return found


def confirm(user: User, preview: Any, **more: Any) -> Any:
    return signed_in(user).post("/storage/cleanups/confirm/", hidden(preview) | more)


def carried_out(pk: int) -> None:
    """As the janitor does it."""
    with turn() as held:
        work.carry_out(Plan.objects.get(pk=pk), held)


def test_a_preview_tells_what_goes_and_what_stays_and_changes_nothing(source, bob):
    gone, kept = run_at(source, "a", sizes=(2048,)), run_at(source, "b", pinned=True)
    before = content(Path(source.root))
    said = page(bob, "preview/", run=[gone.pk, kept.pk, 999_999]).content.decode()
    assert "is pinned" in said and "2.0 KiB" in said and "chosen by hand" in said
    assert "1 of the chosen runs cannot be found" in said
    assert "Type <b>1</b> to clean up 1 run," in said
    assert content(Path(source.root)) == before and not Plan.objects.exists()


def test_what_was_typed_and_confirmed_is_done_and_told(source, bob):
    gone, kept = run_at(source, "a"), run_at(source, "b")
    preview = page(bob, "preview/", run=[gone.pk, kept.pk])
    for typed in ("", "1", "two", "²"):
        wrong = confirm(bob, preview, typed=typed)
        assert wrong.status_code == 400 and not Plan.objects.exists()
    answer = confirm(bob, preview, typed="2", why="full <disk>")
    plan = Plan.objects.get()
    assert answer["Location"] == f"/storage/cleanups/{plan.pk}/"
    assert (plan.origin, plan.who, plan.why, plan.selected) == ("web", "bob", "full <disk>", "2 by hand")
    assert AuditEntry.objects.get(action="confirm cleanup").address == "127.0.0.1"
    waiting = signed_in(bob).get(answer["Location"]).content.decode()
    assert f'data-poll="/storage/cleanups/{plan.pk}/progress/"' in waiting and "full &lt;disk&gt;" in waiting
    Run.objects.filter(pk=kept.pk).update(pinned=True)
    carried_out(plan.pk)
    done = page(bob, f"{plan.pk}/progress/").content.decode()
    assert "data-poll" not in done and "<b>1</b> of 2 runs moved to the trash" in done and "is pinned" in done
    assert Run.objects.get(pk=gone.pk).lifecycle_stage == "buried" and (Path(source.root) / "b").is_dir()
    assert f">{plan.pk}</a>" in page(bob, "").content.decode()


def test_a_dataset_is_called_by_its_name_and_runs_of_one_name_are_told_apart(source, bob):
    run = run_at(source, "nightly/run", dataset="nightly", name="run")
    os.mkfifo(Path(source.root) / "nightly/run/pipe")
    aged(Path(source.root) / "nightly/run", 30)
    staying = page(bob, "preview/", dataset=run.dataset_id).content.decode()
    assert "holds &#x27;pipe&#x27;, a FIFO: only files and folders" in staying and "<small>nightly</small>" in staying
    (Path(source.root) / "nightly/run/pipe").unlink()
    aged(Path(source.root) / "nightly/run", 30)
    confirm(bob, page(bob, "preview/", dataset=run.dataset_id), typed="1")
    Run.objects.update(pinned=True)
    carried_out(plan := Plan.objects.get().pk)
    done = page(bob, f"{plan}/").content.decode()
    assert "dataset nightly" in done and "<small>nightly</small>" in done and "is pinned" in done


def test_what_changed_since_the_preview_is_shown_again_and_nothing_is_done(source, bob):
    one, two = run_at(source, "a"), run_at(source, "b")
    preview = page(bob, "preview/", run=[one.pk, two.pk])
    (Path(source.root) / "a" / "sub" / "more").touch()
    Bookmark.objects.create(run=two, owner=bob)
    answer = confirm(bob, preview, typed="2")
    said = answer.content.decode()
    assert answer.status_code == 409 and not Plan.objects.exists()
    assert "a would be left alone now: was written" in said and "b would be left alone now: is bookmarked" in said
    without = signed_in(bob).post("/storage/cleanups/confirm/", {"run": one.pk, "typed": "1"})
    assert without.status_code == 400 and "no answer to a preview" in without.content.decode()


def test_old_means_the_same_on_the_console_and_on_the_page(source, bob, ada):
    """CH-49."""
    for name, days in (("a", 40), ("b", 20), ("c", 8), ("d", 3)):
        run_at(source, name, days=days, pinned=name == "b")
    told = console("--select", "old", "--older-than", "10d", "--dry-run")
    answer = page(bob, "preview/", older_than="10d")
    draft = answer.context["draft"]
    assert [one.candidate.name for one in draft.going] == [one["name"] for one in told["going"]] == ["a"]
    assert [one.candidate.name for one in draft.staying] == [one["name"] for one in told["staying"]] == ["b"]
    assert draft.token == told["token"] and draft.going[0].reason == told["going"][0]["reason"]
    forced = console("--select", "old", "--older-than", "10d", "--dry-run", "--force")
    assert page(ada, "preview/", older_than="10d", force="on").context["draft"].token == forced["token"]


def test_a_filter_offers_the_oldest_and_an_empty_one_never_means_all(source, bob):
    run_at(source, "young", days=2), run_at(source, "older", days=9, dataset="x"), run_at(source, "oldest", days=30)
    offered = [row.name for row, _ in page(bob, "new/", most=2).context["rows"]]
    assert offered == ["oldest", "older"]
    assert [row.name for row, _ in page(bob, "new/").context["rows"]] == ["oldest", "older", "young"]
    assert page(bob, "preview/").status_code == 400
    for wrong in ({"older_than": "soon"}, {"trainer": "rooter"}, {"dataset": "1\0"}, {"trainer": "\0"}, {"most": "1e999"},
                  {"run": "1", "most": "1"}, {"grace": "999999w"}, {"force": "on", "most": "1"}, {"dataset": "9" * 40}):
        for part in ("new/", "preview/"):
            assert page(bob, part, **wrong).status_code == 400, wrong


def test_runs_of_other_trainers_are_not_there(source, tmp_path, bob):
    mine = run_at(source, "mine")
    hidden_run = run_at(source_at(tmp_path / "other", make_trainer("router", "team-router").slug), "hidden-run")
    dora = make_user("dora", "operator", "team-router")
    preview = page(bob, "preview/", run=[mine.pk, hidden_run.pk])
    assert "hidden-run" not in preview.content.decode()
    assert page(bob, "preview/", trainer="router").status_code == 400
    plan = confirm(bob, preview, typed="1")["Location"]
    assert signed_in(dora).get(plan).status_code == 404 and signed_in(dora).get(f"{plan}progress/").status_code == 404
    assert not page(dora, "").context["stands"]


def test_of_a_cleanup_that_is_in_part_of_others_nothing_tells_of_their_runs(source, tmp_path, bob):
    mine = run_at(source, "mine")
    run_at(source_at(tmp_path / "other", make_trainer("router", "team-router").slug), "hidden-run")
    made = draft([(one, "old") for one in candidates(Run.objects.all())], Options(), now())
    plan = confirm_plan(made, Author("ada", "web", selected="trainer router"), made.token)
    said = {"run": "hidden-run", "step": "archiving", "done": 7_000_000, "total": 21_000_640}
    Plan.objects.filter(pk=plan.pk).update(state="working", progress=said)
    client = signed_in(bob)
    for where in ("/storage/cleanups/", plan.get_absolute_url(), f"{plan.get_absolute_url()}progress/",
                  f"/admin/retention/plan/{plan.pk}/change/"):
        page = client.get(where).content.decode()
        assert mine.name in page or where.endswith("cleanups/")
        assert not any(word in page for word in ("hidden-run", "router", "7.000 MB", "21.00 MB", "33.33")), where


def test_a_list_of_cleanups_costs_the_same_queries_however_long(source, bob, django_assert_num_queries):
    client = signed_in(bob)
    for name in ("a", "b", "c"):
        confirm(bob, page(bob, "preview/", run=run_at(source, name).pk), typed="1")
        with django_assert_num_queries(7):
            client.get("/storage/cleanups/")


def test_a_run_is_held_and_let_go_and_no_cleanup_takes_it_meanwhile(source, alice, bob):
    run, client = run_at(source, "a"), signed_in(bob)
    client.post(reverse("run-hold", args=[run.pk]), {"reason": "for the <paper>", "until": "2999-01-31"})
    for user in (alice, bob):
        said = signed_in(user).get(run.get_absolute_url()).content.decode()
        assert "for the &lt;paper&gt;" in said and "until 2999-01-31" in said and ("Lift the hold" in said) == (user == bob)
    assert "is held: for the &lt;paper&gt;" in page(bob, "preview/", run=run.pk).content.decode()
    client.post(reverse("run-hold-lift", args=[run.pk]))
    assert not Hold.objects.exists() and Run.objects.get().version == 2
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["hold", "lift hold"]
    for wrong in ({"reason": ""}, {"reason": "x", "until": "2001-01-01"}, {"reason": "x" * 501}, {"reason": "a\nb"}):
        answer = client.post(reverse("run-hold", args=[run.pk]), wrong)
        assert answer.status_code == 400 and 'role="alert"' in answer.content.decode() and not Hold.objects.exists()


def test_what_costs_less_than_a_cent_is_not_said_to_cost_nothing(settings):
    settings.TRAINMON_STORAGE_PRICE = Decimal("0.10")
    assert [price(count) for count in (0, 10**6, 10**9)] == ["$0.00", "under $0.01", "$0.10"]
