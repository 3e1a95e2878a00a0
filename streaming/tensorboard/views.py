"""The pages around TensorBoard: how a trainer's stands and what is asked of it, and a run in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from csp.constants import SELF
from csp.decorators import csp_update
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from runs.models import Trainer
from runs.views.page import find, show
from streaming.tensorboard import shortfalls
from streaming.tensorboard.asking import Wish, ask
from streaming.tensorboard.forms import Asked
from streaming.tensorboard.links import run_url
from streaming.tensorboard.panel import CHANGE, panel_of, panels

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

SAID = {
    Wish.START: "It is started.",
    Wish.STOP: "It is stopped, and stays so until somebody starts it.",
    Wish.RESTART: "It is started anew.",
    Wish.ALWAYS: "It is always on.",
    Wish.DEMAND: "It sleeps while nobody looks, and wakes with the next visit.",
}


@require_safe
def tensorboards(request: HttpRequest) -> HttpResponse:
    """The TensorBoards of all trainers that the user sees."""
    return render(request, "tensorboards.html", {"panels": panels(request.user)})


@require_http_methods(["GET", "HEAD", "POST"])
def trainer_tensorboard(request: HttpRequest, slug: str) -> HttpResponse:
    """How the TensorBoard of a trainer that the user may see stands; by POST, ask something of it."""
    trainer = get_object_or_404(Trainer.objects.visible_to(request.user).prefetch_related("sources"), slug=slug)
    if request.method != "POST":
        return render(request, "tensorboard.html", {"trainer": trainer})
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied("Starting and stopping TensorBoard needs the role operator.")
    form = Asked(request.POST)
    if not form.is_valid():
        return render(request, "tensorboard.html", {"trainer": trainer, "asked": form}, status=400)
    wish, minutes = form.cleaned_data["wish"], form.cleaned_data["minutes"]
    ask(request, trainer, wish, minutes)
    messages.success(request, f"It runs for {minutes:,} minutes." if minutes else SAID[Wish(wish)])
    return redirect(f"{trainer.get_absolute_url()}#tensorboard")


@csp_update({"frame-src": [SELF]})  # type: ignore[arg-type]  # it is typed for views without parameters
@require_safe
def run_tensorboard(request: HttpRequest, pk: int) -> HttpResponse:
    """A run in its trainer's TensorBoard: a link, and a frame for who wants it here."""
    run = find(request, pk)
    panel = panel_of(run.source.trainer, request.user)
    context = {"panel": panel, "address": run_url(run, panel.board), "reasons": shortfalls.of_run(run)}
    return show(request, run, "tensorboard", context)
