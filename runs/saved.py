"""Saved views: a question to the run list, kept under a name.

Whoever may see a view sees through it only the runs that they may see anyway, and a shared one
that names a trainer, dataset or run is hidden from those who may not see that.  What others
see (a shared view) is changed by those who may change runs, and leaves an audit entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, QueryDict

from runs import audit, redact
from runs.annotate import user_of
from runs.models import Dataset, Run, SavedView, Trainer
from runs.query.columns import DEFAULT
from runs.query.question import DEFAULT_SORT
from runs.readers.plain import plain

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from runs.query import RunQuery

NAME_LENGTH, QUERY_LENGTH = 100, 8000
#: Views that one user may keep.
MOST_VIEWS = 100
#: Where in a list somebody is, and how much of it they see at once, is no part of the question.
PLACE = {"after", "before", "limit"}
#: What a list does unasked.
USUAL = {"sort": [DEFAULT_SORT], "column": list(DEFAULT)}


def normal(query: RunQuery) -> str:
    """The question as it is kept and compared: what the list knows, in one order, nothing empty."""
    asked = QueryDict(mutable=True)
    for name in query.fields:
        values = [value for value in query.query.getlist(name) if value.strip()]
        if values and name not in PLACE and values != USUAL.get(name):
            asked.setlist(name, values)
    return asked.urlencode()


def views_of(user: User | AnonymousUser) -> list[SavedView]:
    """The views that a user may open, by name."""
    views = list(SavedView.objects.visible_to(user).select_related("owner"))
    asked = {view.pk: QueryDict(view.query) for view in views if view.owner_id != user.pk}
    hidden = {name: _hidden(name, {word for one in asked.values() for word in one.getlist(name)}, user) for name in NAMED}
    return [view for view in views if view.pk not in asked
            or not any(hidden[name].intersection(asked[view.pk].getlist(name)) for name in NAMED)]


def find(user: User | AnonymousUser, pk: int) -> SavedView:
    """A view that the user may open, else Http404."""
    view = next((view for view in views_of(user) if view.pk == pk), None)
    if view is None:
        raise Http404
    return view


#: The parts of a question that name something of one trainer, and what they name it by.
NAMED: dict[str, tuple[str, Callable[[User | AnonymousUser], QuerySet[Any]]]] = {
    "trainer": ("slug", Trainer.objects.visible_to),
    "dataset": ("pk", lambda user: Dataset.objects.filter(trainer__in=Trainer.objects.visible_to(user))),
    "run": ("pk", Run.objects.visible_to),
}


def _hidden(name: str, words: set[str], user: User | AnonymousUser) -> set[str]:
    """Those of the words that name nothing the user may see."""
    field, visible = NAMED[name]
    known = {word for word in words if field == "slug" or word.isascii() and word.isdigit() and len(word) < 19}
    if known:
        known = {str(one) for one in visible(user).filter(**{f"{field}__in": known}).values_list(field, flat=True)}
    return words - known


def save(request: HttpRequest, name: str, query: RunQuery, shared: bool = False) -> SavedView:
    """Keep a question under a new name."""
    owner = user_of(request)
    if SavedView.objects.filter(owner=owner).count() >= MOST_VIEWS:
        raise ValidationError(f"You keep {MOST_VIEWS} views already: delete one first.")
    view = SavedView(owner=owner, name=_name(name), query=_question(query), shared=shared)
    return _write(request, view, was_shared=False)


def change(
    request: HttpRequest,
    view: SavedView,
    *,
    name: str | None = None,
    query: RunQuery | None = None,
    shared: bool | None = None,
) -> SavedView:
    """Rename one's view, let it ask something else, share it or take it back: what is None stays."""
    was_shared = view.shared
    if name is not None:
        view.name = _name(name)
    if query is not None:
        view.query = _question(query)
    if shared is not None:
        view.shared = shared
    return _write(request, view, was_shared)


def delete(request: HttpRequest, view: SavedView) -> None:
    """Delete one's view; the runs that it showed stay."""
    _require(request, view, view.shared)
    with transaction.atomic():
        if view.shared:
            audit.record(request, "delete view", view, query=view.query)
        view.delete()


def may_change(user: User | AnonymousUser, view: SavedView) -> bool:
    """Whether this user may change this view: their own, a shared one only with the right to share."""
    return view.owner_id == user.pk and (not view.shared or user.has_perm("runs.change_run"))


def _write(request: HttpRequest, view: SavedView, was_shared: bool) -> SavedView:
    _require(request, view, view.shared or was_shared)
    try:
        with transaction.atomic():
            view.save()
            if view.shared or was_shared:
                deed = "unshare view" if not view.shared else "change view" if was_shared else "share view"
                audit.record(request, deed, view, query=view.query)
    except IntegrityError:
        raise ValidationError({"name": "You have a view of this name: choose another, or save that one."}) from None
    return view


def _require(request: HttpRequest, view: SavedView, shared: bool) -> None:
    if view.owner_id != user_of(request).pk:
        raise PermissionDenied("A view is changed by its owner: save it under a name of your own.")
    if shared and not request.user.has_perm("runs.change_run"):
        raise PermissionDenied("Changing what others see needs the role operator.")


def _name(said: str) -> str:
    name = redact.text(" ".join(plain(said).split()))
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValidationError({"name": f"A name has 1 to {NAME_LENGTH} characters; this has {len(name):,}."})
    return name


def _question(query: RunQuery) -> str:
    """The question where it can be asked: nothing is kept that the list would refuse."""
    if not query.is_valid():
        raise ValidationError("This list cannot be shown, so it cannot be saved: mend its filters first.")
    asked = normal(query)
    if len(asked) > QUERY_LENGTH:
        raise ValidationError(f"This filter is too long to be saved: {len(asked):,} of {QUERY_LENGTH:,} characters.")
    return asked
