"""What people say of a run: its name, tags, pin, bookmarks and notes.

Page and API come through here.  Whoever calls has found the run by ``visible_to``; here it
is asked what this user may do to it.  PermissionDenied and ValidationError say why not.
What others see raises the run's version under its row's lock and leaves an audit entry;
what changes nothing leaves none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils.timezone import now

from runs import audit, redact, signals
from runs.models import Bookmark, Note, Run
from runs.readers.plain import plain
from runs.roles import sees_everything

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest

NAME_LENGTH, TAG_LENGTH, NOTE_LENGTH = 500, 100, 20_000
MOST_TAGS = 50
#: Of a note that is changed or deleted, this much stays in the audit trail.
TRAIL_LENGTH = 2000
#: Unicode's control characters, lone surrogates, line and paragraph separators.
NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}


def rename(request: HttpRequest, run: Run, name: str) -> None:
    """Give a run another name; a sync keeps it (runs/register.py)."""
    _require(request, "change_run")
    name = checked_name(name)
    with _held(run) as held:
        if name != held.name:
            audit.record(request, "rename", held, old=held.name, new=name)
            _write(run, held, name=name)


def set_tags(request: HttpRequest, run: Run, tags: Iterable[str]) -> None:
    """Make these the tags of a run, in this order."""
    _require(request, "change_run")
    wanted = checked_tags(tags)
    with _held(run) as held:
        _retag(request, run, held, wanted)


def add_tags(request: HttpRequest, run: Run, tags: Iterable[str]) -> None:
    """Put these tags behind those that a run has."""
    _require(request, "change_run")
    more = checked_tags(tags)
    with _held(run) as held:
        _retag(request, run, held, list(dict.fromkeys([*held.tags, *more])))


def remove_tags(request: HttpRequest, run: Run, tags: Iterable[str]) -> None:
    """Take these tags from a run; one that it does not have is no error."""
    _require(request, "change_run")
    gone = set(tags)
    with _held(run) as held:
        _retag(request, run, held, [tag for tag in held.tags if tag not in gone])


def pin(request: HttpRequest, run: Run, on: bool) -> None:
    """Pin a run for everybody, or unpin it."""
    _require(request, "change_run")
    with _held(run) as held:
        if on != held.pinned:
            audit.record(request, "pin" if on else "unpin", held)
            _write(run, held, pinned=on)


def bookmark(request: HttpRequest, run: Run, on: bool, shared: bool = False) -> None:
    """Keep or drop one's own bookmark; a shared one is seen by all who see the run."""
    user = user_of(request)
    if on and shared:
        _require(request, "change_run")
    with _held(run) as held:
        mine = Bookmark.objects.filter(run=held, owner=user)
        was_shared = mine.filter(shared=True).exists()
        if on:
            Bookmark.objects.update_or_create(run=held, owner=user, defaults={"shared": shared})
        else:
            mine.delete()
        if was_shared != (on and shared):
            audit.record(request, "unshare bookmark" if was_shared else "share bookmark", held)
            _write(run, held)


def add_note(request: HttpRequest, run: Run, text: str) -> Note:
    """Write a note on a run."""
    _require(request, "add_note")
    text = _text(text)
    with _held(run) as held:
        note = Note.objects.create(run=held, author=user_of(request), text=text)
        audit.record(request, "add note", held, note=note.pk)
        _write(run, held)
    return note


def edit_note(request: HttpRequest, note: Note, text: str) -> None:
    """Change a note's text: its author, or an admin."""
    _require_author(request, note, "change_note")
    text = _text(text)
    with _held(note.run) as held:
        old = _as_it_is(note).text
        if text == old:
            return
        note.text, note.edited = text, now()
        note.save(update_fields=["text", "edited"])
        audit.record(request, "edit note", held, note=note.pk, old=old[:TRAIL_LENGTH])
        _write(note.run, held)


def delete_note(request: HttpRequest, note: Note) -> None:
    """Delete a note: its author, or an admin.  The audit trail keeps how it began."""
    _require_author(request, note, "delete_note")
    with _held(note.run) as held:
        there = _as_it_is(note)
        audit.record(request, "delete note", held, note=there.pk, old=there.text[:TRAIL_LENGTH])
        there.delete()
        _write(note.run, held)


def may_change(user: User | AnonymousUser, note: Note) -> bool:
    """Whether this user may edit or delete this note."""
    return user.has_perm("runs.change_note") and (note.author_id == user.pk or sees_everything(user))


def user_of(request: HttpRequest) -> User:
    """Who it is that says something."""
    if not request.user.is_authenticated:
        raise PermissionDenied("Sign in first.")
    return request.user


def _require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(f"runs.{permission}"):
        raise PermissionDenied("Changing what others see needs the role operator.")


def _require_author(request: HttpRequest, note: Note, permission: str) -> None:
    _require(request, permission)
    if note.author_id != request.user.pk and not sees_everything(request.user):
        raise PermissionDenied("A note is changed by its author or by an admin.")


@contextmanager
def _held(run: Run) -> Iterator[Run]:
    """The run as it is now, its row locked: whoever else writes it waits."""
    with transaction.atomic():
        yield Run.objects.select_for_update().only("name", "tags", "pinned", "version").get(pk=run.pk)


def _as_it_is(note: Note) -> Note:
    """The note as it is now, its run being held."""
    there = Note.objects.filter(pk=note.pk).first()
    if there is None:
        raise ValidationError("This note has been deleted meanwhile.")
    return there


def _write(run: Run, held: Run, **said: Any) -> None:
    """Write what was said and the next version; the caller's row follows."""
    said["version"] = held.version + 1
    signals.tell(runs={held.pk: said["version"]})
    Run.objects.filter(pk=held.pk).update(**said)
    for name, value in said.items():
        setattr(run, name, value)


def _retag(request: HttpRequest, run: Run, held: Run, tags: list[str]) -> None:
    if len(tags) > MOST_TAGS:
        raise ValidationError(f"A run has at most {MOST_TAGS} tags; these would be {len(tags):,}.")
    if tags != held.tags:
        audit.record(request, "set tags", held, old=held.tags, new=tags)
        _write(run, held, tags=tags)


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Each tag once, in the order given, checked and redacted."""
    return list(dict.fromkeys(_line(tag, "A tag", TAG_LENGTH) for tag in tags))


def checked_name(name: str) -> str:
    """A name as it is kept, or ValidationError."""
    return _line(name, "A name", NAME_LENGTH)


def _line(said: str, what: str, longest: int) -> str:
    """One line of text, redacted: 1 to ``longest`` characters, none of them a control character."""
    said = said.strip()
    if bad := next((sign for sign in said if unicodedata.category(sign) in NOT_IN_A_LINE), ""):
        raise ValidationError(f"{what} is one line of text: it cannot hold the control character U+{ord(bad):04X}.")
    return _bounded(said, what, longest)


def _text(said: str) -> str:
    """Lines of text, redacted; what PostgreSQL cannot hold becomes a visible escape."""
    return _bounded(plain(said.replace("\r\n", "\n").replace("\r", "\n")).strip(), "A note", NOTE_LENGTH)


def _bounded(said: str, what: str, longest: int) -> str:
    # before and after: a mask may be longer than what it hides
    for redacted in (False, True):
        said = redact.text(said) if redacted else said
        if not 0 < len(said) <= longest:
            raise ValidationError(f"{what} has 1 to {longest:,} characters; this has {len(said):,}.")
    return said
