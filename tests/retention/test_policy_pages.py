"""Policies as people meet them: the page of what each would take, and the admin where they are made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from retention.models import RetentionPolicy
from retention.turns import before, turns
from runs.models import AuditEntry, Dataset, Source
from tests.retention.oldruns import run_at
from tests.runs.conftest import signed_in
from tests.runs.factories import make_source, make_trainer

pytestmark = pytest.mark.django_db
ADD = "admin:retention_retentionpolicy_add"


def policy(source: Source, **rule: Any) -> RetentionPolicy:
    return RetentionPolicy.objects.create(**{"name": "tidy", "trainer": source.trainer, **rule})


def test_operators_see_what_a_policy_would_take_of_what_they_may_see(source, bob, django_assert_num_queries):
    run_at(source, "old<b>", days=31, sizes=(2048,)), run_at(source, "kept", days=40, pinned=True)
    tidy = policy(source, max_age=timedelta(days=30), enabled=True)
    policy(make_source(make_trainer("hidden", "others")), name="secret", max_age=timedelta(days=1))
    client = signed_in(bob)
    page = client.get("/storage/policies/").content.decode()
    assert "of which nothing came for 30 d" in page and "<b>1 run</b>" in page and "secret" not in page
    page = client.get(tidy.get_absolute_url()).content.decode()
    assert "old&lt;b&gt;" in page and "2.0 KiB" in page and "is pinned" in page and "Would go now" in page
    RetentionPolicy.objects.filter(pk=tidy.pk).update(most_runs=50)  # what is known of a policy goes with its rules
    for queries in (10, 4):  # two of whoever asks, the policies twice, and six for each; then only what was worked out
        with django_assert_num_queries(queries):
            (turn,) = turns(User.objects.get(pk=bob.pk), on=True)
        assert turn.outlook.runs == 1
    told = client.get("/api/storage/").json()["policies"]
    after = policy(source, name="untidy", max_age=timedelta(days=1), enabled=True)
    for queries in (13, 1):  # which are on, and six for each; then only which are on
        with django_assert_num_queries(queries):
            assert len(before(after)) == 1
    assert "old&lt;b&gt;" not in client.get(after.get_absolute_url()).content.decode()
    after.delete()
    assert [(row["name"], row["runs"], datetime.fromisoformat(row["as_of"])) for row in told] == [("tidy", 1, turn.outlook.at)]


def test_policies_are_closed_to_viewers_and_those_of_others_do_not_exist(source, alice, bob):
    other = policy(make_source(make_trainer("hidden", "others")), name="secret", keep_last=1)
    for path in ("/storage/policies/", policy(source, keep_last=1).get_absolute_url(), other.get_absolute_url()):
        assert signed_in(alice).get(path).status_code == 403
    assert signed_in(bob).get(other.get_absolute_url()).status_code == 404


def test_the_page_says_why_a_policy_refuses_and_what_its_guard_holds_back(source, ada):
    run_at(source, "a"), run_at(source, "b")
    client, guarded = signed_in(ada), policy(source, max_age=timedelta(days=1), most_runs=1)
    page = client.get(guarded.get_absolute_url()).content.decode()
    assert "Nothing goes: 2 runs would go" in page and "Held back by the guard" in page and ">b</a>" in page
    empty = policy(source, name="empty", trainer=None, max_age=timedelta(days=1))
    assert "neither a trainer nor a dataset" in client.get(empty.get_absolute_url()).content.decode()


def asked(**more: Any) -> dict[str, Any]:
    return {"name": "tidy", "metric_of": "last", "best": "min", "keep_pinned": "on", "archive": "on", "grace": "7d",
            "most_runs": "100", "ceiling_of": "runs", **more}


def test_an_admin_makes_a_policy_in_words_people_use_and_it_is_audited(source, ada):
    run_at(source, "a", days=31)
    client = signed_in(ada)
    answer = client.post(
        reverse(ADD), asked(trainer=source.trainer_id, max_age="30d", ceiling="1.5 TiB", most_bytes="500 gb"), follow=True)
    made = RetentionPolicy.objects.get()
    assert (made.max_age, made.ceiling, made.most_bytes, made.enabled) == (timedelta(days=30), 3 * 2**39, 5 * 10**11, False)
    assert "is off; on it would take 1 run (320 B)" in answer.content.decode()
    page = client.get(reverse("admin:retention_retentionpolicy_change", args=[made.pk])).content.decode()
    assert 'value="30d"' in page and 'value="1536 GiB"' in page and 'value="500 GB"' in page
    assert AuditEntry.objects.get(action="add policy").who == "ada"


@pytest.mark.parametrize(("wrong", "words"), [
    ({"max_age": "30d", "trainer": ""}, "It names neither a trainer nor a dataset"),
    ({}, "It has no rule"),
    ({"max_age": "soon"}, "Write a time such as"),
    ({"ceiling": "lots"}, "Write a size such as"),
    ({"ceiling": "999999999999999 PB"}, "more than any volume holds"),
    ({"max_age": "999999w"}, "at most 36,500d"),
    ({"keep_best": "2"}, "need both a number and a metric"),
    ({"keep_last": "1", "dataset": "other"}, "is not one of the trainer lora"),
])
def test_the_admin_says_what_is_wrong_with_a_policy(source, ada, wrong, words):
    if wrong.get("dataset"):
        wrong = wrong | {"dataset": Dataset.objects.create(trainer=make_trainer("router"), name="a").pk}
    answer = signed_in(ada).post(reverse(ADD), asked(**{"trainer": source.trainer_id, **wrong}))
    assert words in answer.content.decode() and not RetentionPolicy.objects.exists()


def test_operators_look_at_policies_of_theirs_and_change_none(source, bob):
    tidy = policy(source, keep_last=1)
    other = policy(make_source(make_trainer("hidden", "others")), name="secret", keep_last=1)
    client = signed_in(bob)
    page = client.get(reverse("admin:retention_retentionpolicy_changelist")).content.decode()
    assert "tidy" in page and "secret" not in page and client.get(reverse(ADD)).status_code == 403
    change = reverse("admin:retention_retentionpolicy_change", args=[tidy.pk])
    assert client.post(change, asked(trainer=source.trainer_id, keep_last="9")).status_code == 403
    assert RetentionPolicy.objects.get(pk=tidy.pk).keep_last == 1
    assert client.get(reverse("admin:retention_retentionpolicy_change", args=[other.pk])).status_code == 302
