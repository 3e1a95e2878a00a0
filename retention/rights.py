"""Who may clean up, and which runs: whoever may not see a run does not learn that it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import permission_required

from runs.models import Run
from runs.models.run import RunQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

CLEAN = "retention.clean_runs"
#: For pages that only these see.
closed = permission_required(CLEAN, raise_exception=True)


def may_clean(user: User | AnonymousUser) -> bool:
    """Operators and admins."""
    return user.is_active and user.has_perm(CLEAN)


def may_force(user: User | AnonymousUser) -> bool:
    """Whose word counts for more than a pin or a bookmark: admins."""
    return user.is_active and user.has_perm("retention.force_cleanup")


def cleanable(user: User | AnonymousUser) -> RunQuerySet:
    """The runs that this user may clean up, whatever protects them."""
    return Run.objects.visible_to(user) if may_clean(user) else Run.objects.none()
