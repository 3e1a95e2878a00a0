"""The audit trail is read by admins alone: on a page, as a CSV file, by scripts."""

from __future__ import annotations

import csv
import io
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import Error, connection, transaction
from django.test import Client
from django.utils.timezone import now

from runs import audit
from runs.models import ApiToken, AuditEntry, Run
from runs.trail import PAGE
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source

EVIL = '=cmd|" /C calc"!A0'


@pytest.fixture
def run(lora: Any) -> Run:
    return make_run(make_source(lora), name="seven")


@pytest.fixture
def admin(ada: User) -> Client:
    return signed_in(ada)


def ids(answer: Any) -> list[int]:
    return [entry.pk for entry in answer.context["sheet"].rows]


def written(number: int, who: str = "eve") -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(who=who, action=f"deed {n % 7}", kind="run", object_id=n % 50, subject=f"run {n}", details={"bytes": n})
        for n in range(number))


def test_only_the_role_admin_reads_it(alice: User, bob: User, run: Run):
    for user in (alice, bob):
        client = signed_in(user)
        token = ApiToken.issue(user, "read", "read")[1]
        assert [client.get(path).status_code for path in ("/audit/", "/audit/csv/", "/audit/usage/")] == [403] * 3
        answer = Client(headers={"Authorization": f"Bearer {token}"}).get("/api/audit/")
        assert answer.status_code == 403 and "the role admin has" in answer.json()["detail"]


def test_the_page_says_who_did_what_on_what_when_why_and_from_where(admin: Client, bob: User, run: Run):
    audit.record(bob, "purge run", run, why="<b>full</b>", freed=3 * 1024**3, archive="run-7", forced=True, by_policy=None)
    page = admin.get("/audit/").content.decode()
    for word in ("bob", "purge run", f'href="/runs/{run.pk}/"', "seven", "&lt;b&gt;full&lt;/b&gt;", "3.0 GiB (3,221,225,472 B)"):
        assert word in page
    assert "<b>full" not in page


def test_each_filter_narrows_page_file_and_script_alike(admin: Client, ada: User, bob: User, run: Run):
    wanted = audit.record(bob, "rename", run, why="typo")
    audit.record(bob, "pin", run), audit.record(ada, "rename", run)
    audit.record(bob, "rename", make_run(run.source, name="eight"))
    script = Client(headers={"Authorization": f"Bearer {ApiToken.issue(ada, 'x')[1]}"})
    asked = {"who": "bob", "action": "rename", "kind": "run", "object": run.pk, "q": "TYPO", "since": "1h", "until": "2100-01-01"}
    assert ids(admin.get("/audit/", asked)) == [wanted.pk]
    assert [row["id"] for row in script.get("/api/audit/", asked).json()["results"]] == [wanted.pk]
    file = csv.DictReader(io.StringIO(b"".join(admin.get("/audit/csv/", asked)).decode()))
    assert [row["id"] for row in file] == [str(wanted.pk)]
    assert AuditEntry.objects.first().action == "export audit trail"
    assert ids(admin.get("/audit/", {"until": (now() - timedelta(days=1)).isoformat()})) == []


@pytest.mark.parametrize("asked", [
    {"since": "yesterday"}, {"object": "1e999"}, {"who": "a\0b"}, {"since": "0001-01-01T00:00+23:00"},
    {"until": "9999-12-31"}, {"since": "2026-02-01", "until": "2026-01-01"}, {"older": "1", "newer": "2"}, {"older": "-1"}])
def test_a_wrong_question_is_named_and_never_fails(admin: Client, ada: User, asked: dict[str, str]):
    answer = admin.get("/audit/", asked)
    assert answer.status_code == 400 and "cannot be shown" in answer.content.decode()
    key = {"Authorization": f"Bearer {ApiToken.issue(ada, 'x')[1]}"}
    assert Client(headers=key).get("/api/audit/", asked).status_code == 400


def test_pages_go_on_where_the_last_one_ended_however_many_come_meanwhile(admin: Client):
    written(2 * PAGE + 5)
    first = admin.get("/audit/")
    audit.record(None, "late")
    second = admin.get("/audit/", {"older": ids(first)[-1]})
    third = admin.get("/audit/", {"older": ids(second)[-1]})
    seen = [*ids(first), *ids(second), *ids(third)]
    assert len(seen) == len(set(seen)) == 2 * PAGE + 5 and seen == sorted(seen, reverse=True)
    assert ids(admin.get("/audit/", {"newer": ids(third)[0]})) == ids(second)


def test_a_long_trail_is_quick(admin: Client, django_assert_max_num_queries: Any):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_auditentry (at, who, action, kind, object_id, subject, why, details) SELECT now() - n * interval "
            "'1 min', 'eve', 'deed ' || n % 7, 'run', n % 50, 'run ' || n, '', '{}' FROM generate_series(1, 30000) n")
        cursor.execute("ANALYZE runs_auditentry")
    last = {"older": "20000", "kind": "run"}
    for asked in ({}, {"who": "nobody"}, {"action": "deed 3", "since": "7d"}, {"q": "run 29999"}, last):
        began = time.perf_counter()
        with django_assert_max_num_queries(16):
            assert admin.get("/audit/", asked).status_code == 200
        assert time.perf_counter() - began < 1, asked


def test_no_cell_of_the_file_is_a_formula_and_it_is_made_while_it_is_read(admin: Client, bob: User, run: Run):
    Run.objects.filter(pk=run.pk).update(name=EVIL)
    run.refresh_from_db()
    audit.record(bob, "rename", run, why="@SUM(1)", new=EVIL)
    answer = admin.get("/audit/csv/", {"action": "rename"})
    assert answer.streaming and "attachment" in answer["Content-Disposition"]
    (row,) = csv.DictReader(io.StringIO(b"".join(answer).decode()))
    assert (row["subject"], row["why"]) == ("'" + EVIL, "'@SUM(1)") and row["details"].startswith("{")


def test_a_script_collects_what_is_new_from_the_last_id_on(ada: User):
    written(3)
    script = Client(headers={"Authorization": f"Bearer {ApiToken.issue(ada, 'x')[1]}"})
    first = script.get("/api/audit/", {"limit": 2}).json()
    assert [row["subject"] for row in first["results"]] == ["run 0", "run 1"] and first["results"][1]["details"] == {"bytes": 1}
    assert [row["subject"] for row in script.get(first["next"]).json()["results"]] == ["run 2"]


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["", "SET LOCAL session_replication_role = replica; "])
@pytest.mark.parametrize("deed", [
    "UPDATE runs_auditentry SET who = 'eve'", "DELETE FROM runs_auditentry", "TRUNCATE runs_auditentry",
    "TRUNCATE runs_auditentry RESTART IDENTITY CASCADE"])
def test_the_owner_of_the_table_cannot_change_or_empty_it(role: str, deed: str):
    """P14: the site's own account of the database owns the table."""
    audit.record(None, "tick")
    with pytest.raises(Error, match="only grows"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(role + deed)
    assert AuditEntry.objects.count() == 1
