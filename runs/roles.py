"""Roles: the groups viewer, operator and admin, and what each may do.

Filled after every migrate, since permissions do not exist earlier.  operator and admin
imply is_staff (they work in the Django admin); admin sees every trainer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Exists, OuterRef

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser
    from django.db.models import QuerySet

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
STAFF = (OPERATOR, ADMIN)

#: What each role means to the one who has it.
IN_WORDS = {
    VIEWER: "sees the runs of the trainers below; keeps bookmarks, views and tokens of their own",
    OPERATOR: "also notes, tags, pins, renames and shares; downloads raw files; adds and syncs sources in the admin; "
              "starts and stops TensorBoards; cleans up runs and restores them",
    ADMIN: "sees every trainer; keeps users, roles and every setting in the admin",
}
#: What an operator may do beyond viewing, as (app, codename).
OPERATES = [
    ("runs", "change_run"),
    ("runs", "download_raw"),
    ("runs", "add_note"),
    ("runs", "change_note"),
    ("runs", "delete_note"),
    ("runs", "change_source"),
    ("runs", "add_source"),
    ("runs", "change_trainer"),
    ("runs", "add_trainer"),
    ("streaming", "change_tensorboard"),
    ("retention", "clean_runs"),
    ("retention", "add_hold"),
    ("retention", "delete_hold"),
]
OUR_APPS = ["runs", "costs", "streaming", "retention"]
#: What is its owner's, or an admin's, to see: no part of viewing runs.
PRIVATE = ["view_auditentry", "view_apitoken", "view_bookmark", "view_savedview", "view_runtext"]
#: An admin also keeps users and roles.
ADMIN_APPS = [*OUR_APPS, "auth", "axes"]


def sees_everything(user: User | AnonymousUser) -> bool:
    """Whether no trainer is hidden from this user (superusers and the role admin)."""
    if user.is_superuser:
        return True
    cached: bool | None = getattr(user, "is_admin", None)
    if cached is None:
        cached = user.groups.filter(name=ADMIN).exists()
        user.is_admin = cached  # type: ignore[union-attr]
    return cached


def with_role(users: QuerySet[User]) -> QuerySet[User]:
    """Accounts that know already whether they have the role admin."""
    return users.annotate(is_admin=is_admin("pk"))


def is_admin(user: str) -> Exists:
    """Whether the account whose id is in this field has the role admin."""
    return Exists(User.groups.through.objects.filter(user=OuterRef(user), group__name=ADMIN))


def sees_raw(user: User | AnonymousUser) -> bool:
    """Whether this user may download log files as they are; TRAINMON_VIEWERS_RAW lets viewers too."""
    viewer = settings.TRAINMON_VIEWERS_RAW and user.has_perm("runs.view_run")
    return viewer or user.has_perm("runs.download_raw")


def sees_tensorboard(user: User | AnonymousUser) -> bool:
    """Whether this user may open the TensorBoards that they see the trainers of; TRAINMON_VIEWERS_RAW=0 keeps viewers out.

    TensorBoard shows what the logs say as they say it.  Unset, viewers may look, but download nothing raw.
    """
    viewer = settings.TRAINMON_VIEWERS_RAW is not False and user.has_perm("streaming.view_tensorboard")
    return viewer or user.has_perm("runs.download_raw")


def fill_roles(**_: Any) -> None:
    """Create the three groups and give each its permissions; own additions stay.

    Nothing is done while only some apps are migrated.
    """
    if Group._meta.db_table not in connection.introspection.table_names():
        return
    view = Permission.objects.filter(
        content_type__app_label__in=OUR_APPS, codename__startswith="view_"
    ).exclude(codename__in=PRIVATE)
    operate = [
        Permission.objects.filter(content_type__app_label=app, codename=codename) for app, codename in OPERATES
    ]
    everything = Permission.objects.filter(content_type__app_label__in=ADMIN_APPS)
    Group.objects.get_or_create(name=VIEWER)[0].permissions.add(*view)
    Group.objects.get_or_create(name=OPERATOR)[0].permissions.add(*view, *(p for ps in operate for p in ps))
    Group.objects.get_or_create(name=ADMIN)[0].permissions.add(*everything)


def follow_role(action: str, instance: Any, reverse: bool, pk_set: set[int] | None, **_: Any) -> None:
    """Keep is_staff true to the roles whenever a user's groups change."""
    if action == "pre_clear" and reverse:
        instance.members_before = list(instance.user_set.all())
    if action not in {"post_add", "post_remove", "post_clear"}:
        return
    if not reverse:
        users = [instance]
    elif action == "post_clear":
        users = instance.members_before
    else:
        users = list(User.objects.filter(pk__in=pk_set or []))
    for user in users:
        staff = user.is_superuser or user.groups.filter(name__in=STAFF).exists()
        if user.is_staff != staff:
            user.is_staff = staff
            user.save(update_fields=["is_staff"])
