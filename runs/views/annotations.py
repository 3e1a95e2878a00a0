"""What people do to a run from its page: each a POST that leads back to the tab it came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.core.exceptions import BadRequest, ValidationError
from django.db import transaction
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from runs import annotate
from runs.views.page import TABS, find, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models import Run


@require_POST
def run_rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Another name; a wrong one is asked for again."""
    name = request.POST.get("name", "")
    return _do(request, pk, lambda run: annotate.rename(request, run, name), "_rename.html", name)


@require_POST
def run_tags(request: HttpRequest, pk: int) -> HttpResponse:
    """Tags to add, with commas between, or one to take away."""
    gone, said = request.POST.getlist("remove"), request.POST.get("add", "")
    more = [tag for tag in said.split(",") if tag.strip()]
    if not gone and not more:
        raise BadRequest("No tag was named.")

    @transaction.atomic
    def retag(run: Run) -> None:
        annotate.remove_tags(request, run, gone)
        annotate.add_tags(request, run, more)

    return _do(request, pk, retag, "_tag_more.html", said)


@require_POST
def run_pin(request: HttpRequest, pk: int) -> HttpResponse:
    """Pin or unpin it for everybody."""
    on = _chosen(request, "on", ("0", "1")) == "1"
    return _do(request, pk, lambda run: annotate.pin(request, run, on))


@require_POST
def run_bookmark(request: HttpRequest, pk: int) -> HttpResponse:
    """One's own bookmark: none, for oneself, or shared."""
    keep = _chosen(request, "keep", ("no", "mine", "shared"))
    return _do(request, pk, lambda run: annotate.bookmark(request, run, keep != "no", shared=keep == "shared"))


def _do(
    request: HttpRequest, pk: int, deed: Callable[[Run], None], form: str = "", said: str = ""
) -> HttpResponse:
    """Do it to a visible run and go back; what is refused is shown in its form, with what was typed."""
    run = find(request, pk)
    tab = request.POST.get("tab", "")
    try:
        deed(run)
    except ValidationError as error:
        context = {"form": form, "said": said, "error": error.messages[0]}
        return show(request, run, tab, context, template="run_change.html", status=400)
    routes = {name: route for name, _, route in TABS}
    return redirect(routes.get(tab, "run"), pk)


def _chosen(request: HttpRequest, name: str, choices: tuple[str, ...]) -> str:
    choice = request.POST.get(name, "")
    if choice not in choices:
        raise BadRequest(f"{name} must be one of {', '.join(choices)}.")
    return choice
