"""What pages, the API, the admin and policies ask of the janitor: written down first, then sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery.exceptions import OperationalError
from django.db import transaction

from retention import tasks
from retention.models import Plan, Tombstone
from retention.plan import Author, Draft, confirm
from runs import audit

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Away(Exception):
    """Nobody can be told now; what was confirmed stays confirmed, and the janitor finds it."""


def clean(made: Draft, author: Author, token: str) -> Plan:
    """Confirm a cleanup and have the janitor carry it out; plan.Changed where the token is another list's."""
    with transaction.atomic():
        plan = confirm(made, author, token)
    _send(tasks.carry_out, plan.pk)
    return plan


def bring_back(tombs: Sequence[Tombstone], user: User, why: str = "") -> None:
    """Have the janitor restore these; whether this user may is the caller's to know."""
    with transaction.atomic():
        for tomb in tombs:
            audit.record(user, "order restore", tomb.run, why=why, path=tomb.path_text, bytes=tomb.size)
    _send(tasks.bring_back, [tomb.pk for tomb in tombs], user.get_username())


def _send(task: Any, *said: object) -> None:
    try:
        task.apply_async(said, retry=False)
    except OperationalError as error:
        raise Away(f"The janitor cannot be told now: {error}. What was confirmed is done as soon as it can.") from error
