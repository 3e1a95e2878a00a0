"""What the admin pages of the registry have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import F
from django.utils.html import format_html

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

#: Lists by newest data: the order that the index of runs has.
NEWEST = (F("last_event").desc(nulls_last=True), "-id")


class VisibleAdmin(admin.ModelAdmin):
    """Shows only rows of trainers that the user may see; never counts a whole table twice."""

    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    #: The field that leads to the run, for models without a ``visible_to`` of their own.
    visible_through = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows whose trainer the user may see: lists, pages, actions and searches all start here."""
        rows: Any = super().get_queryset(request)
        if self.visible_through:
            from runs.models import Run

            return rows.filter(**{f"{self.visible_through}__in": Run.objects.visible_to(request.user)})
        return rows.visible_to(request.user)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what was changed in the form and nothing else: a sync may be writing the rest."""
        if change:
            names = {field.name for field in obj._meta.concrete_fields}
            obj.save(update_fields=[name for name in form.changed_data if name in names])
        else:
            obj.save()


class FactsAdmin(VisibleAdmin):
    """Rows that only a sync writes: to look at, not to add, change or delete."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: rows come from log files."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: what a log says is not ours to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: deletion is the work of retention, with an archive and a trace."""
        return False


def preformatted(text: str) -> SafeString | str:
    """Text of several lines, escaped, as it was written."""
    return format_html('<pre class="written">{}</pre>', text) if text else "–"
