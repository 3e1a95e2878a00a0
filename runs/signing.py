"""Who is signed in: the account of a session with its role in one query, its permissions in another."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.db.models import Q

from runs.compiled import Compiled, Given
from runs.roles import with_role

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


class Accounts(ModelBackend):
    """Django's accounts, passwords and permissions: most requests ask for all of these, so in few queries."""

    def get_user(self, user_id: int) -> User | None:
        """The account of a session, None where it is gone or was deactivated."""
        user = next(_account().models(user=user_id), None)
        return user if user and self.user_can_authenticate(user) else None

    def get_all_permissions(self, user_obj: User | AnonymousUser, obj: Any = None) -> set[str]:
        """The account's own permissions and those of its groups, as ``app.codename``."""
        if user_obj.is_superuser or not user_obj.is_active or user_obj.is_anonymous or obj is not None:
            return super().get_all_permissions(user_obj, obj)
        held: set[str] | None = getattr(user_obj, "_perm_cache", None)
        if held is None:
            held = {f"{app}.{name}" for app, name in _permissions().rows(user=user_obj.pk)}
            user_obj._perm_cache = held  # type: ignore[attr-defined]
        return held


@cache
def _permissions() -> Compiled[Permission]:
    own = Q(pk__in=User.user_permissions.through.objects.filter(user=Given("user")).values("permission"))
    mine = User.groups.through.objects.filter(user=Given("user")).values("group")
    given = Permission.group_set.through.objects.filter(group__in=mine).values("permission")
    found = Permission.objects.filter(own | Q(pk__in=given)).order_by()
    return Compiled(found.values_list("content_type__app_label", "codename"))


@cache
def _account() -> Compiled[User]:
    """Asked with every request."""
    return Compiled(with_role(User.objects.filter(pk=Given("user"))))
