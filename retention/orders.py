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
    """The janitor cannot be told now.  What was ordered (``plan``, or restores) is written down, and it finds that later."""

    def __init__(self, plan: Plan | None = None) -> None:
        super().__init__(
            "The janitor cannot be reached: Valkey (or Redis) does not answer. What you ordered is written down, "
            "and done within a minute after it does.")
        self.plan = plan


def clean(made: Draft, author: Author, token: str) -> Plan:
    """Confirm a cleanup and have the janitor carry it out; plan.Changed where the token is another list's."""
    with transaction.atomic():
        plan = confirm(made, author, token)
    _send(tasks.carry_out, plan.pk, plan=plan)
    return plan


def bring_back(tombs: Sequence[Tombstone], user: User, why: str = "", address: str | None = None) -> None:
    """Have the janitor restore these; whether this user may is the caller's to know.  What is on its way is left alone."""
    with transaction.atomic():
        # none of them is purged meanwhile: the janitor asks under the same lock
        rows = Tombstone.objects.select_for_update(of=["self"]).filter(
            pk__in=[tomb.pk for tomb in tombs], restored_at=None, wanted_by="")
        wanted = list(rows.select_related("run").order_by("pk"))
        for tomb in wanted:
            audit.record(user, "order restore", tomb.run, why=why, address=address, path=tomb.path_text, bytes=tomb.size)
        Tombstone.objects.filter(pk__in=[tomb.pk for tomb in wanted]).update(wanted_by=user.get_username())
    if wanted:
        _send(tasks.bring_back, [tomb.pk for tomb in wanted])


def _send(task: Any, *said: object, plan: Plan | None = None) -> None:
    try:
        task.apply_async(said, retry=False)
    except OperationalError as error:
        raise Away(plan) from error
