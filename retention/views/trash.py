"""The trash: runs that can be restored, until they are purged and, where they were archived, after that."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, cast

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet, Sum
from django.http import Http404
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.http import require_POST, require_safe

from retention import orders
from retention.models import Archive, PlannedRun, Tombstone
from retention.rights import closed, may_clean
from runs import audit
from runs.forms import PageNumber
from runs.models import Run, Source
from runs.views.selected import Ids

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

ROWS = 50
Step = PlannedRun.Step
#: Buried, and neither purged nor back; what is on its way back still counts.
LIES = Q(purged_at=None) & (Q(restored_at=None) | Q(planned__step=Step.RESTORING))
#: Purged, with an archive from which it can come back.
ARCHIVED = (
    Q(purged_at__isnull=False, restored_at=None, archive__state=Archive.State.VERIFIED)
    & (Q(run__lifecycle_stage=Run.Stage.PURGED) | Q(planned__step=Step.RESTORING))
)


class TrashQuestion(PageNumber):
    """Which page of which list, of runs with these letters in their names."""

    of = forms.ChoiceField(choices=[("trash", "In the trash"), ("purged", "Purged, with an archive")], required=False)
    q = forms.CharField(max_length=200, required=False, label="Part of the name")


class Chosen(forms.Form):
    """Burials that are to be undone, and why."""

    tomb = Ids(error_messages={"required": "No run is chosen: tick the boxes of those that are to come back."})
    why = forms.CharField(max_length=500, required=False)


def tombs_of(sources: Collection[int]) -> QuerySet[Tombstone]:
    """Burials of runs of these sources, with what a row shows."""
    shown = ("planned__plan", "planned", "run__dataset", "archive")
    return Tombstone.objects.filter(run__source__in=sources).select_related(*shown).only(
        "run__name", "run__source", "run__dataset__name", "run__pinned", "path", "size", "frees", "buried_at", "purge_after",
        "purged_at", "freed", "grew", "wanted_by", "planned__step", "planned__error", "planned__reason", "planned__plan__who",
        "planned__plan__why", "planned__plan__archive", "archive__name")


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    """What lies in the trash, or what was purged and can come from its archive."""
    return listed(request, TrashQuestion(request.GET))


def listed(request: HttpRequest, form: TrashQuestion, error: str = "") -> HttpResponse:
    """The page.  ``error``: why what was asked for was not done."""
    valid = form.is_valid()
    asked = form.cleaned_data
    sources = {one.pk: one for one in Source.objects.visible_to(request.user).select_related("trainer").defer(
        "verdicts", "fingerprint")}
    every = Tombstone.objects.filter(run__source__in=sources)
    counts = every.aggregate(
        trash=Count("pk", filter=LIES), purged=Count("pk", filter=ARCHIVED), size=Sum("size", filter=LIES, default=0),
        frees=Sum("frees", filter=LIES, default=0))
    purged = asked.get("of") == "purged"
    rows = tombs_of(sources).filter(ARCHIVED if purged else LIES, run__name__icontains=asked.get("q") or "")
    pages = Paginator(rows.order_by("-purged_at", "-pk") if purged else rows.order_by("purge_after", "pk"), ROWS)
    page = pages.get_page(asked.get("page"))
    for tomb in page:
        tomb.run.source = sources[tomb.run.source_id]
    context = {
        "form": form, "error": error, "purged": purged, "q": asked.get("q") or "", "page": page, "counts": counts,
        "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1), "at": now(),
        "sources_seen": sources.values(), "may_clean": may_clean(request.user),
    }
    return render(request, "trash.html", context, status=200 if valid and not error else 400)


@require_POST
@closed
def restore(request: HttpRequest) -> HttpResponse:
    """Have the chosen ones brought back; 404 where none of them is the user's to see."""
    form = Chosen(request.POST)
    if not form.is_valid():
        return listed(request, TrashQuestion({}), " ".join(map(str, chain(*form.errors.values()))))
    chosen = tombs_of(Source.objects.ids_visible_to(request.user)).filter(pk__in=form.cleaned_data["tomb"])
    wanted = list(chosen.filter(LIES | ARCHIVED).filter(wanted_by="").exclude(planned__step__in=(Step.PURGING, Step.RESTORING)))
    if not wanted and not chosen.exists():
        raise Http404
    if wanted:
        _order(request, wanted, form.cleaned_data["why"])
    if left := len(form.cleaned_data["tomb"]) - len(wanted):
        messages.warning(request, f"{left:,} of the chosen cannot come back: back or on the way already, being purged, or gone.")
    return redirect("storage-trash")


def _order(request: HttpRequest, tombs: list[Tombstone], why: str) -> None:
    try:
        orders.bring_back(tombs, cast("User", request.user), why, audit.address_of(request))
    except orders.Away as away:
        messages.warning(request, str(away))
    else:
        runs = tombs[0].run.name if len(tombs) == 1 else f"{len(tombs):,} runs"
        messages.success(request, f"Asked the janitor to restore {runs}: this page tells when they are back.")
