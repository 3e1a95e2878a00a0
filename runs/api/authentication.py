"""Who calls, and with which key: a token in the Authorization header, or the session of a page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils.timezone import now
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from runs.models import ApiToken
from runs.models.token import PREFIX
from runs.roles import PRIVATE

SCHEMES = ("bearer", "token")
#: A token's last use is written down no more often.
USE_NOTED_EVERY = timedelta(minutes=1)


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer tmon_...`` (or ``Token tmon_...``); never in an address, where logs would keep it."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's user and the token; nobody where the header names another scheme."""
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        if scheme.lower() not in SCHEMES:
            return None
        token = ApiToken.find(secret.strip()) if secret.strip().startswith(PREFIX) else None
        if token is None or not token.user.is_active:
            raise AuthenticationFailed("This token is unknown, revoked or expired, or its user was deactivated.")
        _note_use(token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="trainmon"'


def _note_use(token: ApiToken) -> None:
    """Write down when it was last used, at most once a minute."""
    frozen_now = now()
    stale = frozen_now - USE_NOTED_EVERY
    if token.last_used is None or token.last_used < stale:
        rows = ApiToken.objects.filter(Q(last_used=None) | Q(last_used__lt=stale), pk=token.pk)
        rows.update(last_used=frozen_now)


def token_of(request: Request) -> ApiToken | None:
    """The token that a call came with."""
    key: object = request.auth
    return key if isinstance(key, ApiToken) else None


class PageAuthentication(SessionAuthentication):
    """The session of a signed-in page; what it sends to change something carries the CSRF token."""


class Closed(BasePermission):
    """The door of every view: signed in, within the token's scope, with the permissions that the view ``needs``.

    A view names these by method: ``needs = {"POST": "runs.add_note"}``.  What of the registry is
    seen is not decided here but by ``visible_to``.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether this call may go on; a refusal says what is missing."""
        if not request.user.is_authenticated:
            return False
        if token := token_of(request):
            _within_scope(token, str(request.method), view)
        needed = getattr(view, "needs", {}).get(request.method)
        if needed and not request.user.has_perm(needed):
            roles = "role admin has" if needed.partition(".")[2] in PRIVATE else "roles operator and admin have"
            raise PermissionDenied(f"This needs the permission {needed}, which the {roles}.")
        return True


def _within_scope(token: ApiToken, method: str, view: Any) -> None:
    if getattr(view, "any_scope", False):
        return
    if getattr(view, "for_ingest", False):
        if token.scope == ApiToken.Scope.READ:
            _refuse("This token only reads: delivering events needs one with the scope ingest.", "ingest")
    elif token.scope == ApiToken.Scope.INGEST:
        _refuse("This token only delivers events of its trainer: use one with the scope read or write.", "read")
    elif token.scope != ApiToken.Scope.WRITE and method not in SAFE_METHODS:
        _refuse("This token only reads: changing something needs one with the scope write.", "write")


def _refuse(why: str, scope: str) -> NoReturn:
    refusal = PermissionDenied(why, code="insufficient_scope")
    refusal.auth_header = f'Bearer realm="trainmon", error="insufficient_scope", scope="{scope}"'  # type: ignore[attr-defined]
    raise refusal
