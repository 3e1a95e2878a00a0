"""P14: the audit trail only grows."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import Error, transaction
from django.test import RequestFactory

from runs import audit
from runs.models import AuditEntry
from tests.runs.factories import make_run, make_source


@pytest.fixture
def entry(bob: User) -> AuditEntry:
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.7")
    request.user = bob
    return audit.record(request, "rename", make_run(make_source(), name="seven"), why="typo", old="sevn")


def test_an_entry_says_who_what_when_why_and_from_where(entry: AuditEntry):
    entry.refresh_from_db()
    assert (entry.who, entry.action, entry.kind, entry.subject) == ("bob", "rename", "run", "seven")
    assert (entry.why, entry.address, entry.details) == ("typo", "10.0.0.7", {"old": "sevn"})


def test_the_database_refuses_to_change_or_delete_it(entry: AuditEntry):
    for deed in (lambda: AuditEntry.objects.update(who="eve"), lambda: AuditEntry.objects.all().delete()):
        with pytest.raises(Error, match="only grows"), transaction.atomic():
            deed()


def test_it_survives_the_deletion_of_its_user(entry: AuditEntry, bob: User):
    bob.delete()
    entry.refresh_from_db()
    assert entry.who == "bob"


@pytest.mark.django_db
def test_without_a_request_it_was_trainmon_itself():
    assert audit.record(None, "expired").who == "trainmon"
