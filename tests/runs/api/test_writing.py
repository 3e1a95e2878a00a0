from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Bookmark, Note, Run, Trainer
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.conftest import signed_in
from tests.runs.factories import make_user

#: What changes something: method, path behind the run, body, what it answers to an operator.
WRITES = [
    ("PATCH", "", {"name": "second"}, 200),
    ("PUT", "tags/", {"tags": ["a"]}, 200),
    ("POST", "tags/", {"tags": ["a"]}, 200),
    ("DELETE", "tags/?tag=a", None, 200),
    ("POST", "notes/", {"text": "hm"}, 201),
    ("PUT", "bookmark/", {"shared": True}, 200),
]


@pytest.mark.parametrize("method, part, body, status", WRITES)
def test_operators_change_what_others_see_and_viewers_do_not(
    run: Run, alice: User, bob: User, ada: User, charlie: User, method: str, part: str, body: Any, status: int
) -> None:
    path = f"/api/runs/{run.pk}/{part}"
    problem(send(by_token(alice), method, path, body), 403, "permission-denied")
    hidden, missing = (send(by_token(charlie), method, f"/api/runs/{pk}/{part}", body) for pk in (run.pk, 999999))
    assert hidden.status_code == missing.status_code and hidden.status_code in (403, 404)
    problem(send(by_token(make_user("dora", "operator")), method, path, body), 404, "not-found")
    for user in (bob, ada):
        assert send(by_token(user), method, path, body).status_code == status


OWN = [("PUT", "bookmark/", {}, 200), ("DELETE", "bookmark/", None, 204)]


@pytest.mark.parametrize("method, part, body, status", [*WRITES, *OWN])
def test_a_token_that_reads_changes_nothing(
    run: Run, bob: User, lora: Trainer, method: str, part: str, body: Any, status: int
) -> None:
    path = f"/api/runs/{run.pk}/{part}"
    for client in (by_token(bob, "read"), by_token(bob, "ingest", lora)):
        answer = send(client, method, path, body)
        problem(answer, 403, "insufficient-scope")
        assert 'error="insufficient_scope"' in answer["WWW-Authenticate"]
    assert Run.objects.get().version == 0 and not Note.objects.exists() and not Bookmark.objects.exists()


@pytest.mark.parametrize("method, part, body, status", WRITES)
def test_a_page_sends_its_csrf_token_with_every_change(
    run: Run, bob: User, method: str, part: str, body: Any, status: int
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob, backend="runs.signing.Accounts")
    told = problem(send(client, method, f"/api/runs/{run.pk}/{part}", body), 403, "permission-denied")
    assert "CSRF" in told["detail"]
    client.cookies["csrftoken"] = "t" * 32
    client.defaults["HTTP_X_CSRFTOKEN"] = "t" * 32
    assert send(client, method, f"/api/runs/{run.pk}/{part}", body).status_code == status


def test_a_run_is_renamed_tagged_and_pinned_at_once_or_not_at_all(run: Run, bob: User) -> None:
    client, path = by_token(bob), f"/api/runs/{run.pk}/"
    told = send(client, "PATCH", path, {"name": "best", "tags": ["a", "b"], "pinned": True}).json()
    assert (told["name"], told["tags"], told["pinned"]) == ("best", ["a", "b"], True)
    answer = send(client, "PATCH", path, {"name": "worse", "tags": ["a\x07b"]})
    assert "tags" in problem(answer, 400, "invalid")["errors"]
    assert Run.objects.get().name == "best"


@pytest.mark.parametrize("field", ["status", "version", "source", "id", "demo", "lifecycle_stage", "path", "pk", "params"])
def test_what_is_not_the_callers_to_set_is_refused_by_name(run: Run, ada: User, field: str) -> None:
    answer = send(by_token(ada), "PATCH", f"/api/runs/{run.pk}/", {"name": "x", field: 1})
    assert field in problem(answer, 400, "invalid")["errors"]
    assert Run.objects.get().name == "first"


@pytest.mark.parametrize("body, kind", [
    (b"{", "parse-error"), (b"[" * 100_000, "parse-error"), (b'{"name": NaN}', "parse-error"), (b"\xff", "parse-error"),
    (b'{"name": ' + b"9" * 5000 + b"}", "parse-error"), (b"[]", "invalid"), (b"null", "invalid"), (b'"x"', "invalid"),
    (b'{"name": null}', "invalid"), (b'{"name": {}}', "invalid"), (b'{"name": "a\\u0000b"}', "invalid"),
    (b'{"name": "\\ud800"}', "invalid"), (b'{"name": ""}', "invalid"), (b'{"tags": "x"}', "invalid"),
    (b'{"tags": [[]]}', "invalid"), (b'{"pinned": "perhaps"}', "invalid"), (b'{"\\ud800": 1}', "invalid"),
])
def test_a_body_that_makes_no_sense_is_a_400(run: Run, bob: User, body: bytes, kind: str) -> None:
    problem(send(by_token(bob), "PATCH", f"/api/runs/{run.pk}/", body), 400, kind)


def test_a_body_of_another_kind_is_415_and_a_huge_one_413(run: Run, bob: User) -> None:
    client, path = by_token(bob), f"/api/runs/{run.pk}/notes/"
    problem(client.post(path, {"text": "form"}), 415, "unsupported-media-type")
    problem(send(client, "POST", path, {"text": "x" * (2 << 20)}), 413, "too-large")
    assert "text" in problem(send(client, "POST", path, {"text": "x" * 20_001}), 400, "invalid")["errors"]


def test_notes_are_written_read_changed_and_deleted(run: Run, bob: User) -> None:
    client, path = by_token(bob), f"/api/runs/{run.pk}/notes/"
    made = send(client, "POST", path, {"text": "lr too high"})
    assert (made.status_code, made.json()["author"], made.json()["edited"]) == (201, "bob", None)
    where = made["Location"]
    assert client.get(where).json() == client.get(path).json()["results"][0] == made.json()
    assert send(client, "PATCH", where, {"text": "lr fine"}).json()["text"] == "lr fine"
    assert client.get(where).json()["edited"]
    assert send(client, "DELETE", where).status_code == 204
    problem(client.get(where), 404, "not-found")


def test_a_secret_in_a_note_is_masked(run: Run, bob: User) -> None:
    """P18."""
    made = send(by_token(bob), "POST", f"/api/runs/{run.pk}/notes/", {"text": "password=hunter2hunter2"})
    assert "hunter2" not in made.content.decode() and "hunter2" not in Note.objects.get().text


def test_anothers_note_is_an_admins_to_change(run: Run, bob: User, ada: User) -> None:
    where = send(by_token(ada), "POST", f"/api/runs/{run.pk}/notes/", {"text": "mine"})["Location"]
    problem(send(by_token(bob), "PATCH", where, {"text": "his"}), 403, "permission-denied")
    problem(send(by_token(bob), "DELETE", where), 403, "permission-denied")
    assert send(by_token(ada), "DELETE", where).status_code == 204


def test_a_note_is_found_only_below_its_own_run(run: Run, bob: User) -> None:
    from tests.runs.factories import make_run

    where = send(by_token(bob), "POST", f"/api/runs/{run.pk}/notes/", {"text": "x"})["Location"]
    elsewhere = where.replace(f"/runs/{run.pk}/", f"/runs/{make_run(run.source).pk}/")
    problem(by_token(bob).get(elsewhere), 404, "not-found")


def test_tags_are_set_added_and_taken_away(run: Run, bob: User) -> None:
    client, path = by_token(bob), f"/api/runs/{run.pk}/tags/"
    assert send(client, "PUT", path, {"tags": ["b", "a/b", "b"]}).json() == {"tags": ["b", "a/b"]}
    assert send(client, "POST", path, {"tags": ["c"]}).json() == {"tags": ["b", "a/b", "c"]}
    assert send(client, "DELETE", f"{path}?tag=a/b&tag=none").json() == {"tags": ["b", "c"]}
    assert client.get(path).json() == {"tags": ["b", "c"]}
    assert "tag" in problem(send(client, "DELETE", path), 400, "invalid")["errors"]


def test_a_viewer_keeps_bookmarks_of_their_own(run: Run, alice: User, bob: User) -> None:
    client, path = by_token(alice), f"/api/runs/{run.pk}/bookmark/"
    assert send(client, "PUT", path).json() == {"bookmarked": True, "shared": False}
    assert by_token(bob).get(path).json() == {"bookmarked": False, "shared": False}
    assert send(client, "DELETE", path).status_code == send(client, "DELETE", path).status_code == 204
    assert client.get(path).json() == {"bookmarked": False, "shared": False}


def test_a_change_is_read_at_once_by_the_session_of_a_page(run: Run, alice: User, bob: User) -> None:
    send(by_token(bob), "PATCH", f"/api/runs/{run.pk}/", {"name": "renamed"})
    assert signed_in(alice).get(f"/api/runs/{run.pk}/").json()["name"] == "renamed"
