"""Runs on disk: what takes room, and what can be done about it, each time after a look at what that would come to."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timezone import now

from retention.admin.confirming import AT_ONCE, Confirmation, chosen
from retention.admin.deeds import DEEDS, Deed, Preview
from retention.admin.filters import AgeFilter, HeldFilter, SizeFilter, StageFilter
from retention.models import RunStorage
from retention.orders import Away
from retention.plan import Changed
from retention.rights import may_clean
from runs import masks
from runs.admin.registry import LONG, RunColumns, TrainerFilter
from runs.admin.visible import FactsAdmin
from runs.query.rows import OF_SOURCE
from runs.templatetags.shown import age, ago

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from django.http import HttpRequest, HttpResponseBase

#: Cleanups and archives that a run's page names.
LATEST = 20


def _action(deed: Deed) -> Callable[..., Any]:
    """What the menu of the list does: show what the deed would come to."""

    @admin.action(description=f"{deed.title}…", permissions=["clean"])
    def look(model_admin: RunStorageAdmin, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        return model_admin.first_look(request, deed, queryset)

    look.__name__ = deed.name
    return look


@admin.register(RunStorage)
class RunStorageAdmin(RunColumns, FactsAdmin):
    """The list of runs by what they take, oldest first, as the console lists them."""

    actions = [_action(deed) for deed in DEEDS.values()]
    list_display = (
        "name", "trainer", "dataset", "bytes", "event_files", "points", "modified_ago", "shown", "where", "kept",
    )
    list_filter = (TrainerFilter, "status", StageFilter, AgeFilter, SizeFilter, "pinned", HeldFilter)
    list_select_related = ("source__trainer", "dataset", "hold")
    worded_through = "pk"
    search_fields = ("=name",)
    search_help_text = "Words of the name, dataset, tags, notes, parameters or errors."
    ordering = ("modified", "pk")
    fields = (
        "page", "folder", "trainer", "dataset", "shown", "where", "bytes", "file_count", "event_files", "points", "modified",
        "last_arrival", "files_missing", "pinned", "held", "cleanups", "archives",
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without long columns."""
        return super().get_queryset(request).defer(*OF_SOURCE, *LONG)

    def has_clean_permission(self, request: HttpRequest) -> bool:
        """Operators and admins; of which runs, is asked for each."""
        return may_clean(request.user)

    def get_urls(self) -> list[Any]:
        """Each deed has an address, to which its preview is confirmed."""
        own = [
            path(f"{deed.name}/", self.admin_site.admin_view(partial(self.confirm, deed=deed)),
                 name=f"retention_runstorage_{deed.name}")
            for deed in DEEDS.values()
        ]
        return own + super().get_urls()

    def first_look(self, request: HttpRequest, deed: Deed, queryset: Any) -> HttpResponseBase | None:
        """The preview of an action on what was ticked."""
        ids = list(queryset.order_by().values_list("pk", flat=True)[: AT_ONCE + 1])
        if len(ids) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE:,} runs at once: choose fewer.", messages.ERROR)
            return None
        return self.preview(request, deed, ids, Confirmation(deed, request.user))

    def confirm(self, request: HttpRequest, deed: Deed) -> HttpResponseBase:
        """Do what was looked at, if it still is that and the number of runs was typed; a GET does nothing."""
        if request.method != "POST":
            return redirect("admin:retention_runstorage_changelist")
        if not self.has_clean_permission(request):
            raise PermissionDenied
        ids, form = chosen(request.POST.get("ids", "")), Confirmation(deed, request.user, request.POST)
        if not form.is_valid():
            return self.preview(request, deed, ids, form, status=HTTPStatus.BAD_REQUEST)
        made = deed.look(request.user, ids, form.said())
        if "look" in request.POST:
            return self.preview(request, deed, ids, form, made)
        if status := form.objection(made):
            return self.preview(request, deed, ids, form, made, status)
        try:
            done = deed.order(request, made, form.said())
        except Changed:  # somebody confirmed the same a moment ago
            made = deed.look(request.user, ids, form.said())
            return self.preview(request, deed, ids, form, made, form.objection(made) or HTTPStatus.CONFLICT)
        except Away as away:
            self.message_user(request, str(away), messages.WARNING)
            return redirect("admin:retention_plan_change", away.plan.pk) if away.plan else redirect(
                "admin:retention_tombstone_changelist")
        self.message_user(request, done.words)
        return redirect(done.page)

    def preview(
        self, request: HttpRequest, deed: Deed, ids: Sequence[int], form: Confirmation, made: Preview | None = None,
        status: int = HTTPStatus.OK,
    ) -> HttpResponseBase:
        """What would be done, what would not, and how to confirm it."""
        made = made or deed.look(request.user, ids, Confirmation(deed, request.user).said())
        context = {
            **self.admin_site.each_context(request), "opts": self.opts, "title": deed.title, "deed": deed, "form": form,
            "made": made, "ids": ",".join(map(str, ids)), "address": reverse(f"admin:retention_runstorage_{deed.name}"),
        }
        return TemplateResponse(request, "admin/retention/runstorage/preview.html", context, status=status)

    @admin.display(description="event files", ordering="event_file_count")
    def event_files(self, run: RunStorage) -> str:
        """How many event files it has."""
        return f"{run.event_file_count:,}"

    @admin.display(description="modified", ordering="modified")
    def modified_ago(self, run: RunStorage) -> str:
        """When a file of it last changed, in the colour of its age."""
        return format_html('<span class="age {}">{}</span>', age(run.modified), ago(run.modified))

    @admin.display(description="stage", ordering="lifecycle_stage")
    def where(self, run: RunStorage) -> str:
        """Whether its files are in their place, in the trash or gone."""
        return run.get_lifecycle_stage_display()

    @admin.display(description="held")
    def held(self, run: RunStorage) -> str:
        """Why somebody holds it; a dash where nobody does now."""
        hold = getattr(run, "hold", None)
        return format_html('<span title="{}">{}</span>', hold.reason, hold.reason[:40]) if hold and hold.holds(now()) else "–"

    @admin.display(description="kept")
    def kept(self, run: RunStorage) -> str:
        """What keeps it from a cleanup: a pin, a hold; a dash where nothing does."""
        held = self.held(run)
        return ("pinned" if held == "–" else format_html("pinned; {}", held)) if run.pinned else held

    @admin.display(description="folder")
    def folder(self, run: RunStorage) -> str:
        """Where it lies, or lay: without secrets."""
        return f"{masks.path(run.source.root)}/{run.path_text}"

    @admin.display(description="cleanups")
    def cleanups(self, run: RunStorage) -> str:
        """The cleanups that it was part of, and how far each came."""
        rows = run.planned.select_related("plan").order_by("-pk")[:LATEST]
        return _links((reverse("admin:retention_plan_change", args=[row.plan_id]), f"{row.plan}: {row.get_step_display()}")
                      for row in rows)

    @admin.display(description="archives")
    def archives(self, run: RunStorage) -> str:
        """Its archives, and whether each can be relied on."""
        rows = run.archives.all()[:LATEST]
        return _links((reverse("admin:retention_archive_change", args=[row.pk]), f"{row}: {row.get_state_display()}")
                      for row in rows)


def _links(rows: Iterable[tuple[str, str]]) -> str:
    return format_html_join(mark_safe("<br>"), '<a href="{}">{}</a>', rows) or "–"
