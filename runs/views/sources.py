"""The page of a source: how reading it goes, and what was odd; reading it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.exceptions import OperationalError
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from runs import audit
from runs.counts import held
from runs.forms import FigurePage, RunAsked
from runs.models import Run, Source
from runs.tasks import sync_source
from runs.templatetags.shown import data_as_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

PROBLEMS_PER_PAGE = 100


def source_page(request: HttpRequest, pk: int) -> HttpResponse:
    """A source that the user may see, else 404."""
    sources = Source.objects.visible_to(request.user).select_related("trainer").defer("verdicts", "fingerprint")
    source = get_object_or_404(sources, pk=pk)
    everything = held()
    counts = everything.of([source.pk])
    asked = FigurePage(request.GET)
    pages = Paginator(source.problems, PROBLEMS_PER_PAGE)
    page = pages.get_page(asked.cleaned_data.get("page") if asked.is_valid() else 1)
    context = {
        "source": source,
        "counts": counts,
        "database": everything.database_share(counts.points),
        "interval": settings.TRAINMON_SYNC_INTERVAL,
        "page": page,
        "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
    }
    return render(request, "source.html", context)


@require_safe
def as_of(request: HttpRequest) -> HttpResponse:
    """"Data as of" in the top bar, as it stands now; for a run that the user may see, its source's."""
    form = RunAsked(request.GET)
    run = None
    if form.is_valid() and form.cleaned_data["run"]:
        shown = ("source__last_synced", "source__followed", "source__status")
        runs = Run.objects.visible_to(request.user).select_related("source").only(*shown)
        run = get_object_or_404(runs, pk=form.cleaned_data["run"])
    return render(request, "_as_of.html", {"data": data_as_of({"user": request.user, "run": run})})


@require_POST
@permission_required("runs.change_source", raise_exception=True)
def sync_now(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the workers to read this source; one that is being read is left alone."""
    source = get_object_or_404(Source.objects.visible_to(request.user).select_related("trainer"), pk=pk)
    if not source.enabled:
        messages.warning(request, "This source is disabled, and so not synced. An operator can enable it in the admin.")
    elif source.syncing:
        messages.info(request, "It is being synced just now.")
    else:
        _ask(request, source)
    return redirect(source)


def _ask(request: HttpRequest, source: Source) -> None:
    try:
        sync_source.apply_async([source.pk], retry=False)
    except OperationalError:
        messages.error(request, "The workers cannot be reached: Valkey (or Redis) does not answer. "
                                "The sync of every source goes on as soon as it does.")
    else:
        audit.record(request, "sync source", source)
        messages.success(request, "Asked the workers to read it; this page tells when they have.")
