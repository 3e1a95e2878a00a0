"""The admin of runs on disk: what it lists, what each action shows first, and what comes of a confirmation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from retention.models import Archive, Hold, Plan, PlannedRun, Tombstone
from runs.models import AuditEntry, Run, Source
from tests.retention.oldruns import content, run_at, source_at
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer, make_user
from trainmon.celery import app

pytestmark = pytest.mark.django_db
LIST = "/admin/retention/runstorage/"


@pytest.fixture
def client(source: Source, bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    """No order is left for other tests."""
    yield
    list(ordered())


def ordered() -> Iterator[Any]:
    """What the janitor was told: its tasks with their arguments."""
    with app.connection_for_read() as broker:
        for name in (app.conf.task_default_queue, "janitor"):
            with broker.SimpleQueue(name) as queue:
                while True:
                    try:
                        message = queue.get_nowait()
                    except Empty:
                        break
                    message.ack()
                    yield app.tasks[message.headers["task"]], message.payload[0]


def janitor() -> None:
    """Do what was ordered, as the janitor does."""
    for task, said in ordered():
        task(*said)


def look(client: Client, deed: str, *runs: Run) -> str:
    """The preview of an action on these rows."""
    form = {"action": deed, "_selected_action": [run.pk for run in runs]}
    return client.post(LIST, form, follow=True).content.decode()


def confirm(client: Client, deed: str, page: str, **said: Any) -> Any:
    """Send the form of a preview, its number typed."""
    form = {name: re.search(f'name="{name}" value="([^"]*)"', page)[1] for name in ("ids", "token", "seen")}
    typed = re.search("Type <b>([0-9]+)</b>", page)
    usual = {"typed": typed[1] if typed else "", "archive": "on", "grace": "7"}
    return client.post(f"{LIST}{deed}/", {**form, **usual, **said}, follow=True)


def listed(page: str) -> list[str]:
    return re.findall(r'class="field-name"><a href="[^"]*">(\w+)<', page)


def stages() -> list[str]:
    return list(Run.objects.order_by("name").values_list("lifecycle_stage", flat=True))


def test_runs_are_listed_by_what_they_take_oldest_first(client, source):
    run_at(source, "young", days=2, dataset="alpaca", point_count=1234), run_at(source, "old", days=40, sizes=(2048, 1024))
    Hold.objects.create(run=run_at(source, "held", days=50, status="failed"), reason="paper")
    run_at(source, "gone", lifecycle_stage="purged")
    page = client.get(LIST).content.decode()
    assert listed(page) == ["held", "old", "young"]
    for word in ("3.0 KiB", "1,234", "alpaca", "paper", "failed", 'class="age old"', 'class="age recent"'):
        assert word in page
    for query, found in {
        "stage=purged": ["gone"], "age=recent": ["young"], "bytes=1m": [], "held=1&status=failed": ["held"],
        "trainer=lora&held=0&age=old": ["old"], "q=you": ["young"], "stage=all&bytes=0&o=1": ["gone", "held", "old", "young"],
    }.items():
        assert listed(client.get(f"{LIST}?{query}").content.decode()) == found, query


def test_the_list_costs_the_same_queries_whatever_its_length(client, django_assert_num_queries):
    for number in range(20):
        Hold.objects.create(run=make_run(make_source(make_trainer(f"t{number}")), dataset=f"d{number}"), reason="x")
    with django_assert_num_queries(6):
        client.get(LIST)


def test_the_oldest_the_largest_and_the_pinned_are_read_along_an_index(client, source):
    for query, index in {"": "run_by_modified", "o=-4": "run_by_size", "pinned__exact=1": "run_that_is_pinned"}.items():
        with CaptureQueriesContext(connection) as asked:
            client.get(f"{LIST}?{query}")
        walk = next(one["sql"] for one in asked.captured_queries if "ORDER BY" in one["sql"] and "retention_hold" in one["sql"])
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
            cursor.execute(f"EXPLAIN {walk}")
            assert index in str(cursor.fetchall()), query


def test_a_preview_shows_what_goes_and_what_stays_and_does_nothing(client, source):
    run_at(source, "a", sizes=(2048,)), run_at(source, "b", pinned=True)
    before = content(Path(source.root))
    page = look(client, "bury", *Run.objects.all())
    assert "Move to the trash: 1 run" in page and "2.0 KiB" in page and "nothing came for" in page
    assert "Left alone: 1 run" in page and "is pinned" in page and "Type <b>1</b>" in page
    assert 'name="forced"' not in page
    assert client.get(f"{LIST}bury/").status_code == 302
    assert content(Path(source.root)) == before and not Plan.objects.exists() and not list(ordered())


def test_what_was_confirmed_is_archived_and_moved_by_the_janitor_and_comes_back(client, source):
    runs = [run_at(source, "a"), run_at(source, "b"), run_at(source, "c")]
    before = content(Path(source.root))
    done = confirm(client, "bury", look(client, "bury", *runs[:2]), why="full").content.decode()
    assert "cleanup" in done and "is under way: 2 runs" in done and "2</b> planned" in done
    assert stages() == ["active"] * 3 and content(Path(source.root)) == before
    assert "is in cleanup" in look(client, "bury", *runs)
    janitor()
    assert stages() == ["buried", "buried", "active"]
    assert Archive.objects.filter(state="verified").count() == 2
    plan = Plan.objects.get()
    assert (plan.who, plan.origin, plan.why, plan.archive, plan.state) == ("bob", "admin", "full", True, "done")
    page = look(client, "restore", *runs)
    assert "Restore: 2 runs" in page and "from the trash" in page and "is in its place" in page
    assert "2 runs will be brought back" in confirm(client, "restore", page).content.decode()
    janitor()
    assert stages() == ["active"] * 3 and content(Path(source.root)) == before


def test_archiving_leaves_the_runs_where_they_are(client, source):
    run = run_at(source, "a", pinned=True)
    confirm(client, "archive", look(client, "archive", run))
    janitor()
    assert stages() == ["active"] and Archive.objects.get().state == "verified"


WRONG: list[tuple[dict[str, str], int, str]] = [
    ({"token": ""}, 400, "Look at it, then confirm it below"),
    ({"token": "0" * 64}, 409, "no longer what you looked at"),
    ({"archive": ""}, 409, "how it is done was changed"),
    ({"typed": "1"}, 400, "type 2 to confirm"),
    ({"grace": "nan"}, 400, "Enter a number"),
    ({"grace": "1e999"}, 400, "Enter a number"),
    ({"look": "1", "archive": ""}, 200, "Type <b>2</b>"),
    ({"forced": "on", "typed": ""}, 400, "type 2 to confirm"),
]


def test_without_the_right_confirmation_nothing_is_done(client, source):
    page = look(client, "bury", run_at(source, "a"), run_at(source, "b"))
    for said, status, words in WRONG:
        answer = confirm(client, "bury", page, **said)
        assert (answer.status_code, words in answer.content.decode()) == (status, True), said
    for ids in ("", "x", "1,", "1e9", "²", "9" * 30, ",".join(["1"] * 1001)):
        assert client.post(f"{LIST}bury/", {"ids": ids, "token": "0" * 64}).status_code == 400, ids
    assert not Plan.objects.exists() and not list(ordered())


def test_a_confirmation_is_good_once_and_only_for_what_was_shown(client, source):
    run = run_at(source, "a")
    page = look(client, "bury", run)
    (Path(source.root) / "a/sub/file-1").write_bytes(b"changed")
    answer = confirm(client, "bury", page)
    assert answer.status_code == 409 and "was written" in answer.content.decode() and not Plan.objects.exists()
    page = look(client, "pin", run)
    assert "1 run pinned" in confirm(client, "pin", page).content.decode()
    assert confirm(client, "pin", page).status_code == 409
    assert list(AuditEntry.objects.filter(who="bob").values_list("action", "subject")) == [("pin", "a")]


def test_what_changed_since_the_preview_is_named_run_by_run(client, source):
    one, two, three = (run_at(source, name) for name in "abc")
    buries, packs, pins = (look(client, deed, one, two, three) for deed in ("bury", "archive", "pin"))
    (Path(source.root) / "a/sub/file-1").chmod(0o600)
    Run.objects.filter(pk=two.pk).update(pinned=True)
    said = confirm(client, "bury", buries).content.decode()
    assert "<li>What lies in a has changed.</li>" in said and "<li>b would be left alone now: is pinned.</li>" in said
    assert "of c " not in said and "how it is done" not in said
    assert "b would be left alone now: is pinned already" in confirm(client, "pin", pins).content.decode()
    Run.objects.filter(pk=three.pk).update(source=source_at(Path(source.root).parent / "router", "router"))
    make_trainer("router", "team-router")
    assert f"Run {three.pk} is not among them any more." in confirm(client, "archive", packs).content.decode()
    assert not Plan.objects.exists() and not list(ordered())


def test_no_deed_reaches_a_run_of_others(client, source, tmp_path):
    hidden = run_at(source_at(tmp_path / "secret", "router"), "secret-run")
    make_trainer("router", "team-router")
    mine = run_at(source, "a")
    for deed in ("bury", "archive", "restore", "pin", "unpin"):
        page = client.post(f"{LIST}{deed}/", {"ids": f"{mine.pk},{hidden.pk}", "grace": "7"}).content.decode()
        assert "secret" not in page, deed
        assert "secret" not in look(client, deed, hidden), deed
    confirm(client, "bury", look(client, "bury", mine, hidden))
    janitor()
    assert dict(Run.objects.values_list("name", "lifecycle_stage")) == {"a": "buried", "secret-run": "active"}


def test_who_may_only_look_has_no_actions(source, alice):
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    client, run = signed_in(alice), run_at(source, "a")
    assert 'value="bury"' not in client.get(LIST).content.decode()
    assert client.post(f"{LIST}bury/", {"ids": run.pk}).status_code == 403
    look(client, "pin", run)
    assert not Run.objects.get().pinned


def test_an_admin_forces_a_pinned_run_but_not_a_held_one(source):
    client = signed_in(make_user("ada", "admin"))
    runs = [run_at(source, "a", pinned=True), run_at(source, "b", pinned=True)]
    Hold.objects.create(run=runs[1], reason="paper")
    page = look(client, "bury", *runs)
    assert "None of the chosen runs" in page
    page = confirm(client, "bury", page, forced="on", look="1").content.decode()
    assert "is held: paper" in page and "Type <b>1</b>" in page
    confirm(client, "bury", page, forced="on")
    janitor()
    assert stages() == ["buried", "active"] and Plan.objects.get().forced


def test_plans_archives_and_the_trash_are_shown_to_who_may_see_the_runs_and_changed_by_nobody(client, source, monkeypatch):
    monkeypatch.setattr("retention.admin.records.A_PAGE", 2)
    runs = [run_at(source, name) for name in ("a", "b", "c")]
    confirm(client, "bury", look(client, "bury", *runs))
    janitor()
    stranger = signed_in(make_user("dora", "operator"))
    for row in (Plan.objects.get(), Archive.objects.first(), Tombstone.objects.first()):
        model = row._meta.model_name
        lists, change = reverse(f"admin:retention_{model}_changelist"), reverse(f"admin:retention_{model}_change", args=[row.pk])
        assert all(client.get(where).status_code == 200 for where in (lists, change, f"{lists}?q=lora"))
        assert client.post(change, {"state": "draft"}).status_code == 403
        assert client.post(change.replace("change", "delete"), {"post": "yes"}).status_code == 403
        assert stranger.get(change).status_code == 302 and ">a<" not in stranger.get(lists).content.decode()
    page = client.get(f"{reverse('admin:retention_plan_change', args=[Plan.objects.get().pk])}?page=2").content.decode()
    assert "3</b> in the trash" in page and ">c</a>" in page and ">a</a>" not in page
    assert "Runs on disk" in client.get("/admin/").content.decode()
    assert PlannedRun.objects.filter(step="buried", changed__gte=now() - timedelta(minutes=1)).count() == 3
