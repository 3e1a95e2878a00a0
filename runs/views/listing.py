"""The run list: as the query string asks, or as a saved view does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from runs import saved
from runs.dressing import dress_rows
from runs.models import Dataset, Source, Trainer
from runs.models.run import Status
from runs.query import RunQuery, TooLarge
from runs.query.columns import PLAIN
from runs.query.grammar import FUNCTIONS, Metric, Param, quoted
from runs.query.limits import bounded
from runs.query.question import LOOKED_AT
from runs.query.unknown import unknown

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest, HttpResponse

    from runs.models import SavedView
    from runs.query import Column

#: What a filter's list of boxes offers at most; the rest is found by the search.
OFFERED = 200
#: Runs up to which it is counted what a looser filter would show.
COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Looser:
    """A condition without which an empty list would show so many runs."""

    sentence: str
    query: str
    runs: int
    more: bool


@require_safe
def run_list(request: HttpRequest) -> HttpResponse:
    """Runs that the user may see, filtered and sorted by the query string."""
    return listing(request, RunQuery(request.GET, request.user))


@require_safe
def saved_view(request: HttpRequest, pk: int) -> HttpResponse:
    """The run list as a saved view shows it; a query string on top of it is a change that is not saved yet."""
    view = saved.find(request.user, pk)
    return listing(request, RunQuery(request.GET or QueryDict(view.query), request.user), view)


@require_safe
def run_form(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """The question of a list, or of a saved view, as a form: fetched by the list when its menus are opened, and a page
    of its own without scripts."""
    view = None if pk is None else saved.find(request.user, pk)
    query = RunQuery(request.GET or QueryDict(view.query if view else ""), request.user)
    query.is_valid()
    return render(request, "runs_form.html", _asked(request.user, query, view) | _offered(request.user, query))


@require_safe
def run_totals(request: HttpRequest) -> HttpResponse:
    """The sums of a question: asked for by the list when it stands, and a page of its own without scripts."""
    query = RunQuery(request.GET, request.user)
    context = {"query": query, "here": reverse("runs"), "statuses": _statuses()}
    try:
        totals = query.totals() if query.is_valid() else None
    except TooLarge as error:
        return render(request, "runs_totals.html", {**context, "too_large": str(error)}, status=400)
    return render(request, "runs_totals.html", {**context, "totals": totals}, status=200 if query.is_valid() else 400)


@require_safe
def order(request: HttpRequest) -> HttpResponse:
    """Which runs a page of the list would hold now, in order: a live list says what is new or has moved."""
    query = RunQuery(request.GET, request.user)
    if not query.is_valid():
        return JsonResponse({"detail": "This list cannot be shown."}, status=400)
    try:
        return JsonResponse({"ids": query.standing()})
    except TooLarge as error:
        return JsonResponse({"detail": str(error)}, status=400)


@require_safe
def known(request: HttpRequest) -> HttpResponse:
    """What can be asked for, of the runs that the list shows: suggestions for its fields."""
    query = RunQuery(request.GET, request.user)
    offered = query.available_columns() if query.is_valid() else []
    metrics = [column.source.tag for column in offered if isinstance(column.source, Metric)]
    params = [column.source.name for column in offered if isinstance(column.source, Param)]
    with bounded():
        tags = list(query.runs().exclude(tags=[]).order_by("-pk").values_list("tags", flat=True)[:LOOKED_AT])
    return JsonResponse({
        "column": [*(str(Metric(tag, of)) for tag in metrics for of in FUNCTIONS), *(str(Param(name)) for name in params)],
        "metric": [f"{_written(tag)}<" for tag in metrics],
        "param": [f"{_written(name)}=" for name in params],
        "tag": sorted({tag for some in tags for tag in some}, key=str.casefold),
    })  # fmt: skip


def listing(
    request: HttpRequest, query: RunQuery, view: SavedView | None = None, *, saving: Any = None, status: int = 200
) -> HttpResponse:
    """The page.  ``saving`` is a form of a view that was refused."""
    valid = query.is_valid()
    context = _asked(request.user, query, view) | {"saving": saving}
    if not valid:
        return render(request, "runs.html", context | _offered(request.user, query), status=400)
    try:
        page = query.page()
        main = {run.pk: run.cells["main"] for run in page.rows if "main" in run.cells}
        context |= {"page": page, "runs": dress_rows(page.rows, request.user, main)}
        if not page.rows:
            context["looser"] = _looser(query)
            with suppress(TooLarge), bounded(1):
                context["unknown"] = unknown(query)
    except TooLarge as error:
        context, status = {**context, "too_large": str(error)}, 400
    return render(request, "runs.html", context, status=status)


def _asked(user: User | AnonymousUser, query: RunQuery, view: SavedView | None) -> dict[str, Any]:
    """The question, and the views beside it."""
    question = saved.normal(query)
    sources = list(query.sources.values())
    return {
        "query": query,
        "question": question,
        "columns": query.columns,
        "asked": {name: [one for one in query.query.getlist(name) if one.strip()] for name in query.fields},
        "here": view.get_absolute_url() if view else reverse("runs"),
        "view": view,
        "changed": view is not None and question != saved.normal(RunQuery(QueryDict(view.query), user)),
        "may_change": view is not None and saved.may_change(user, view),
        "views": saved.views_of(user),
        "sources_seen": sources,
        "failing": [source for source in sources if source.enabled and source.status == Source.Status.ERROR],
    }


def _offered(user: User | AnonymousUser, query: RunQuery) -> dict[str, Any]:
    """What the form of a question offers."""
    trainers = list(Trainer.objects.visible_to(user))
    return {
        "trainers": trainers[:OFFERED],
        "datasets": _datasets(trainers, query),
        "statuses": _statuses(),
        "others": _others(query.columns),
    }


def _datasets(trainers: list[Trainer], query: RunQuery) -> list[Dataset]:
    """Datasets to choose from: of the chosen ones of these trainers, where some are chosen."""
    chosen = query.query.getlist("trainer")
    of = {one.pk: one for one in trainers if not chosen or one.slug in chosen}
    datasets = list(Dataset.objects.filter(trainer__in=of.keys()).order_by("name", "trainer__name")[:OFFERED])
    for dataset in datasets:
        dataset.trainer = of[dataset.trainer_id]
    return datasets


def _statuses() -> list[str]:
    running, stalled = Status.RUNNING.value, "stalled"
    return [running, stalled, *(status for status in Status.values if status != running)]


def _others(shown: list[Column]) -> list[Column]:
    """The columns that every run has and this list does not show."""
    return [column for column in PLAIN.values() if column not in shown]


def _written(name: str) -> str:
    """A name as a condition takes it."""
    return quoted(name) if name != name.strip() or any(sign in name for sign in '=!<>≤≥≠"(') else name


def _looser(query: RunQuery) -> list[Looser]:
    """Which conditions keep an empty list empty, and how many runs each of them hides."""
    found = []
    for chip in query.chips[:8]:
        runs = 0
        with suppress(TooLarge), bounded(1):
            runs = RunQuery(QueryDict(chip.without), query.user).runs()[: COUNTED + 1].count()
        if runs:
            found.append(Looser(chip.sentence, chip.without, min(runs, COUNTED), runs > COUNTED))
    return sorted(found, key=lambda one: one.runs)
