"""The trash: runs that can be restored, until they are purged and, where they were archived, after that."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

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
LIES = Q(purged_at=None, lost_at=None) & (Q(restored_at=None) | Q(planned__step=Step.RESTORING))
#: Purged, with an archive from which it can come back.
PURGED = (
    Q(purged_at__isnull=False, restored_at=None, archive__state=Archive.State.VERIFIED)
    & (Q(run__lifecycle_stage=Run.Stage.PURGED) | Q(planned__step=Step.RESTORING))
)
#: Lost with its volume; it comes back only where it has an archive.
LOST = Q(lost_at__isnull=False, restored_at=None)
LISTS = {"trash": LIES, "purged": PURGED, "lost": LOST}
#: What can come back now.
READY = (LIES | PURGED | LOST & Q(archive__state=Archive.State.VERIFIED)) & Q(wanted_by="") & ~Q(
    planned__step__in=(Step.PURGING, Step.RESTORING))


class TrashQuestion(PageNumber):
    """Which page of which list, of runs with these letters in their names, or of one cleanup."""

    of = forms.ChoiceField(choices=[(name, name) for name in LISTS], required=False)
    q = forms.CharField(max_length=200, required=False, label="Part of the name")
    cleanup = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class Chosen(TrashQuestion):
    """Burials that are to be undone, or all of a list, which are so many; and why."""

    tomb = Ids(required=False)
    all = forms.IntegerField(min_value=1, required=False)
    why = forms.CharField(max_length=500, required=False)

    def clean(self) -> dict[str, Any]:
        """One or the other."""
        if not self.cleaned_data.get("tomb") and not self.cleaned_data.get("all"):
            raise forms.ValidationError("No run is chosen: tick the boxes of those that are to come back.")
        return self.cleaned_data


def tombs_of(sources: Collection[int]) -> QuerySet[Tombstone]:
    """Burials of runs of these sources, with what a row shows."""
    shown = ("planned__plan", "planned", "run__dataset", "archive")
    return Tombstone.objects.filter(run__source__in=sources).select_related(*shown).only(
        "run__name", "run__source", "run__dataset__name", "run__pinned", "path", "size", "frees", "buried_at", "purge_after",
        "purged_at", "lost_at", "freed", "grew", "wanted_by", "planned__step", "planned__error", "planned__reason",
        "planned__plan__who", "planned__plan__why", "planned__plan__archive", "archive__name", "archive__state")


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
        trash=Count("pk", filter=LIES), purged=Count("pk", filter=PURGED), lost=Count("pk", filter=LOST),
        size=Sum("size", filter=LIES, default=0), frees=Sum("frees", filter=LIES, default=0))
    of = asked.get("of") or "trash"
    rows = found(tombs_of(sources), asked)
    pages = Paginator(rows.order_by("purge_after", "pk") if of == "trash" else rows.order_by(f"-{of}_at", "-pk"), ROWS)
    page = pages.get_page(asked.get("page"))
    for tomb in page:
        tomb.run.source = sources[tomb.run.source_id]
    context = {
        "form": form, "error": error, "of": of, "purged": of != "trash", "all": all_of(pages, rows),
        "q": asked.get("q") or "", "cleanup": asked.get("cleanup"), "page": page, "counts": counts,
        "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1), "at": now(),
        "sources_seen": sources.values(), "may_clean": may_clean(request.user),
    }
    return render(request, "trash.html", context, status=200 if valid and not error else 400)


def found(tombs: QuerySet[Tombstone], asked: dict[str, Any]) -> QuerySet[Tombstone]:
    """Of these the list that is asked for."""
    rows = tombs.filter(LISTS[asked.get("of") or "trash"], run__name__icontains=asked.get("q") or "")
    return rows.filter(planned__plan=asked["cleanup"]) if asked.get("cleanup") else rows


def all_of(pages: Paginator[Tombstone], rows: QuerySet[Tombstone]) -> int:
    """How many can come back, where they are more than one page."""
    return rows.filter(READY).count() if pages.num_pages > 1 else 0


@require_POST
@closed
def restore(request: HttpRequest) -> HttpResponse:
    """Have the chosen ones brought back; 404 where none of them is the user's to see."""
    form = Chosen(request.POST)
    if not form.is_valid():
        return listed(request, TrashQuestion({}), " ".join(map(str, chain(*form.errors.values()))))
    said, mine = form.cleaned_data, tombs_of(Source.objects.ids_visible_to(request.user))
    chosen = found(mine, said) if said["all"] else mine.filter(pk__in=said["tomb"])
    wanted = list(chosen.filter(READY))
    if said["all"] and said["all"] != len(wanted):
        return listed(request, TrashQuestion(said), f"All that match are {len(wanted):,} by now: look again.")
    if not wanted and not chosen.exists():
        raise Http404
    if wanted:
        _order(request, wanted, said["why"])
    if left := 0 if said["all"] else len(said["tomb"]) - len(wanted):
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
