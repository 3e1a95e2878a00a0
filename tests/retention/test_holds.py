"""Holds from the admin and for scripts: the same deed as on the run's page, for the same people, with the same trace."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from retention.models import Hold
from runs.models import AuditEntry, Run
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer

pytestmark = pytest.mark.django_db
LIST = "/admin/retention/hold/"


def trail() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("who", "action", "why"))


def test_a_script_holds_a_run_and_lets_it_go(run: Run, bob: User, alice: User) -> None:
    caller, where = by_token(bob), f"/api/runs/{run.pk}/hold/"
    assert caller.get(where).json() == {"held": False, "by": None, "reason": "", "until": None, "since": None}
    told = send(caller, "PUT", where, {"reason": "paper, token=hunter2hunter2", "until": "2999-01-31"}).json()
    assert (told["held"], told["by"], told["until"]) == (True, "bob", "2999-01-31T23:59:59.999999Z")
    assert "hunter2" not in told["reason"] and told == by_token(alice, "read").get(where).json()
    assert send(caller, "PUT", where, {"reason": "paper, token=hunter2hunter2", "until": "2999-01-31"}).json() == told
    assert send(caller, "PUT", where, {"reason": "law"}).json()["until"] is None
    assert [send(caller, "DELETE", where).status_code for _ in range(2)] == [204, 204]
    assert [action for _, action, _ in trail()] == ["hold", "hold", "lift hold"] and Run.objects.get().version == 3
    Hold.objects.create(run=run, reason="over", until=now())
    assert caller.get(where).json()["held"] is False


@pytest.mark.parametrize(("body", "field"), [
    ({}, "reason"), ({"reason": " "}, "reason"), ({"reason": "a\nb"}, "reason"), ({"reason": "x" * 501}, "reason"),
    ({"reason": "\ud800" * 100}, "reason"), ({"reason": "x", "until": "2001-01-01"}, "until"),
    ({"reason": "x", "until": "2999-02-31"}, "until"), ({"reason": "x", "until": 1e300}, "until"),
    ({"reason": "x", "until": "9999-12-31T23:59:59-14:00"}, "until"), ({"reason": "x", "by": "ada"}, "by"),
])
def test_a_wrong_hold_is_told_by_its_field(run: Run, bob: User, body: Any, field: str) -> None:
    assert field in problem(send(by_token(bob), "PUT", f"/api/runs/{run.pk}/hold/", body), 400, "invalid")["errors"]
    assert not Hold.objects.exists()


def test_who_may_not_hold_does_not(run: Run, alice: User, bob: User, charlie: User) -> None:
    Hold.objects.create(run=run, reason="law")
    where = f"/api/runs/{run.pk}/hold/"
    for method in ("PUT", "DELETE"):
        problem(send(by_token(alice), method, where, {"reason": "x"}), 403, "permission-denied")
        problem(send(by_token(bob, "read"), method, where, {"reason": "x"}), 403, "insufficient-scope")
    problem(by_token(charlie).get(where), 404, "not-found")
    assert Hold.objects.get().reason == "law" and not trail()


def test_the_admin_lists_holds_of_visible_runs_and_finds_them(
    run: Run, bob: User, ada: User, django_assert_num_queries: Any,
) -> None:
    hidden = make_run(make_source(make_trainer("router", "team-router")), name="secret-run")
    Hold.objects.create(run=hidden, reason="secret-why")
    Hold.objects.create(run=run, reason="for the <paper>", by=bob)
    Hold.objects.create(run=make_run(run.source, name="second"), reason="old", until=now())
    client = signed_in(bob)
    client.get(LIST)
    with django_assert_num_queries(7):
        client.get(LIST)
    for query, found in {"": {"first", "second"}, "stands=0": {"second"}, "stands=1&trainer=lora": {"first"},
                         "q=PAPER": {"first"}, "q=sec": {"second"}, "q=bob": {"first"}, "q=%3C": {"first"}}.items():
        page = client.get(f"{LIST}?{query}").content.decode()
        assert {name for name in ("first", "second") if f">{name}</a>" in page} == found, query
        assert "secret" not in page
    assert "for the &lt;paper&gt;" in client.get(LIST).content.decode()
    assert "secret-run" in signed_in(ada).get(LIST).content.decode()


def test_the_admin_puts_a_hold_on_changes_it_and_lifts_it(run: Run, bob: User, ada: User) -> None:
    client = signed_in(bob)
    said = {"run": run.pk, "reason": "for the paper", "until": "2999-01-31"}
    answer = client.post(f"{LIST}add/", said, follow=True)
    hold = Hold.objects.get()
    assert answer.status_code == 200 and "was added successfully" in answer.content.decode()
    assert (hold.by, hold.reason, hold.until) == (bob, "for the paper", datetime(2999, 1, 31, 23, 59, 59, 999999, UTC))
    change = f"{LIST}{hold.pk}/change/"
    assert f'href="/runs/{run.pk}/"' in client.get(change).content.decode()
    Hold.objects.update(until=datetime(2999, 1, 31, 12, tzinfo=UTC))
    signed_in(ada).post(change, {"reason": "law", "until": "2999-01-31"})
    hold.refresh_from_db()
    assert (hold.by, hold.reason, hold.until.hour) == (ada, "law", 12)
    asked = client.post(LIST, {"action": "lift", "_selected_action": [hold.pk]}).content.decode()
    assert Hold.objects.exists() and "law</li>" in asked
    form = dict(re.findall('type="hidden" name="(_selected_action|action|post)" value="([^"]*)"', asked))
    assert "1 run is not held any more" in client.post(LIST, form, follow=True).content.decode()
    assert not Hold.objects.exists()
    assert trail() == [("bob", "hold", "for the paper"), ("ada", "hold", "law"), ("bob", "lift hold", "law")]
    client.post(f"{LIST}add/", said)
    gone = f"{LIST}{Hold.objects.get().pk}/delete/"
    page = client.get(gone.replace("delete", "change")).content.decode()
    assert f'<a href="{gone}" class="deletelink">Lift…</a>' in page and ">Delete<" not in page
    assert "for the paper</li>" in client.get(gone).content.decode()
    assert "The run is not held any more" in client.post(gone, {"post": "yes"}, follow=True).content.decode()
    assert not Hold.objects.exists() and len(trail()) == 5


def test_the_admin_refuses_what_the_page_refuses(run: Run, alice: User, bob: User) -> None:
    hidden = make_run(make_source(make_trainer("router", "team-router")), name="secret-run")
    kept = Hold.objects.create(run=hidden, reason="law")
    client = signed_in(bob)
    for wrong in ({"run": hidden.pk}, {"run": 999_999}, {"run": "9" * 30}, {"run": "²"}, {"run": ""}, {"reason": ""},
                  {"reason": "a\nb"}, {"until": "2001-01-01"}, {"until": "soon"}):
        page = client.post(f"{LIST}add/", {"run": run.pk, "reason": "x", "until": "", **wrong}).content.decode()
        assert "errorlist" in page and "secret-run" not in page, wrong
    client.post(LIST, {"action": "lift", "_selected_action": [kept.pk], "post": "yes"})
    assert client.post(f"{LIST}{kept.pk}/delete/", {"post": "yes"}).status_code == 302
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    reader = signed_in(alice)
    assert reader.get(LIST).status_code == 200
    assert reader.post(f"{LIST}add/", {"run": run.pk, "reason": "x"}).status_code == 403
    assert Hold.objects.get() == kept and not trail()
