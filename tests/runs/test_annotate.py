"""Names, tags, pins, bookmarks and notes: who may, what is refused, what stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.test import RequestFactory

from runs import annotate
from runs.models import AuditEntry, Bookmark, Note, Run, RunText, Trainer
from tests.runs.factories import make_run, make_source, make_user
from tests.runs.trees import settle, synced, write


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="qwen", tags=["old"])


def by(user: User) -> HttpRequest:
    request = RequestFactory().post("/", REMOTE_ADDR="10.0.0.7")
    request.user = user
    return request


def deeds() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


def test_an_operator_renames_a_run_and_leaves_a_trace(run: Run, bob: User):
    """P14."""
    before = run.version
    annotate.rename(by(bob), run, "  qwen, lr 0.1 ")
    run.refresh_from_db()
    assert (run.name, run.version) == ("qwen, lr 0.1", before + 1)
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.action, entry.object_id, entry.address) == ("bob", "rename", run.pk, "10.0.0.7")
    assert entry.details == {"old": "qwen", "new": "qwen, lr 0.1"}
    assert RunText.objects.get(run=run).name == "qwen, lr 0.1"


def test_what_changes_nothing_leaves_no_trace(run: Run, bob: User):
    annotate.rename(by(bob), run, "qwen")
    annotate.set_tags(by(bob), run, ["old"])
    annotate.pin(by(bob), run, False)
    annotate.bookmark(by(bob), run, False)
    run.refresh_from_db()
    assert (run.version, deeds()) == (0, [])


@pytest.mark.django_db
def test_a_renamed_run_keeps_its_name_after_a_sync(tmp_path: Path):
    write(tmp_path / "ds" / "seven")
    settle(tmp_path)
    synced(tmp_path)
    run = Run.objects.get()
    annotate.rename(by(make_user("bob", "operator")), run, "the good one")
    write(tmp_path / "ds" / "seven", start=100)
    synced(tmp_path)
    synced(tmp_path, full=True)
    run.source.__class__.objects.update(layout="flat")
    synced(tmp_path)
    assert Run.objects.get().name == "the good one"


@pytest.mark.parametrize("deed", [
    lambda request, run: annotate.rename(request, run, "mine"),
    lambda request, run: annotate.set_tags(request, run, ["mine"]),
    lambda request, run: annotate.add_tags(request, run, ["mine"]),
    lambda request, run: annotate.remove_tags(request, run, ["old"]),
    lambda request, run: annotate.pin(request, run, True),
    lambda request, run: annotate.bookmark(request, run, True, shared=True),
    lambda request, run: annotate.add_note(request, run, "mine"),
])  # fmt: skip
def test_a_viewer_changes_nothing_that_others_see(run: Run, alice: User, deed):
    with pytest.raises(PermissionDenied, match="needs the role operator"):
        deed(by(alice), run)
    run.refresh_from_db()
    assert (run.name, run.tags, run.pinned, run.version) == ("qwen", ["old"], False, 0)
    assert not (Note.objects.exists() or Bookmark.objects.exists() or deeds())


@pytest.mark.parametrize(("name", "why"), [
    ("", "1 to 500 characters; this has 0"), ("  ", "this has 0"), ("x" * 501, "this has 501"),
    ("a\0b", "U\\+0000"), ("a\nb", "U\\+000A"), ("a\x1b[31m", "U\\+001B"), ("\ud800", "U\\+D800"), ("a\u2028b", "U\\+2028"),
])  # fmt: skip
def test_a_name_is_one_line_of_text(run: Run, bob: User, name: str, why: str):
    with pytest.raises(ValidationError, match=why):
        annotate.rename(by(bob), run, name)
    assert Run.objects.get().name == "qwen"


def test_names_may_be_long_and_in_any_script(run: Run, bob: User):
    for name in ("n" * 500, "تجربة ٧", "👩‍🔬 <b>bold</b>"):
        annotate.rename(by(bob), run, name)
        assert Run.objects.get().name == name


def test_tags_are_kept_once_in_their_order_and_case(run: Run, bob: User):
    annotate.set_tags(by(bob), run, ["Best", "baseline", " Best ", "best"])
    assert Run.objects.get().tags == ["Best", "baseline", "best"]
    annotate.add_tags(by(bob), run, ["new", "Best"])
    assert Run.objects.get().tags == ["Best", "baseline", "best", "new"]
    annotate.remove_tags(by(bob), run, ["best", "never there"])
    assert Run.objects.get().tags == ["Best", "baseline", "new"]
    assert deeds() == ["set tags"] * 3


@pytest.mark.parametrize(("tags", "why"), [
    ([""], "A tag has 1 to 100"), (["x" * 101], "this has 101"), (["a\tb"], "U\\+0009"),
    ([f"t{n}" for n in range(50)], "at most 50 tags; these would be 51"),
])  # fmt: skip
def test_wrong_tags_are_refused_and_nothing_is_lost(run: Run, bob: User, tags: list[str], why: str):
    with pytest.raises(ValidationError, match=why):
        annotate.add_tags(by(bob), run, tags)
    assert Run.objects.get().tags == ["old"]


def test_fifty_tags_are_the_most_whoever_adds_them(run: Run, bob: User):
    annotate.set_tags(by(bob), run, [f"t{n}" for n in range(50)])
    with pytest.raises(ValidationError, match="these would be 51"):
        annotate.add_tags(by(bob), run, ["one more"])


def test_a_pin_is_everybodys(run: Run, bob: User):
    annotate.pin(by(bob), run, True)
    annotate.pin(by(bob), run, True)
    assert Run.objects.get().pinned
    annotate.pin(by(bob), run, False)
    assert not Run.objects.get().pinned
    assert deeds() == ["pin", "unpin"]


def test_a_viewer_keeps_bookmarks_that_others_do_not_see(run: Run, alice: User, bob: User):
    annotate.bookmark(by(alice), run, True)
    annotate.bookmark(by(alice), run, True)
    assert Bookmark.objects.visible_to(alice).count() == 1
    assert not Bookmark.objects.visible_to(bob).exists()
    annotate.bookmark(by(alice), run, False)
    assert not Bookmark.objects.exists()
    assert (Run.objects.get().version, deeds()) == (0, [])


def test_a_shared_bookmark_is_seen_by_others_and_audited(run: Run, alice: User, bob: User):
    annotate.bookmark(by(bob), run, True, shared=True)
    assert Bookmark.objects.visible_to(alice).get().owner == bob
    annotate.bookmark(by(bob), run, True)
    assert not Bookmark.objects.visible_to(alice).exists()
    annotate.bookmark(by(bob), run, True, shared=True)
    annotate.bookmark(by(bob), run, False)
    assert deeds() == ["share bookmark", "unshare bookmark"] * 2
    assert Run.objects.get().version == 4


def test_a_note_is_found_by_its_words(run: Run, bob: User):
    note = annotate.add_note(by(bob), run, "diverged\r\nafter warm-up\n")
    assert (note.text, note.author) == ("diverged\nafter warm-up", bob)
    assert "diverged" in RunText.objects.get(run=run).words
    annotate.edit_note(by(bob), note, "converged")
    note.refresh_from_db()
    assert (note.text, note.edited is None) == ("converged", False)
    annotate.delete_note(by(bob), note)
    assert "converged" not in RunText.objects.get(run=run).words
    assert deeds() == ["add note", "edit note", "delete note"]
    assert AuditEntry.objects.order_by("-id")[0].details["old"] == "converged"
    assert Run.objects.get().version == 3


@pytest.mark.parametrize("text", ["", " \n ", "x" * 20_001])
def test_an_empty_or_endless_note_is_refused(run: Run, bob: User, text: str):
    with pytest.raises(ValidationError, match="1 to 20,000 characters"):
        annotate.add_note(by(bob), run, text)
    assert not Note.objects.exists()


def test_what_a_text_column_cannot_hold_becomes_visible(run: Run, bob: User):
    assert annotate.add_note(by(bob), run, "a\0b\ud800").text == "a\\x00b\\ud800"


def test_a_note_is_its_authors_and_the_admins(run: Run, alice: User, bob: User, ada: User):
    note = annotate.add_note(by(bob), run, "mine")
    for other in (make_user("dora", "operator", "team-lora"), alice):
        with pytest.raises(PermissionDenied):
            annotate.edit_note(by(other), note, "no")
        with pytest.raises(PermissionDenied):
            annotate.delete_note(by(other), note)
        assert not annotate.may_change(other, note)
    annotate.edit_note(by(ada), note, "by ada")
    assert (Note.objects.get().text, Note.objects.get().author) == ("by ada", bob)


def test_an_author_who_is_no_operator_any_more_changes_no_note(run: Run, bob: User):
    note = annotate.add_note(by(bob), run, "mine")
    bob.groups.clear()
    demoted = User.objects.get(pk=bob.pk)
    with pytest.raises(PermissionDenied):
        annotate.edit_note(by(demoted), note, "no")


def test_a_note_that_is_gone_is_said_to_be(run: Run, bob: User):
    note = annotate.add_note(by(bob), run, "mine")
    annotate.delete_note(by(bob), Note.objects.get())
    for deed in (lambda: annotate.edit_note(by(bob), note, "again"), lambda: annotate.delete_note(by(bob), note)):
        with pytest.raises(ValidationError, match="deleted meanwhile"):
            deed()
    assert deeds() == ["add note", "delete note"]


def test_secrets_are_masked_at_the_door(run: Run, bob: User):
    """P18."""
    secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    annotate.rename(by(bob), run, f"run with {secret}")
    annotate.add_tags(by(bob), run, [secret])
    annotate.add_note(by(bob), run, f"the key is api_key={secret}")
    kept = [Run.objects.values_list("name", "tags"), Note.objects.values("text"), AuditEntry.objects.values("details")]
    assert secret[5:] not in str([list(rows) for rows in kept])


def test_two_at_once_lose_nothing(run: Run, bob: User):
    """A row that was read before another's change is not written back."""
    mine, theirs = Run.objects.get(), Run.objects.get()
    annotate.add_tags(by(bob), mine, ["a"])
    annotate.add_tags(by(bob), theirs, ["b"])
    assert (Run.objects.get().tags, Run.objects.get().version) == (["old", "a", "b"], 2)
