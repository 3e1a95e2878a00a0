"""The account page: what I may do, my password, my API tokens, what I keep."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from runs.models import ApiToken, AuditEntry, Bookmark, Run, SavedView, Trainer
from runs.tokens import MOST_TOKENS
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer
from tests.runs.test_pages import EVIL, text

pytestmark = pytest.mark.django_db
NEW = "correct horse battery staple"


def make(client: Client, **asked: object) -> tuple[int, str, str]:
    """Ask for a token: the status, the page, the secret on it."""
    form = {"name": "cluster", "scope": "read", "lifetime": "90", **asked}
    answer = client.post(reverse("account-tokens"), form)
    page = answer.content.decode()
    found = re.search(r'id="new-token">([^<]*)<', page)
    return answer.status_code, page, found[1] if found else ""


def change(client: Client, old: str, new: str = NEW) -> int:
    form = {"old_password": old, "new_password1": new, "new_password2": new}
    return client.post(reverse("account-password"), form).status_code


def test_the_page_says_who_i_am_and_what_i_may_do(client: Client, lora: Trainer) -> None:
    make_trainer("router", "team-router")
    shown = text(client, reverse("account"))
    for words in ("alice", "viewer sees the runs of the trainers below", "team-lora", "Trainers lora"):
        assert words in shown
    assert "router" not in shown


def test_a_token_is_shown_once_and_works(client: Client, alice: User) -> None:
    status, page, secret = make(client)
    assert status == 200
    assert page.index('id="tokens"') < page.index("shown this once")  # where the form's address leads
    token = ApiToken.find(secret)
    assert token is not None and token.user == alice
    assert now() + timedelta(days=89) < token.expires < now() + timedelta(days=91)
    again = client.get(reverse("account")).content.decode()
    assert secret not in again and token.hint in again
    assert Client().get(reverse("api:me"), headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_the_secret_is_kept_nowhere(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """P18."""
    caplog.set_level(logging.DEBUG)
    _, _, secret = make(client)
    assert secret not in caplog.text
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    entry = AuditEntry.objects.get(action="create token")
    assert (entry.who, entry.details["scope"]) == ("alice", "read")
    assert secret not in str(vars(entry))
    assert secret not in str(list(ApiToken.objects.values()))


def test_the_page_with_the_secret_is_kept_by_no_cache(client: Client) -> None:
    answer = client.post(reverse("account-tokens"), {"name": "one", "scope": "read", "lifetime": "30"})
    assert "no-store" in answer["Cache-Control"]
    assert client.get(reverse("account-tokens")).status_code == 405


def test_a_viewer_makes_no_token_that_writes_or_delivers(client: Client, lora: Trainer) -> None:
    for scope in ("write", "ingest", "admin"):
        status, page, secret = make(client, scope=scope, trainer=lora.pk)
        assert (status, secret) == (400, "")
        assert "Select a valid choice" in page
    assert not ApiToken.objects.exists()


def test_an_operator_makes_a_token_that_delivers_for_a_visible_trainer(bob: User, lora: Trainer) -> None:
    client = signed_in(bob)
    hidden = make_trainer("router", "team-router")
    assert make(client, scope="ingest", trainer=hidden.pk)[0] == 400
    assert "Choose the trainer" in make(client, scope="ingest")[1]
    _, _, secret = make(client, scope="ingest", trainer=lora.pk, lifetime="never")
    token = ApiToken.find(secret)
    assert token is not None and (token.trainer, token.expires) == (lora, None)
    _, _, secret = make(client, name="other", scope="write", trainer=lora.pk)
    assert ApiToken.objects.get(name="other").trainer is None


def test_two_tokens_of_one_name_are_refused(client: Client) -> None:
    make(client)
    status, page, secret = make(client)
    assert (status, secret) == (400, "")
    assert "You have a token called cluster" in page


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "a\0b"])
def test_a_name_that_is_none_is_refused(client: Client, name: str) -> None:
    assert make(client, name=name)[0] == 400


def test_a_hostile_name_is_text(client: Client) -> None:
    make(client, name=EVIL)
    assert EVIL not in client.get(reverse("account")).content.decode()


def test_nobody_has_more_than_fifty_tokens(client: Client, alice: User) -> None:
    for number in range(MOST_TOKENS):
        ApiToken.issue(alice, f"t{number}")
    status, page, _ = make(client)
    assert status == 400
    assert "You have 50 tokens, which is the most" in page
    assert ApiToken.objects.count() == MOST_TOKENS


def test_a_revoked_token_is_refused_at_once(client: Client, alice: User) -> None:
    token, secret = ApiToken.issue(alice, "old")
    client.post(reverse("account-token-revoke", args=[token.pk]))
    assert ApiToken.find(secret) is None
    assert AuditEntry.objects.get(action="revoke token").object_id == token.pk


def test_the_tokens_of_others_are_neither_seen_nor_revoked(client: Client, bob: User) -> None:
    token, _ = ApiToken.issue(bob, "of-bob")
    assert "of-bob" not in text(client, reverse("account"))
    assert client.post(reverse("account-token-revoke", args=[token.pk])).status_code == 404
    assert ApiToken.objects.exists()


def test_an_expired_token_is_shown_as_such(client: Client, alice: User) -> None:
    ApiToken.issue(alice, "old", expires=now() - timedelta(days=1))
    assert "expired" in text(client, reverse("account"))


def test_a_changed_password_ends_every_other_session(client: Client, alice: User) -> None:
    elsewhere = signed_in(alice)
    assert change(client, "password") == 302
    assert client.get(reverse("home")).status_code == 200
    assert elsewhere.get(reverse("home")).status_code == 302
    assert AuditEntry.objects.get(action="change password").who == "alice"
    assert User.objects.get(pk=alice.pk).check_password(NEW)


@pytest.mark.parametrize(("old", "new"), [("wrong", NEW), ("password", "short"), ("password", "1234567890123")])
def test_a_password_is_not_changed_by_a_guess_nor_to_a_weak_one(client: Client, alice: User, old: str, new: str) -> None:
    assert change(client, old, new) == 400
    assert User.objects.get(pk=alice.pk).check_password("password")
    assert not AuditEntry.objects.exists()


def test_own_bookmarks_and_views_are_listed(client: Client, alice: User, bob: User, lora: Trainer) -> None:
    run = make_run(make_source(lora), name="good-run")
    Bookmark.objects.create(run=run, owner=alice)
    SavedView.objects.create(owner=alice, name="my-view", query="q=a")
    SavedView.objects.create(owner=bob, name="view-of-bob", shared=True)
    shown = text(client, reverse("account"))
    assert "good-run" in shown and "my-view" in shown and "view-of-bob" not in shown
    Run.objects.update(lifecycle_stage=Run.Stage.BURIED)
    assert "good-run" not in text(client, reverse("account"))
