"""Trainers and their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.exceptions import OperationalError
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.db.models import Count

from runs import audit, pushed
from runs.admin.visible import VisibleAdmin, preformatted
from runs.models import Source, Trainer
from runs.roles import sees_everything
from runs.templatetags.shown import ago, warning_text

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class SourceInline(admin.TabularInline):
    """The folders of a trainer."""

    model = Source
    fields = ("root", "layout", "enabled", "status", "last_synced", "last_error")
    readonly_fields = ("status", "last_synced", "last_error")
    extra = 0
    show_change_link = True
    can_delete = False


@admin.register(Trainer)
class TrainerAdmin(VisibleAdmin):
    """Whose runs there are, and who may see them."""

    list_display = ("name", "slug", "seen_by", "source_count", "gpu_type", "gpu_count", "demo")
    search_fields = ("name", "slug", "description")
    list_filter = ("demo", ("groups", admin.RelatedOnlyFieldListFilter))
    filter_horizontal = ("groups",)
    prepopulated_fields = {"slug": ("name",)}
    inlines = (SourceInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trainer]:
        """With what the list shows, in a fixed number of queries."""
        trainers = super().get_queryset(request).prefetch_related("groups")
        return trainers.annotate(sources_=Count("sources", distinct=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Trainer | None = None) -> tuple[str, ...]:
        """Who sees a trainer is an admin's decision once the trainer exists."""
        return () if obj is None or sees_everything(request.user) else ("groups",)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Trainer | None = None) -> dict[str, Any]:
        """Only while adding: a slug is part of addresses."""
        return self.prepopulated_fields if obj is None else {}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """An operator can show a new trainer to groups of their own only."""
        if db_field.name == "groups" and not sees_everything(request.user):
            kwargs["queryset"] = Group.objects.filter(user=request.user.pk)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description="seen by")
    def seen_by(self, trainer: Trainer) -> str:
        """Its groups; none means everybody who can sign in."""
        return ", ".join(group.name for group in trainer.groups.all()) or "everybody"

    @admin.display(description="sources", ordering="sources_")
    def source_count(self, trainer: Trainer) -> int:
        """How many folders it has."""
        count: int = trainer.sources_  # type: ignore[attr-defined]
        return count


@admin.register(Source)
class SourceAdmin(VisibleAdmin):
    """The folders that are read, how the last reading went, and reading them now."""

    list_display = ("folder", "trainer", "layout", "enabled", "status", "synced", "error_line", "loss_confirmed")
    list_filter = ("status", "enabled", ("trainer", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("trainer",)
    search_fields = ("root", "trainer__name", "trainer__slug")
    readonly_fields = ("status", "last_synced", "error", "problem_list")
    fields = ("trainer", "root", "layout", "enabled", "loss_confirmed", *readonly_fields)
    actions = ("sync_now", "confirm_loss")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        """Without the scan's own notes, which are as long as the tree is large."""
        return super().get_queryset(request).defer("verdicts", "fingerprint")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Only trainers that the user may see."""
        if db_field.name == "trainer":
            kwargs["queryset"] = Trainer.objects.visible_to(request.user)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def delete_model(self, request: HttpRequest, obj: Source) -> None:
        """A source without runs; what was pushed into it stays on disk, and is told."""
        super().delete_model(request, obj)
        self._tell_forsaken(request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        """Several, likewise."""
        super().delete_queryset(request, queryset)
        self._tell_forsaken(request)

    def _tell_forsaken(self, request: HttpRequest) -> None:
        if left := pushed.forsaken():
            self.message_user(
                request, f"Pushed files of {len(left)} folder{'s' * (len(left) != 1)} belong to no source any more: "
                "manage.py pushed lists and deletes them.", messages.WARNING)

    @admin.display(description="root", ordering="root")
    def folder(self, source: Source) -> str:
        """Where it lies, without secrets."""
        return source.root_text

    @admin.display(description="last synced", ordering="last_synced")
    def synced(self, source: Source) -> str:
        """When it was last read."""
        return ago(source.last_synced) if source.last_synced else "never"

    @admin.display(description="last error")
    def error_line(self, source: Source) -> str:
        """The beginning of the last error."""
        return source.last_error[:120] or "–"

    @admin.display(description="last error")
    def error(self, source: Source) -> str:
        """The last error in full."""
        return preformatted(source.last_error)

    @admin.display(description="problems")
    def problem_list(self, source: Source) -> str:
        """What the last scan found odd, one a line."""
        return preformatted("\n".join(warning_text(problem) for problem in source.problems[:200]))

    @admin.action(description="Sync now", permissions=["change"])
    def sync_now(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        """Ask the workers to read these sources; one that is being read is left alone."""
        from runs.tasks import sync_source

        asked = [source for source in queryset if source.enabled]
        try:
            for source in asked:
                sync_source.apply_async([source.pk], retry=False)
                audit.record(request, "sync source", source)
        except OperationalError:
            self.message_user(request, "The workers cannot be reached: Valkey (or Redis) does not answer.", messages.ERROR)
            return
        self.message_user(request, f"Asked for a sync of {len(asked)} source{'s' * (len(asked) != 1)}.")
        if disabled := len(queryset) - len(asked):
            self.message_user(request, f"{disabled} disabled, and so not synced.", messages.WARNING)

    @admin.action(description="Confirm that vanished runs are really gone", permissions=["change"])
    def confirm_loss(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        """Let the next sync mark runs of an empty or exchanged root as missing."""
        count = Source.objects.filter(pk__in=[source.pk for source in queryset]).update(loss_confirmed=True)
        self.message_user(
            request,
            f"Confirmed for {count} source{'s' * (count != 1)}: the next sync marks vanished runs as missing. "
            "What was read of them is kept.",
        )
