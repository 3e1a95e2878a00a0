"""Users and roles: Django's own admin, made safe for the role admin.

Someone with the role admin keeps users and roles, but is not a superuser: nothing here may
make one of them a superuser, nor let them take over an account that is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from runs.roles import ADMIN, OPERATOR, STAFF, VIEWER

if TYPE_CHECKING:
    from django.http import HttpRequest

ROLES = (VIEWER, OPERATOR, ADMIN)

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class AccountAdmin(UserAdmin):
    """Users and the groups that they are in."""

    list_display = ("username", "email", "role_names", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser", "groups")
    show_full_result_count = False
    filter_horizontal = ("groups", "user_permissions")

    def get_queryset(self, request: HttpRequest) -> Any:
        """With the groups that the list shows."""
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """is_staff follows from the roles; only a superuser makes superusers or gives single permissions."""
        fields = (*super().get_readonly_fields(request, obj), "is_staff", "last_login", "date_joined")
        return fields if request.user.is_superuser else (*fields, "is_superuser", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """A superuser's account (and password) is changed by superusers only."""
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """A superuser's account is deleted by superusers only."""
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Keep is_staff true to the roles, and to being a superuser."""
        super().save_related(request, form, formsets, change)
        user = form.instance
        staff = user.is_superuser or user.groups.filter(name__in=STAFF).exists()
        User.objects.filter(pk=user.pk).exclude(is_staff=staff).update(is_staff=staff)

    @staticmethod
    def _may_touch(request: HttpRequest, obj: User | None) -> bool:
        return obj is None or request.user.is_superuser or not obj.is_superuser

    @admin.display(description="roles and groups")
    def role_names(self, user: User) -> str:
        """The groups that the user is in."""
        return ", ".join(group.name for group in user.groups.all()) or "–"


@admin.register(Group)
class RoleAdmin(GroupAdmin):
    """Roles (viewer, operator, admin) and the groups that trainers are shown to."""

    list_display = ("name", "kind")

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> tuple[str, ...]:
        """The three roles keep their names: rules rest on them."""
        return ("name",) if obj is not None and obj.name in ROLES else ()

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """The three roles cannot be deleted."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.name not in ROLES)

    @admin.display(description="kind")
    def kind(self, group: Group) -> str:
        """A role of trainmon, or a group of people."""
        return "role" if group.name in ROLES else "group"
