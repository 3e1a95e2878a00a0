"""The storage page and the trash: what they tell whom, and what can be restored."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import reverse
from django.utils.timezone import now

from retention import usage
from retention.models import Archive, RetentionPolicy, Tombstone
from retention.space import Space, Standing
from retention.usage import Came, Volume
from runs.models import AuditEntry, Run, Source
from tests.retention.oldruns import content, make_tomb, run_at
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer
from trainmon.celery import app

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db
DAY, MIB = timedelta(days=1), 2**20


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the janitor is told, it does before the answer."""
    monkeypatch.setattr(app.conf, "task_always_eager", True)


def page(user: User, route: str = "storage", query: str = "") -> str:
    answer = signed_in(user).get(reverse(route) + query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def bury(*words: str) -> Tombstone:
    call_command("cleanup", "--select", "0", "--yes", *words)
    return Tombstone.objects.get(purged_at=None, restored_at=None)


def test_it_tells_what_takes_the_room_and_what_is_old_to_those_who_may_see_it(source, alice, charlie):
    make_run(source, dataset="alpaca", name="big", size=30 * MIB)
    make_run(source, dataset="alpaca", name="ancient", size=10 * MIB, modified=now() - 40 * DAY)
    make_run(source, name="vanished", size=999 * MIB, files_missing=True, modified=now() - 40 * DAY)
    make_run(source, name="purged", size=999 * MIB, lifecycle_stage="purged", modified=now() - 40 * DAY)
    told = page(alice)
    assert "40.0 MiB" in told and "100 %" in told and "alpaca" in told
    assert told.index(">big<") < told.index(">ancient<") < told.rindex(">ancient<") < told.rindex(">big<")
    assert "999 MiB" not in told and "vanished" not in told
    assert not any(word in page(charlie) for word in ("alpaca", "big", source.root))


def test_it_tells_operators_what_policies_do_next(source, alice, bob):
    make_run(source, name="ancient", size=10 * MIB, started=now() - 40 * DAY)
    policy = RetentionPolicy.objects.create(name="<tidy>", trainer=source.trainer, max_age=30 * DAY)
    assert "No policy is on" in page(bob)
    RetentionPolicy.objects.update(enabled=True)
    told = page(bob)
    assert "&lt;tidy&gt;" in told and policy.get_absolute_url() in told and "<b>1 run</b>, " in told
    assert "tidy" not in page(alice)


def test_the_page_stands_without_runs_and_with_a_root_that_is_gone(source, alice):
    Path(source.root).rmdir()
    assert "No run lies on disk" in page(alice) and "Cannot be asked: No such file or directory" in page(alice)
    Source.objects.all().delete()
    assert "Volumes" not in page(alice)


def test_many_runs_take_as_many_queries_as_few(
    source, bob, django_assert_num_queries: DjangoAssertNumQueries
):
    client = signed_in(bob)
    old = make_run(source, dataset="data")
    rows = [Run(source=source, path=b"%d" % n, name=str(n), size=n, dataset=old.dataset, modified=now()) for n in range(200)]
    Run.objects.bulk_create(rows)
    with django_assert_num_queries(16):
        answer = client.get(reverse("storage"))
    assert answer.context["total"].runs == 201 and len(answer.context["largest"]) == 10


def test_of_a_run_that_began_earlier_the_share_counts_that_lies_in_these_days(source):
    at = now()
    make_run(source, size=100, started=at - 14 * DAY, modified=at, lifecycle_stage="purged")
    make_run(source, size=1000, started=at - DAY, modified=at - DAY / 2)
    make_run(source, size=10_000, started=at - 60 * DAY, modified=at - 40 * DAY)
    make_run(source, size=100_000, started=at, modified=at + 9 * DAY)
    came = usage.came_to([source.pk], at)[source.pk]
    assert (came.week, came.month, came.since) == (1050, 1100, at - 60 * DAY)


@pytest.mark.parametrize(
    ("since", "week", "month", "days"), [(60, 70, 600, 5), (8, 70, 600, 10), (6, 70, 600, None), (60, 70, 0, None)])
def test_a_forecast_goes_by_the_longest_time_that_is_known(since, week, month, days):
    at = now()
    space = Space(1, "/volume", 1000, 900, 100)
    volume = Volume(Standing(space, at), at, came=Came(week, month, at - since * DAY))
    assert (volume.forecast.at - at).days == days if days else volume.forecast is None and volume.no_forecast
    assert volume.level == "tight" and volume.name == "/volume"


def test_the_trash_tells_who_buried_what_and_why_and_an_operator_restores_it(source, alice, bob, charlie, at_once):
    run = run_at(source, "ds/gone")
    before = content(Path(source.root) / "ds/gone")
    tomb = bury("--why", "no longer <needed>")
    told = page(alice, "storage-trash")
    assert "gone" in told and "no longer &lt;needed&gt;" in told and "in 7 d" in told and "archived" in told
    assert 'name="tomb"' not in told and 'name="tomb"' in page(bob, "storage-trash")
    plan = tomb.planned.plan_id
    assert "ds/gone" in page(bob, "storage-trash", f"?cleanup={plan}")
    assert "ds/gone" not in page(bob, "storage-trash", f"?cleanup={plan + 1}")
    assert "ds/gone" not in page(charlie, "storage-trash")
    wanted = {"tomb": [tomb.pk], "why": "needed after all"}
    assert signed_in(alice).post(reverse("storage-restore"), wanted).status_code == 403
    answer = signed_in(bob).post(reverse("storage-restore"), wanted, follow=True).content.decode()
    assert "Asked the janitor to restore gone" in answer and "Nothing lies in the trash" in answer
    run.refresh_from_db()
    assert content(Path(source.root) / "ds/gone") == before and run.lifecycle_stage == "active"
    assert AuditEntry.objects.get(action="order restore").why == "needed after all"
    assert "<b>1</b> restored since" in signed_in(bob).get(reverse("cleanup", args=[plan])).content.decode()


def test_a_purged_run_comes_back_from_its_archive(source, bob, at_once):
    run_at(source, "ds/gone")
    before = content(Path(source.root) / "ds/gone")
    tomb = bury("--grace", "0d")
    assert "<b class=\"odd\">now</b>" in page(bob, "storage-trash")
    call_command("cleanup", "--purge")
    assert "Nothing lies in the trash" in page(bob, "storage-trash")
    assert f'value="{tomb.pk}"' in page(bob, "storage-trash", "?of=purged")
    signed_in(bob).post(reverse("storage-restore"), {"tomb": tomb.pk})
    assert content(Path(source.root) / "ds/gone") == before
    assert "No purged run has an archive" in page(bob, "storage-trash", "?of=purged")


def test_what_grew_in_the_trash_or_is_on_its_way_says_so(source, bob):
    run_at(source, "ds/gone")
    tomb = bury()
    Tombstone.objects.update(grew=["events<1>"])
    told = page(bob, "storage-trash")
    assert "1 file changed in the trash" in told and "events&lt;1&gt;" in told and "1 still grows" in page(bob)
    Tombstone.objects.update(wanted_by="bob")
    answer = signed_in(bob).post(reverse("storage-restore"), {"tomb": tomb.pk}, follow=True).content.decode()
    assert "on the way back" in answer and "1 of the chosen cannot come back" in answer
    assert not AuditEntry.objects.filter(action="order restore").exists()


def test_all_that_match_come_back_and_only_if_they_are_still_so_many(source, bob, charlie, monkeypatch):
    monkeypatch.setattr("retention.views.trash.ROWS", 2)
    theirs = make_tomb(make_run(make_source(make_trainer("router", "others")), name="x-hidden"))
    tombs = [make_tomb(make_run(source, name=f"{sign}-{number}")) for sign in "xy" for number in range(3)]
    Tombstone.objects.filter(pk=tombs[0].pk).update(wanted_by="ada")
    told = page(bob, "storage-trash", "?q=x-")
    assert 'name="all" value="2"' in told and 'data-ticks="tomb"' in told and 'name="q" value="x-"' in told
    asked = {"of": "trash", "q": "x-", "all": 2}
    for wrong in ({"all": 3}, {"q": "y-"}, {"all": ""}, {"all": "1e9"}, {"of": "x"}):
        assert signed_in(bob).post(reverse("storage-restore"), asked | wrong).status_code == 400
    signed_in(bob).post(reverse("storage-restore"), asked)
    assert set(Tombstone.objects.filter(wanted_by="bob")) == set(tombs[1:3]) and not Tombstone.objects.get(pk=theirs.pk).wanted_by


def test_what_was_lost_with_its_volume_is_told_and_comes_back_only_from_an_archive(source, bob):
    kept, bare = (make_tomb(make_run(source, name=name, lifecycle_stage="lost")) for name in ("kept", "bare"))
    archive = Archive.objects.create(run=kept.run, destination="/a", name="kept-1", state="verified")
    assert "?of=lost" not in page(bob, "storage-trash")
    Tombstone.objects.update(lost_at=now())
    Tombstone.objects.filter(pk=kept.pk).update(archive=archive)
    told = page(bob, "storage-trash", "?of=lost")
    assert f'value="{kept.pk}"' in told and "kept-1" in told and ">bare<" in told and f'value="{bare.pk}"' not in told
    assert "Nothing lies in the trash" in page(bob, "storage-trash")
    signed_in(bob).post(reverse("storage-restore"), {"tomb": [kept.pk, bare.pk]})
    assert list(Tombstone.objects.filter(wanted_by="bob")) == [kept]


def test_what_is_not_there_and_what_is_not_visible_are_the_same(source, bob, charlie):
    run_at(source, "ds/gone")
    tomb, charlies = bury(), signed_in(charlie)
    charlie.groups.set(bob.groups.filter(name="operator"))
    for wrong in (tomb.pk, 10**17):
        assert charlies.post(reverse("storage-restore"), {"tomb": wrong}).status_code == 404
    answer = signed_in(bob).post(reverse("storage-restore"), {"tomb": ["x", "-1", "1e999", "9" * 30]})
    assert answer.status_code == 400 and "No run is chosen" in answer.content.decode()
    assert signed_in(bob).get(reverse("storage-trash"), {"q": "a\0", "page": "1e999", "of": "x"}).status_code == 400
