"""What is answered where TensorBoard itself is not: sign in, no, wait, it failed, it is stopped.

The proxy hands on to here whatever it does not carry.  A page for people, a line for scripts; both with a status and
a Retry-After that a script can go by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from csp.decorators import csp_replace
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from runs import redact
from runs.models import Trainer
from runs.roles import sees_tensorboard
from streaming.models import TensorBoard
from streaming.tensorboard.admission import NoToken, WrongScope, person, visit

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest

State = TensorBoard.State
#: A supervisor looks each half second and says so each few: by then it is not there.
UNSEEN = timedelta(seconds=30)
ASKS = re.compile(r"https?://[^/?#]+/tensorboard/([-A-Za-z0-9_]{1,100})/")
FONT = re.compile(r"[A-Za-z0-9_-]{1,100}\.woff2")
#: Lines of its log that an operator is shown.
LINES = 40


@dataclass(frozen=True, slots=True)
class Standing:
    """How a TensorBoard that does not answer stands, in words, and after how many seconds it is worth to ask again."""

    title: str
    words: str
    again: int
    waits: bool = False


@login_not_required  # scripts come with a token; who nobody is, is told below
@csrf_exempt  # it changes nothing, and what TensorBoard's own pages send has no token of ours
@xframe_options_sameorigin
@csp_replace({"frame-ancestors": ["'self'"]})  # type: ignore[arg-type]  # a view takes more than its request
def tensorboard_page(request: HttpRequest, slug: str, rest: str = "") -> HttpResponse:
    """The page of a TensorBoard that does not answer, for those who may open it."""
    try:
        user, _ = person(request)
    except WrongScope as error:
        return _line(str(error), 403)
    except NoToken as error:
        return _unknown(request, str(error))
    user = user or (request.user if request.user.is_authenticated else None)
    if user is None:
        return _unknown(request, "Sign in, or send a token with the scope read.")
    trainer = Trainer.objects.visible_to(user).filter(slug=slug).first()
    if trainer is None or not sees_tensorboard(user):
        return _closed(request, trainer)
    board = TensorBoard.objects.filter(trainer=trainer).first()
    if board:
        visit(board)
    return _away(request, user, trainer, board)


@require_safe
def font(request: HttpRequest, name: str) -> HttpResponse:
    """TensorBoard's styles ask for its fonts at the root of the site, whatever its prefix: lead them back to where they lie."""
    asks = ASKS.match(request.headers.get("Referer", ""))
    if asks is None or not FONT.fullmatch(name):
        raise Http404
    return redirect(f"/tensorboard/{asks[1]}/font-roboto/{name}")


def _is_script(request: HttpRequest) -> bool:
    return "Authorization" in request.headers or "text/html" not in request.headers.get("Accept", "")


def _unknown(request: HttpRequest, why: str) -> HttpResponse:
    if _is_script(request):
        return _line(why, 401, {"WWW-Authenticate": 'Bearer realm="trainmon"'})
    return redirect_to_login(request.get_full_path())


def _closed(request: HttpRequest, trainer: Trainer | None) -> HttpResponse:
    """The same for what is not visible and what is not there: nobody learns the names of trainers."""
    if _is_script(request):
        return _line("This TensorBoard is not yours to open, or there is none of this name.", 403)
    return render(request, "tensorboard_closed.html", {"trainer": trainer}, status=403)


def _away(request: HttpRequest, user: User, trainer: Trainer, board: TensorBoard | None) -> HttpResponse:
    stands = standing(board)
    headers = {"Retry-After": str(stands.again)}
    if _is_script(request):
        return _expected(_line(f"{stands.title}. {stands.words}", 503, headers))
    tail = ""
    if board and board.state in (State.FAILED, State.STARTING) and user.has_perm("runs.change_source"):
        tail = "\n".join(redact.text(line) for line in board.log_tail.splitlines()[-LINES:])
    context = {"trainer": trainer, "board": board, "stands": stands, "tail": tail}
    page = render(request, "tensorboard_away.html", context, status=503)
    page.headers["Retry-After"] = headers["Retry-After"]
    return _expected(page)


def standing(board: TensorBoard | None) -> Standing:
    """How it stands, for whoever comes while it does not answer."""
    if board is None:
        words = "It is made within seconds where the trainer has a source that is enabled."
        return Standing("There is no TensorBoard yet", words, 5)
    why = redact.text(board.reason)
    if board.state == State.STOPPED:
        return Standing("TensorBoard is stopped", why or "An operator can start it on the trainer's page.", 30)
    if board.state == State.FAILED:
        when = " It is tried again by itself." if board.next_try else ""
        return Standing("TensorBoard failed", f"{why}{when}".strip(), 10)
    if board.seen is None or board.seen < now() - UNSEEN:
        words = "The service of TensorBoards (manage.py tensorboards) does not run: tell an administrator."
        return Standing("TensorBoard is not looked after", words, 10)
    if board.state == State.ASLEEP:
        words = "It slept while nobody looked. This page opens it as soon as it answers."
        return Standing("TensorBoard wakes up", words, 2, True)
    words = "It reads the logs first; that takes the longer the more there are. This page opens it as soon as it answers."
    return Standing("TensorBoard starts", f"{why} {words}".strip() if board.state == State.STARTING else words, 2, True)


def _line(words: str, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{words}\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")


def _expected(answer: HttpResponse) -> HttpResponse:
    """Not an error of ours: a page that waits asks again and again, and the log need not tell of it each time."""
    answer._has_been_logged = True  # type: ignore[attr-defined]  # what Django itself looks at
    return answer
