"""The home page and the door to the admin."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views import defaults

from runs.api.problems import Problem, is_api
from runs.counts import BROKEN, Counts, Held, held
from runs.dressing import dress_rows
from runs.models import Run, Source, Trainer
from runs.models.run import Status
from runs.streamed import let_go
from runs.views.latest import latest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest

    Page = Callable[..., HttpResponse]


def home(request: HttpRequest) -> HttpResponse:
    """What runs now, what failed last, and where the data comes from."""
    sources = list(
        Source.objects.visible_to(request.user).select_related("trainer").defer("verdicts", "fingerprint")
    )
    # by id: the planner knows how many runs a source has, and nothing of a user's groups
    runs = Run.objects.filter(source__in=[source.pk for source in sources]).active()
    running = latest(runs.filter(status=Status.RUNNING))
    broken = latest(runs.filter(status__in=BROKEN))
    dress_rows([*running, *broken])
    everything = held()
    totals = everything.of(source.pk for source in sources)
    troubled = [source for source in sources if source.state in ("failing", "stale", "never synced")]
    context = {
        "running": running,
        "broken": broken,
        "totals": totals,
        "database": everything.database_share(totals.points),
        "watched": sum(source.enabled for source in sources),
        "trainers": _trainers(request.user, sources, everything),
        "sources": [(source, everything.of([source.pk])) for source in sources],
        "troubled": troubled,
        "failing": any(source.state == "failing" for source in troubled),
    }
    return render(request, "home.html", context)


@dataclass(frozen=True, slots=True)
class TrainerRow:
    """A trainer as the home page shows it."""

    trainer: Trainer
    counts: Counts
    database: int
    read: datetime | None


def _trainers(user: User | AnonymousUser, sources: list[Source], everything: Held) -> list[TrainerRow]:
    """Each visible trainer, those without a source too; read up to where its slowest source was."""
    rows = []
    for trainer in Trainer.objects.visible_to(user):
        mine = [source for source in sources if source.trainer_id == trainer.pk]
        counts = everything.of(source.pk for source in mine)
        read = min((source.as_of for source in mine if source.enabled and source.as_of), default=None)
        rows.append(TrainerRow(trainer, counts, everything.database_share(counts.points), read))
    return rows


@login_not_required
def admin_login(request: HttpRequest) -> HttpResponse:
    """Send to the site's own sign-in; someone signed in who may not enter is told so."""
    if request.user.is_authenticated:
        if not request.user.is_staff:
            raise PermissionDenied
        return redirect("admin:index")
    return redirect_to_login(request.GET.get("next", "/admin/"))


def locked_out(request: HttpRequest, answer: HttpResponse | None, credentials: dict[str, str] | None) -> HttpResponse:
    """After too many wrong passwords: how long to wait, and nothing of whether there is such a user."""
    cooloff = timedelta(hours=settings.AXES_COOLOFF_TIME)
    context = {"failures": settings.AXES_FAILURE_LIMIT, "minutes": math.ceil(cooloff.total_seconds() / 60)}
    closed = render(request, "lockout.html", context, status=429)
    closed.headers["Retry-After"] = str(math.ceil(cooloff.total_seconds()))
    return closed


def is_unreachable(error: BaseException | None) -> bool:
    """Whether the database was not reached: it is down or closing, or all connections are taken."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # what it answered itself has a code: 08 the connection, 53 its limits, 57P it shuts down or starts
    code = getattr(error.__cause__, "sqlstate", None)
    return code is None or code.startswith(("08", "53", "57P"))


def unavailable(request: HttpRequest) -> HttpResponse:
    """Come back in ten seconds."""
    wait = {"Retry-After": "10"}
    if is_api(request):
        return Problem(request, 503, "unavailable", "The database does not answer now: try again later.", headers=wait)
    # without the request, whose user would be asked for
    return HttpResponse(render_to_string("503.html"), status=503, headers=wait)


def apart(page: Page) -> Page:
    """Django makes the pages of errors in threads of their own, whose connections nobody would give back."""
    @wraps(page)
    def made(*args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return page(*args, **kwargs)
        finally:
            let_go()
    return made


@apart
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A request that cannot be read or answered: a page, or a problem document of the API."""
    if is_api(request):
        return Problem(request, 400, "parse_error", "The request cannot be read.")
    # what our own views refuse, they refuse in words for people; Django's are for its log
    return render(request, "400.html", {"why": str(exception) if isinstance(exception, BadRequest) else ""}, status=400)


@apart
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Something that this user may not do."""
    return defaults.permission_denied(request, exception)


@apart
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """An address that leads nowhere."""
    if is_api(request):
        return Problem(request, 404, "not_found", "There is no such address.")
    return defaults.page_not_found(request, exception)


@apart
def server_error(request: HttpRequest) -> HttpResponse:
    """An error of ours, of which only the log tells; or the database that does not answer now."""
    if is_unreachable(sys.exception()):
        return unavailable(request)
    if is_api(request):
        return Problem(request, 500, "error", "trainmon failed to answer; its log says why.")
    return defaults.server_error(request)
