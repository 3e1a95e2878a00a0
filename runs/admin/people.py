"""What people add, and what they did: notes, bookmarks, views, tokens, the audit trail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html

from runs import audit, tokens
from runs.admin.visible import BoundedPaginator, FactsAdmin, preformatted
from runs.models import ApiToken, AuditEntry, Bookmark, Dataset, Note, SavedView
from runs.models.trainer import visible_trainers
from runs.roles import sees_everything
from runs.templatetags.shown import ago

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

#: Newest entries of the audit trail that its filter takes the actions from: counting all would scan it.
LOOKED_AT = 5000


@admin.register(Dataset)
class DatasetAdmin(FactsAdmin):
    """Datasets, as named by the folders of runs."""

    list_display = ("name", "trainer", "runs_link")
    list_filter = (("trainer", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("trainer",)
    search_fields = ("name", "trainer__name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        """Those of trainers that the user may see."""
        rows = admin.ModelAdmin.get_queryset(self, request)
        return rows.filter(visible_trainers(request.user, "trainer__"))

    @admin.display(description="runs")
    def runs_link(self, dataset: Dataset) -> str:
        """The list of its runs."""
        return format_html('<a href="{}">runs</a>', dataset.get_absolute_url())


@admin.register(Note)
class NoteAdmin(FactsAdmin):
    """Notes on runs; they are written, changed and deleted on the run's page."""

    visible_through = worded_through = "run"
    list_display = ("__str__", "run_link", "author", "created", "edited")
    list_filter = ("created", ("author", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("run", "author")
    search_fields = ("=author__username",)
    exact = ("author__username",)
    search_help_text = "Words of the run and its notes; or the author's name."
    ordering = ("-id",)
    fields = ("run_link", "author", "created", "edited", "written")

    @admin.display(description="run")
    def run_link(self, note: Note) -> str:
        """Where the note is."""
        return format_html('<a href="{}">{}</a>', note.get_absolute_url(), note.run.name[:120])

    @admin.display(description="text")
    def written(self, note: Note) -> str:
        """The whole."""
        return preformatted(note.text)


class PersonalAdmin(FactsAdmin):
    """What belongs to somebody: one's own, and all of it for an admin."""

    owned_by = "owner"
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Only an admin looks at what others keep."""
        rows: QuerySet[Any] = admin.ModelAdmin.get_queryset(self, request)
        return rows if sees_everything(request.user) else rows.filter(**{self.owned_by: request.user.pk})


@admin.register(Bookmark)
class BookmarkAdmin(PersonalAdmin):
    """Bookmarks; they are set on the run's page."""

    worded_through = "run"
    list_display = ("run_link", "owner", "shared", "created")
    list_filter = ("shared", ("owner", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("run", "owner")
    search_fields = ("=owner__username",)
    exact = ("owner__username",)

    @admin.display(description="run")
    def run_link(self, bookmark: Bookmark) -> str:
        """What it leads to."""
        return format_html('<a href="{}">{}</a>', bookmark.run.get_absolute_url(), bookmark.run.name[:120])


@admin.register(SavedView)
class SavedViewAdmin(PersonalAdmin):
    """Saved views: deleted here when their owner has left."""

    list_display = ("name", "owner", "shared", "created", "changed")
    list_filter = ("shared", ("owner", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("owner",)
    search_fields = ("name", "=owner__username")

    def has_delete_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        """Whoever may delete views, of those they see."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_model(self, request: HttpRequest, obj: SavedView) -> None:
        """With a line in the audit trail."""
        audit.record(request, "delete view", obj, owner=obj.owner.get_username(), query=obj.query[:500])
        obj.delete()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[SavedView]) -> None:
        """Each by itself."""
        for view in queryset:
            self.delete_model(request, view)


@admin.register(ApiToken)
class TokenAdmin(PersonalAdmin):
    """Tokens of everybody: to look at and to revoke; what they are is shown to nobody."""

    owned_by = "user"
    list_display = ("name", "hint", "user", "scope", "trainer", "created", "used", "expires", "over")
    list_filter = ("scope", ("user", admin.RelatedOnlyFieldListFilter), ("trainer", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user", "trainer")
    search_fields = ("name", "=hint", "=user__username")
    fields = ("name", "hint", "user", "scope", "trainer", "created", "last_used", "expires")

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Whoever may delete tokens may revoke those they see."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        """Revoke it, with a line in the audit trail."""
        tokens.revoke(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke each."""
        for token in queryset.select_related("user"):
            tokens.revoke(request, token)

    @admin.display(description="last used", ordering="last_used")
    def used(self, token: ApiToken) -> str:
        """When it last opened a door."""
        return ago(token.last_used) if token.last_used else "never"

    @admin.display(description="expired", boolean=True)
    def over(self, token: ApiToken) -> bool:
        """Whether its time is over."""
        return token.expired


class ActionFilter(admin.SimpleListFilter):
    """One kind of deed, of those done lately."""

    title = parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What is found in the newest entries."""
        newest = AuditEntry.objects.order_by("-pk").values_list("action", flat=True)[:LOOKED_AT]
        return [(action, action) for action in sorted(set(newest))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """The entries of the chosen one."""
        return queryset.filter(action=self.value()) if self.value() else queryset


class WhoFilter(ActionFilter):
    """The deeds of one user, of those who did something lately."""

    title, parameter_name = "who", "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Who is found in the newest entries."""
        newest = AuditEntry.objects.order_by("-pk").values_list("who", flat=True)[:LOOKED_AT]
        return [(who, who) for who in sorted(set(newest))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """The entries of the chosen one."""
        return queryset.filter(who=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditAdmin(admin.ModelAdmin):
    """The audit trail (P14): to read; the database itself refuses changes."""

    list_display = ("at", "who", "action", "kind", "subject_line", "why", "address")
    list_filter = (ActionFilter, WhoFilter, "at")
    search_fields = ("=who", "=action", "subject", "=address")
    search_help_text = "Who, action or address as it is; a part of the subject."
    ordering = ("-id",)
    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    fields = ("at", "who", "user", "action", "kind", "object_id", "subject", "why", "address", "told")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: deeds are written down by what does them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Never."""
        return False

    @admin.display(description="subject")
    def subject_line(self, entry: AuditEntry) -> str:
        """Its beginning; a run leads to its page."""
        text = entry.subject[:80]
        if entry.kind == "run" and entry.object_id:
            return format_html('<a href="{}">{}</a>', reverse("run", args=[entry.object_id]), text)
        return text

    @admin.display(description="details")
    def told(self, entry: AuditEntry) -> str:
        """What else was written down."""
        return preformatted(json.dumps(entry.details, indent=1, ensure_ascii=False) if entry.details else "")
