"""Holding a run from its page, and letting go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from retention import holding
from retention.forms import HoldAsked
from runs.views.page import find, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_POST
def run_hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep a run out of every cleanup; what is wrong is asked for again."""
    run = find(request, pk)
    holding.require(request, "add_hold")
    form = HoldAsked(request.POST)
    if not form.is_valid():
        return show(request, run, "charts", {"form": "_hold_ask.html", "hold_form": form}, template="run_change.html", status=400)
    holding.hold(request, run, form.cleaned_data["reason"], form.cleaned_data["until"])
    messages.success(request, "It is held: no cleanup takes it.")
    return redirect(run)


@require_POST
def run_hold_lift(request: HttpRequest, pk: int) -> HttpResponse:
    """Let it go again."""
    run = find(request, pk)
    holding.lift(request, run)
    messages.success(request, "It is not held any more.")
    return redirect(run)
