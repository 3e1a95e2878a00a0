"""What cleanups came to, beside the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from retention import sessions
from runs.views.audit import refuse_others

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

PAGE = 50


class Older(forms.Form):
    """Where a page begins."""

    older = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


@require_safe
def audit_usage(request: HttpRequest) -> HttpResponse:
    """Cleanups one by one and together, and each trainer's runs and bytes."""
    refuse_others(request)
    form, found = Older(request.GET), sessions.sessions()
    valid = form.is_valid()
    older = form.cleaned_data.get("older")
    rows = list((found if older is None else found.filter(pk__lt=older))[: PAGE + 1])
    context: dict[str, Any] = {
        "form": form, "here": reverse("audit-usage"), "older": older, "rows": rows[:PAGE],
        "next": rows[PAGE - 1].pk if len(rows) > PAGE else None,
        "totals": sessions.totals(), "trainers": sessions.trainers(), "by_hand": settings.TRAINMON_BY_HAND,
    }
    return render(request, "audit_usage.html", context, status=200 if valid else 400)
