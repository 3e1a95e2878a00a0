"""What the admin pages of the registry have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.db.models import F, Q
from django.utils.functional import cached_property
from django.utils.html import format_html

from runs.models import Run
from runs.query.conditions import worded
from runs.query.filters import words
from runs.query.grammar import Unclear

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

#: Lists by newest data: the order that the index of runs has.
NEWEST = (F("last_event").desc(nulls_last=True), "-id")


#: Rows that a list counts and turns pages of; a filter or a search finds the others.
COUNTED = 10_000


class More(int):
    """A number that says of itself that it is a lower bound."""

    def __str__(self) -> str:
        """With the words that say so."""
        return f"more than {int(self):,}"


class BoundedPaginator(Paginator):
    """Counts no further than COUNTED: counting 100,000 rows for each page takes longer than showing it."""

    @cached_property
    def count(self) -> int:  # type: ignore[override]
        """How many rows there are, or that there are more than COUNTED."""
        rows: Any = self.object_list
        found: int = rows.order_by().values("pk")[: COUNTED + 1].count()
        return found if found <= COUNTED else More(COUNTED)


class VisibleAdmin(admin.ModelAdmin):
    """Shows only rows of trainers that the user may see; never counts a whole table twice."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50
    #: The field that leads to the run, for models without a ``visible_to`` of their own.
    visible_through = ""
    #: The field that leads to the run whose words are searched ("pk" for runs themselves).
    worded_through = ""
    #: Fields that are compared beside the words, as they are written; with an index, else each search scans the table.
    exact: tuple[str, ...] = ()

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """By the words of the run, which have an index, beside the exact search fields: no scan of all names."""
        if not self.worded_through or not search_term.strip():
            return super().get_search_results(request, queryset, search_term)
        term = search_term.replace("\0", "").strip()
        exact = self.exact
        found = Q()
        try:
            found = worded(words(term))
            if self.worded_through != "pk":
                found = Q(**{f"{self.worded_through}__in": Run.objects.filter(found).order_by().values("pk")})
        except Unclear:  # signs alone: no word begins with them
            exact = tuple(field.removeprefix("=") for field in self.search_fields)
        for field in exact:
            found |= Q(**{field: term})
        return queryset.filter(found), False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Rows whose trainer the user may see: lists, pages, actions and searches all start here."""
        rows: Any = super().get_queryset(request)
        if self.visible_through:
            return rows.filter(**{f"{self.visible_through}__in": Run.objects.visible_to(request.user)})
        return rows.visible_to(request.user)

    def response_action(self, request: HttpRequest, queryset: Any) -> Any:  # type: ignore[override]
        """Do what was chosen to the rows that were ticked; Django takes a row that is no number for an error of ours."""
        if not all(row.isascii() and row.isdigit() for row in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("A row is named by its number.")
        return super().response_action(request, queryset)

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
