"""The audit trail, for those who may see it: a page, and a CSV file of the same question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.shortcuts import render
from django.urls import reverse
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from runs import audit, trail
from runs.query.limits import TooLarge, bounded
from runs.streamed import Download

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, HttpResponseBase


@require_safe
def audit_page(request: HttpRequest) -> HttpResponse:
    """Who did what, newest first."""
    refuse_others(request)
    form = trail.TrailPage(request.GET)
    return _shown(request, form)


@require_safe
def audit_csv(request: HttpRequest) -> HttpResponseBase:
    """All that was asked for; that somebody took it along is an entry, too."""
    refuse_others(request)
    form = trail.Trail(request.GET)
    if not form.is_valid():
        return _shown(request, trail.TrailPage(request.GET))
    asked = {name: request.GET.getlist(name) for name in form.fields if form.cleaned_data[name] not in (None, [])}
    audit.record(request, "export audit trail", asked=asked)
    return Download(trail.as_csv(form.entries()), f"audit-{now():%Y%m%d-%H%M%S}.csv", "text/csv; charset=utf-8")


def refuse_others(request: HttpRequest) -> None:
    """The trail tells of everybody and of every trainer."""
    if not request.user.has_perm("runs.view_auditentry"):
        raise PermissionDenied("The audit trail is for the role admin.")


def _shown(request: HttpRequest, form: trail.TrailPage) -> HttpResponse:
    asked = dict(request.GET.lists())
    context: dict[str, Any] = {"form": form, "asked": asked, "here": reverse("audit"), "offered": trail.offered()}
    if not form.is_valid():
        return render(request, "audit.html", context, status=400)
    try:
        with bounded():
            context |= {"sheet": form.sheet(), "count": form.count(), "most": trail.COUNTED}
    except TooLarge:
        context["too_large"] = True
        return render(request, "audit.html", context, status=400)
    return render(request, "audit.html", context)
