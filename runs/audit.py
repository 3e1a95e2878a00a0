"""The audit trail's one door (runs/models/audit.py)."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.db import models

from runs import redact
from runs.models import AuditEntry
from runs.readers.plain import plain, plain_json

if TYPE_CHECKING:
    from django.http import HttpRequest


def record(
    request: HttpRequest | User | None, action: str, subject: models.Model | None = None, *, why: str = "", by: str = "",
    address: str | None = None, **details: Any
) -> AuditEntry:
    """Write down a deed of the request's user, or of this user; without either it was whoever ``by`` names, else trainmon.

    ``address`` is where it came from, where that is known without the request.

    Call it in the transaction of the deed, so that both are there or neither.
    """
    user = request if isinstance(request, User) else getattr(request, "user", None)
    known = user is not None and user.is_authenticated
    return AuditEntry.objects.create(
        user_id=user.pk if user is not None and known else None,
        who=user.get_username() if user is not None and known else plain(by)[:150] or "trainmon",
        action=action,
        kind=subject._meta.model_name or "" if subject is not None else "",
        object_id=subject.pk if subject is not None else None,
        subject=plain(str(subject))[:500] if subject is not None else "",
        why=redact.text(plain(why))[:2000],
        address=address or address_of(request),
        details=plain_json(details),
    )


def address_of(request: Any) -> str | None:
    """Where a request came from; None for what is none."""
    return getattr(request, "META", {}).get("REMOTE_ADDR") or None


def whoever() -> str:
    """The user of this machine who gave a command."""
    try:
        return f"{plain(getpass.getuser())[:100]} (console)"
    except (KeyError, OSError):
        return "console"
