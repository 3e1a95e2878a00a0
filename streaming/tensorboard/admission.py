"""Who may open which TensorBoard: the session or token of a request, and what its user may see.

A page of TensorBoard asks for dozens of things at once.  So what was found is kept for KEPT seconds, and those that
ask the same meanwhile wait for one answer; who signs out, or is no longer let in, is out after them.
"""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.utils.timezone import now
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from runs import audit
from runs.api.authentication import TokenAuthentication
from runs.models import ApiToken, AuditEntry, Trainer
from runs.roles import sees_tensorboard
from runs.signing import Accounts
from streaming.access import signed_in
from streaming.database import ask
from streaming.models import TensorBoard

#: Seconds; and of how many callers at most.
KEPT, MOST_KEPT = 2.0, 2000
#: A visit is noted no more often, an opening audited no more often.
VISITS, OPENINGS = timedelta(seconds=10), timedelta(hours=1)
AWAY = (OperationalError, InterfaceError)


class NoToken(Exception):
    """The token of a request is none that is valid."""


class WrongScope(NoToken):
    """It is for something else."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody who may open a TensorBoard that runs."""

    user: int
    by_token: bool
    trainer: int
    socket: str


@dataclass(frozen=True, slots=True)
class Named:
    """What a request says of who sends it."""

    slug: str
    authorization: str
    session: str


class Admissions:
    """What was found out in the last seconds."""

    def __init__(self) -> None:
        self._known: dict[Named, tuple[float, asyncio.Future[Admitted | None]]] = {}

    async def admit(self, scope: Mapping[str, Any], slug: str) -> Admitted | None:
        """Whether this request may go on to a TensorBoard that runs; None: the site answers it."""
        named = named_by(scope, slug)
        if not named.authorization and not named.session:
            return None
        at = time.monotonic()
        known = self._known.get(named)
        if known is None or known[0] < at - KEPT:
            known = at, asyncio.ensure_future(ask(look_up, scope, named))
            self._keep(named, known)
        try:
            found = await asyncio.shield(known[1])
        except Exception as error:
            self._known.pop(named, None)  # no answer is none to keep
            if isinstance(error, AWAY):  # the site says it in words
                return None
            raise
        if found is None:  # the site looks anew in any case, and one that wakes is seen at once
            self._known.pop(named, None)
        return found

    def forget(self) -> None:
        """Look everything up anew."""
        self._known.clear()

    def _keep(self, named: Named, known: tuple[float, asyncio.Future[Admitted | None]]) -> None:
        if len(self._known) >= MOST_KEPT:
            self._known = {one: held for one, held in self._known.items() if held[0] >= known[0] - KEPT}
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
        self._known.pop(named, None)
        self._known[named] = known


def named_by(scope: Mapping[str, Any], slug: str) -> Named:
    """The names that a request gives itself."""
    said: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        said[name] = said[name] + b"; " + value if name in said else value
    cookies = parse_cookie(said.get(b"cookie", b"").decode("latin-1"))
    authorization = said.get(b"authorization", b"").decode("latin-1")
    return Named(slug, authorization[:1000], cookies.get(settings.SESSION_COOKIE_NAME, "")[:200])


def look_up(scope: Mapping[str, Any], named: Named) -> Admitted | None:
    """The same, from the database."""
    request = ASGIRequest(dict(scope), io.BytesIO())
    try:
        user, token = person(request, named.session)
    except NoToken:
        return None
    board = board_for(user, named.slug) if user else None
    if user is None or board is None or board.state != TensorBoard.State.RUNNING or not board.socket:
        return None
    visit(board)
    note_opening(request, user, board.trainer)
    return Admitted(user.pk, token is not None, board.trainer_id, board.socket)


def person(request: HttpRequest, session: str = "") -> tuple[User | None, ApiToken | None]:
    """Who sends a request: the user of its token, else the one whose page it is."""
    try:
        # it looks at nothing but META
        found = TokenAuthentication().authenticate(cast("Request", request))
    except AuthenticationFailed as error:
        raise NoToken(str(error.detail)) from error
    if found is None:
        account = signed_in(session)
        return (Accounts().get_user(account.user) if account else None), None
    user, token = found
    if token.scope == ApiToken.Scope.INGEST:
        raise WrongScope("This token only delivers events of its trainer: use one with the scope read or write.")
    return user, token


def board_for(user: User, slug: str) -> TensorBoard | None:
    """The TensorBoard of this trainer, where this user may open it."""
    boards = TensorBoard.objects.visible_to(user).select_related("trainer").defer("log_tail")
    board = boards.filter(trainer__slug=slug).first()
    return board if board and sees_tensorboard(user) else None


def visit(board: TensorBoard) -> None:
    """Somebody looks: it is kept awake, or woken."""
    asleep = board.state == TensorBoard.State.ASLEEP
    stale = now() - (timedelta() if asleep else VISITS)
    if board.visited is None or board.visited <= stale:
        TensorBoard.objects.filter(Q(visited=None) | Q(visited__lte=stale), pk=board.pk).update(visited=now())


#: When this process last saw to it, by user and trainer.
_noted: dict[tuple[int, int], float] = {}


def note_opening(request: HttpRequest, user: User, trainer: Trainer) -> None:
    """Write down who opens a TensorBoard, as of raw files: it shows the logs' own words.  Once an hour, not each request."""
    key, at = (user.pk, trainer.pk), time.monotonic()
    if _noted.get(key, -math.inf) > at - OPENINGS.total_seconds():
        return
    since = now() - OPENINGS
    told = AuditEntry.objects.filter(action="open tensorboard", kind="trainer", object_id=trainer.pk, user=user, at__gt=since)
    with transaction.atomic():
        if not told.exists():
            request.user = user
            audit.record(request, "open tensorboard", trainer)
    if len(_noted) >= MOST_KEPT:
        _noted.clear()
    _noted[key] = at
