"""What cleanups left behind: plans with their runs, archives, the trash; all of it to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.paginator import Paginator
from django.db.models import Count, Exists, OuterRef, Subquery, Sum
from django.urls import reverse
from django.utils.html import format_html

from retention.admin.filters import TrainerOfRunFilter
from retention.models import Archive, Plan, PlannedRun, Tombstone
from runs import redact
from runs.admin.visible import FactsAdmin, preformatted
from runs.models import Run
from runs.roles import sees_everything
from runs.templatetags.shown import ago, duration, size, utc

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

#: Runs of a plan on one page.
A_PAGE = 100


@admin.register(Plan)
class PlanAdmin(FactsAdmin):
    """Cleanups: who wanted what, how far it is, and what came of each run."""

    change_form_template = "admin/retention/plan/change_form.html"
    list_display = ("__str__", "state", "run_count", "bytes", "origin", "archive", "forced", "confirmed", "finished", "why_line")
    list_filter = ("state", "origin", "archive", "forced", "keeps", "created")
    search_fields = ("=who",)
    search_help_text = "The name of who wanted it."
    ordering = ("-pk",)
    fields = (
        "who", "origin", "policy", "said", "why", "archive", "keeps", "forced", "forget_metrics", "in_trash", "state",
        "doing", "confirmed_at", "finished_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """Those with a run that the user may see."""
        plans: QuerySet[Plan] = admin.ModelAdmin.get_queryset(self, request)
        mine = _planned(request).filter(plan=OuterRef("pk")).order_by().values("plan")
        if not sees_everything(request.user):
            others = PlannedRun.objects.filter(plan=OuterRef("pk")).exclude(run__in=Run.objects.visible_to(request.user))
            plans = plans.filter(pk__in=_planned(request).values("plan")).annotate(in_part_=Exists(others.order_by()))
        return plans.annotate(run_count_=Subquery(mine.values(n=Count("pk"))), bytes_=Subquery(mine.values(n=Sum("size"))))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With the runs in it, page by page."""
        context: dict[str, Any] = extra_context or {}
        if plan := self.get_object(request, unquote(object_id)):
            rows = _planned(request).filter(plan=plan)
            pages = Paginator(rows.select_related("run").order_by("pk"), A_PAGE)
            page = pages.get_page(request.GET.get("page"))
            steps = rows.order_by().values_list("step").annotate(n=Count("pk"), bytes=Sum("size"))
            tally = [(PlannedRun.Step(step).label, count, total) for step, count, total in sorted(steps)]
            context |= {"page": page, "numbers": pages.get_elided_page_range(page.number), "tally": tally}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description="runs")
    def run_count(self, plan: Plan) -> str:
        """How many runs it lists."""
        return f"{plan.run_count_ or 0:,}"  # type: ignore[attr-defined]

    @admin.display(description="size")
    def bytes(self, plan: Plan) -> str:
        """Bytes of the files of these."""
        return size(plan.bytes_ or 0)  # type: ignore[attr-defined]

    @admin.display(description="confirmed", ordering="confirmed_at")
    def confirmed(self, plan: Plan) -> str:
        """When somebody confirmed it."""
        return ago(plan.confirmed_at)

    @admin.display(description="finished", ordering="finished_at")
    def finished(self, plan: Plan) -> str:
        """When its last run was done."""
        return ago(plan.finished_at)

    @admin.display(description="why")
    def why_line(self, plan: Plan) -> str:
        """The beginning of the reason."""
        return redact.text(plan.why)[:120] or "–"

    @admin.display(description="selected")
    def said(self, plan: Plan) -> str:
        """The selection in words; a dash where they may name runs that the user may not see."""
        return "–" if _in_part(plan) else plan.selected or "–"

    @admin.display(description="time in the trash")
    def in_trash(self, plan: Plan) -> str:
        """Until its runs may be purged."""
        return duration(plan.grace)

    @admin.display(description="now")
    def doing(self, plan: Plan) -> str:
        """What the janitor does for it at this moment."""
        said = plan.progress
        if plan.state not in Plan.OPEN or not said or _in_part(plan):
            return "–"
        done, total = int(said.get("done") or 0), int(said.get("total") or 0)
        words = f"{said.get('step', '')} {said.get('run', '')}: "
        bar = format_html('<progress value="{}" max="{}"></progress> ', done, max(total, 1))
        return format_html("{}{}{} of {}", bar, words, size(done), size(total))


def _in_part(plan: Plan) -> bool:
    """Whether it is also about runs that the user may not see."""
    return bool(getattr(plan, "in_part_", False))


def _planned(request: HttpRequest) -> QuerySet[PlannedRun]:
    """The runs in plans that this user may see."""
    rows = PlannedRun.objects.all()
    return rows if sees_everything(request.user) else rows.filter(run__in=Run.objects.visible_to(request.user))


class OfRun(FactsAdmin):
    """What was made of a run, for whoever may see that."""

    visible_through = worded_through = "run"
    search_fields = ("=run__name",)
    search_help_text = "Words of the run: name, dataset, tags, notes, parameters, errors."
    ordering = ("-pk",)

    @admin.display(description="run")
    def run_link(self, row: Archive | Tombstone) -> str:
        """The page of the run, which stays."""
        return format_html('<a href="{}">{}</a>', reverse("run", args=[row.run_id]), row.run.name[:120])

    @admin.display(description="cleanup")
    def plan_link(self, row: Archive | Tombstone) -> str:
        """The cleanup that did it."""
        if row.planned is None:
            return "–"
        plan = row.planned.plan
        return format_html('<a href="{}">{}</a>', reverse("admin:retention_plan_change", args=[plan.pk]), plan)

    @admin.display(description="size", ordering="size")
    def bytes(self, row: Archive | Tombstone) -> str:
        """Its bytes."""
        return size(row.size)


@admin.register(Archive)
class ArchiveAdmin(OfRun):
    """Packed runs, and whether each can be relied on."""

    list_display = ("name", "run_link", "state", "bytes", "files", "destination", "made", "checked")
    list_filter = ("state", TrainerOfRunFilter, "made_at")
    list_select_related = ("run",)
    fields = (
        "name", "run_link", "plan_link", "destination", "state", "error_text", "bytes", "files", "sha256", "manifest_sha256",
        "made_at", "verified_at",
    )

    @admin.display(description="made", ordering="made_at")
    def made(self, archive: Archive) -> str:
        """When it was begun."""
        return ago(archive.made_at)

    @admin.display(description="verified", ordering="verified_at")
    def checked(self, archive: Archive) -> str:
        """When it was last read to its end and found right."""
        return ago(archive.verified_at)

    @admin.display(description="error")
    def error_text(self, archive: Archive) -> str:
        """What is wrong with it."""
        return preformatted(redact.text(archive.error))


@admin.register(Tombstone)
class TombstoneAdmin(OfRun):
    """Buried runs: where each lay, where it lies, and until when it can be restored at once."""

    list_display = ("run_link", "stands", "bytes", "buried", "due", "archive", "grown")
    list_display_links = ("stands",)
    list_filter = (TrainerOfRunFilter, ("purged_at", admin.EmptyFieldListFilter), ("restored_at", admin.EmptyFieldListFilter))
    list_select_related = ("run", "planned", "archive")
    fields = (
        "run_link", "plan_link", "stands", "folder", "grave", "archive", "bytes", "would_free", "has_freed", "buried_at",
        "purge_after", "purged_at", "lost_at", "restored_at", "grown_files", "trouble",
    )

    @admin.display(description="stands")
    def stands(self, tomb: Tombstone) -> str:
        """How far it is."""
        return tomb.planned.get_step_display()

    @admin.display(description="buried", ordering="buried_at")
    def buried(self, tomb: Tombstone) -> str:
        """When it was moved to the trash."""
        return ago(tomb.buried_at)

    @admin.display(description="purged from", ordering="purge_after")
    def due(self, tomb: Tombstone) -> str:
        """From when it may be purged; a dash where it lies there no longer."""
        return "–" if tomb.gone_at or tomb.restored_at else utc(tomb.purge_after)

    @admin.display(description="frees")
    def would_free(self, tomb: Tombstone) -> str:
        """What of the disk is free once it is purged."""
        return size(tomb.frees)

    @admin.display(description="freed")
    def has_freed(self, tomb: Tombstone) -> str:
        """What purging it has freed; a dash as long as it has not."""
        return size(tomb.freed)

    @admin.display(description="still written to", empty_value="–")
    def grown(self, tomb: Tombstone) -> str | None:
        """Whether somebody writes to it in the trash."""
        return "yes" if tomb.grew else None

    @admin.display(description="files that changed in the trash")
    def grown_files(self, tomb: Tombstone) -> str:
        """Which ones."""
        return preformatted("\n".join(map(str, tomb.grew)))

    @admin.display(description="what stopped it")
    def trouble(self, tomb: Tombstone) -> str:
        """Why it was not purged, or not brought back."""
        return preformatted(redact.text(tomb.planned.error))

    @admin.display(description="lay at")
    def folder(self, tomb: Tombstone) -> str:
        """Below the root of its source."""
        return tomb.path_text
