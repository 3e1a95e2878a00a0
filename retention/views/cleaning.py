"""Cleaning up from the browser: choose, look at what would go, say so, watch it.

Only the POST with the token of a preview does anything; what it does is done by the janitor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.timezone import now
from django.views.decorators.http import require_POST, require_safe

from retention import changes, orders, place, plan, standing
from retention.candidates import candidates
from retention.choosing import chosen, listed
from retention.forms import Asked, Confirmed
from retention.looking import Patient
from retention.rights import cleanable, closed, may_force
from retention.telling import dollars, price
from runs import audit
from runs.forms import PageNumber

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: Runs that a list offers, that a preview names one by one, and cleanups of a page.
OFFERED, NAMED, PAGE = 500, 1000, 50


@dataclass
class Preview:
    """What would be done, for the page that asks whether it should be."""

    asked: Asked
    made: plan.Draft
    missing: int = 0
    changed: list[str] = field(default_factory=list)
    sure: Confirmed | None = None

    @property
    def seen(self) -> str:
        """What is shown, for telling later what has changed since."""
        return changes.seen(changes.shown(self.made))

    @property
    def trouble(self) -> str:
        """Why nothing can be archived."""
        return place.trouble_of(self.made)

    @property
    def total(self) -> dict[str, Any]:
        """What it comes to."""
        sums = {name: self.made.total(name) for name in ("files", "size", "frees")}
        return {**sums, "runs": len(self.made.going), "saved": price(sums["frees"])}


@require_safe
@closed
def cleanup_new(request: HttpRequest) -> HttpResponse:
    """Runs to choose from, the oldest first: those that were named or fit the filter are ticked."""
    asked = Asked(request.GET, request.user, forces=may_force(request.user))
    return _choosing(request, asked, 200 if asked.is_valid() else 400)


def _choosing(request: HttpRequest, asked: Asked, status: int) -> HttpResponse:
    at = now()
    context: dict[str, Any] = {"asked": asked}
    if status == 200:
        question, mine = asked.question, cleanable(request.user)
        rows = candidates(mine.filter(pk__in=question.ids)) if question.ids else listed(mine, question, at)
        context |= {
            "rows": [(row, row.kept(at)) for row in rows[:OFFERED]], "total": len(rows), "size": sum(row.size for row in rows),
            "ticked": bool(question.ids or question.filters), "missing": max(0, len(question.ids) - len(rows)),
            "filter": request.GET.urlencode() if question.filters else "",
        }
    return render(request, "cleanup_new.html", context, status=status)


@require_safe
@closed
def cleanup_preview(request: HttpRequest) -> HttpResponse:
    """What exactly would go, what must stay, and why; nothing is done."""
    asked = Asked(request.GET, request.user, forces=may_force(request.user))
    if not asked.is_valid():
        return _choosing(request, asked, 400)
    if not asked.question.ids and not asked.question.filters:
        asked.add_error(None, "No run is chosen: tick some, or give a filter. An empty filter never means all.")
        return _choosing(request, asked, 400)
    return _shown(request, _preview(request, asked))


@require_POST
@closed
def cleanup_confirm(request: HttpRequest) -> HttpResponse:
    """Do what was shown, if it is still the same and somebody typed how many runs it is."""
    asked = Asked(request.POST, request.user, forces=may_force(request.user))
    if not asked.is_valid():
        return _choosing(request, asked, 400)
    sure = Confirmed(request.POST)
    shown = _preview(request, asked)
    shown.sure = sure
    if "token" not in sure.errors and sure.cleaned_data["token"] != shown.made.token:
        shown.changed = changes.since(sure.cleaned_data.get("seen", ""), changes.shown(shown.made))
        return _shown(request, shown, 409)
    if sure.is_valid() and sure.cleaned_data["typed"] != len(shown.made.going):
        sure.add_error("typed", f"This is not the number of runs: they are {len(shown.made.going):,}.")
    if not sure.is_valid() or not shown.made.going:
        return _shown(request, shown, 400)
    try:
        return _ordered(request, asked, shown.made, sure)
    except plan.Changed:  # somebody confirmed the same a moment ago
        again = _preview(request, asked)
        again.sure, again.changed = sure, changes.since(shown.seen, changes.shown(again.made))
        return _shown(request, again, 409)


def _preview(request: HttpRequest, asked: Asked) -> Preview:
    at, question = now(), asked.question
    wanted = chosen(cleanable(request.user), question, at)
    made = plan.draft(wanted, asked.manner, at, looking=place.looking(asked.manner, Patient(), place.there))
    return Preview(asked, made, max(0, len(question.ids) - len(wanted)))


def _shown(request: HttpRequest, shown: Preview, status: int = 200) -> HttpResponse:
    context = {"preview": shown, "asked": shown.asked, "draft": shown.made, "named": NAMED,
               "named_slice": f":{NAMED}", "may_force": may_force(request.user)}
    return render(request, "cleanup_preview.html", context, status=status)


def _ordered(request: HttpRequest, asked: Asked, made: plan.Draft, sure: Confirmed) -> HttpResponse:
    said = sure.cleaned_data
    user = request.user
    assert user.is_authenticated
    author = plan.Author(user.get_username(), "web", said["why"], str(asked.question), user, audit.address_of(request))
    try:
        done = orders.clean(made, author, said["token"])
    except orders.Away as away:
        # it is confirmed all the same
        messages.warning(request, str(away))
        assert away.plan is not None
        done = away.plan
    return redirect("cleanup", done.pk)


@require_safe
@closed
def cleanup(request: HttpRequest, pk: int) -> HttpResponse:
    """How a cleanup goes, or went."""
    return render(request, "cleanup.html", _stand(request, pk))


@require_safe
@closed
def cleanup_progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of that page that moves."""
    return render(request, "_cleanup_progress.html", _stand(request, pk))


def _stand(request: HttpRequest, pk: int) -> dict[str, Any]:
    found = get_object_or_404(standing.plans(request.user).select_related("by", "policy"), pk=pk)
    stands = standing.standing(found, request.user)
    left, others = (standing.rows(found, request.user, left=left) for left in (True, False))
    return {
        "plan": found, "stands": stands, "left": left, "others": others, "saved": dollars(stands.frees),
        "more": stands.runs() - len(left) - len(others),
    }


@require_safe
@closed
def cleanups(request: HttpRequest) -> HttpResponse:
    """All cleanups of whose runs the user may see one, the newest first."""
    number = PageNumber(request.GET)
    pages = Paginator(standing.plans(request.user).select_related("by"), PAGE)
    page = pages.get_page(number.cleaned_data["page"] if number.is_valid() else 1)
    context = {"page": page, "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
               "stands": standing.standings(list(page.object_list), request.user)}
    return render(request, "cleanups.html", context)
