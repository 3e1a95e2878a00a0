"""The home page and the door to the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Max, Q, Sum
from django.shortcuts import redirect, render
from django.views import defaults

from runs.api.problems import Problem, is_api
from runs.figures import dress_rows
from runs.models import Run, Source, Trainer
from runs.models.run import Status
from runs.views.listing import UNSHOWN

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest, HttpResponse

#: Runs that a list on the home page shows.
ROWS = 10
BROKEN = (Status.FAILED, Status.KILLED, Status.LOST)


def home(request: HttpRequest) -> HttpResponse:
    """What runs now, what failed last, and where the data comes from."""
    runs = Run.objects.visible_to(request.user).active()
    listed = runs.select_related("source__trainer", "dataset").defer(*UNSHOWN)
    newest = F("last_event").desc(nulls_last=True), "-id"
    running = list(listed.filter(status=Status.RUNNING).order_by(*newest)[:ROWS])
    broken = list(listed.filter(status__in=BROKEN).order_by(*newest)[:ROWS])
    dress_rows([*running, *broken])
    trainers = _trainers(request.user)
    context = {
        "running": running,
        "broken": broken,
        "trainers": trainers,
        "totals": {key: sum(t["counts"][key] for t in trainers) for key in COUNTS},
        "sources": Source.objects.visible_to(request.user)
        .select_related("trainer")
        .defer("verdicts", "fingerprint")
        .annotate(run_count=Count("runs", filter=Q(runs__lifecycle_stage=Run.Stage.ACTIVE))),
    }
    return render(request, "home.html", context)


COUNTS = {
    "runs": Count("pk"),
    "running": Count("pk", filter=Q(status=Status.RUNNING)),
    "finished": Count("pk", filter=Q(status=Status.FINISHED)),
    "failed": Count("pk", filter=Q(status__in=BROKEN)),
    "unknown": Count("pk", filter=Q(status=Status.UNKNOWN)),
    "queued": Count("pk", filter=Q(status=Status.QUEUED)),
    "size": Sum("size", default=0),
}


def _trainers(user: User | AnonymousUser) -> list[dict[str, Any]]:
    """Each visible trainer with its counts, those without runs too."""
    rows = (
        Run.objects.visible_to(user).active().order_by().values("source__trainer")
        .annotate(**COUNTS, latest=Max("last_event"))
    )
    counts = {row["source__trainer"]: row for row in rows}
    none = {**dict.fromkeys(COUNTS, 0), "latest": None}
    return [
        {"trainer": trainer, "counts": counts.get(trainer.pk, none)} for trainer in Trainer.objects.visible_to(user)
    ]


@login_not_required
def admin_login(request: HttpRequest) -> HttpResponse:
    """Send to the site's own sign-in; someone signed in who may not enter is told so."""
    if request.user.is_authenticated:
        if not request.user.is_staff:
            raise PermissionDenied
        return redirect("admin:index")
    return redirect_to_login(request.GET.get("next", "/admin/"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that cannot be read: a page, or a problem document of the API."""
    if is_api(request):
        return Problem(request, 400, "parse_error", "The request cannot be read.")
    return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """An address that leads nowhere."""
    if is_api(request):
        return Problem(request, 404, "not_found", "There is no such address.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """An error of ours, of which only the log tells."""
    if is_api(request):
        return Problem(request, 500, "error", "trainmon failed to answer; its log says why.")
    return defaults.server_error(request)
