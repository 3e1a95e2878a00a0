"""Who may see what is looked at again as soon as this process changes it; changes by others are found within 5 s."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from runs.models import ApiToken, Trainer
from streaming import publish


def watch() -> None:
    """Listen to what decides who is signed in and which sources a user sees."""
    for sender in (User, Trainer, ApiToken):
        post_save.connect(_soon, sender=sender, dispatch_uid=f"live-saved-{sender.__name__}")
    for gone in (User, Group, Trainer, Session, ApiToken):
        post_delete.connect(_soon, sender=gone, dispatch_uid=f"live-deleted-{gone.__name__}")
    for through in (User.groups.through, Trainer.groups.through):
        m2m_changed.connect(_soon, sender=through, dispatch_uid=f"live-{through.__name__}")


def _soon(**_: Any) -> None:
    if here := publish.here:
        transaction.on_commit(partial(here.recheck_soon), robust=True)
