"""Runs, jobs and log files: facts from the logs, with a name, tags and a pin of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import F
from django.urls import reverse
from django.utils.html import format_html

from runs.admin.visible import NEWEST, FactsAdmin, VisibleAdmin, preformatted
from runs.models import Job, LogFile, Run
from runs.query.rows import OF_SOURCE
from runs.templatetags.shown import ago, shown_status, size, warning_text

if TYPE_CHECKING:
    from django.http import HttpRequest

#: What a list needs of no row, and what may be long.
LONG = ("params", "param_sources", "sidecars", "said", "pulse", "status_evidence", "warnings", "error_stack", "error")


class TrainerFilter(admin.SimpleListFilter):
    """Runs of one trainer, of those the user may see."""

    title = "trainer"
    parameter_name = "trainer"
    through = "source__trainer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Each visible trainer."""
        from runs.models import Trainer

        return [(trainer.slug, trainer.name) for trainer in Trainer.objects.visible_to(request.user)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """The rows of the chosen one."""
        return queryset.filter(**{f"{self.through}__slug": self.value()}) if self.value() else queryset


@admin.register(Run)
class RunAdmin(VisibleAdmin):
    """Runs: what a log says is read-only; name, tags and pin are people's."""

    list_display = ("name", "shown", "trainer", "dataset", "step", "points", "bytes", "modified_ago", "pinned")
    list_filter = ("status", "stalled", "lifecycle_stage", "files_missing", "pinned", "demo", TrainerFilter)
    list_select_related = ("source__trainer", "dataset")
    search_fields = ("name", "dataset__name", "host")
    ordering = NEWEST
    editable = ("name", "tags", "pinned")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Lists carry no long columns."""
        runs = super().get_queryset(request)
        match = request.resolver_match
        runs = runs.defer(*OF_SOURCE)
        return runs.defer(*LONG) if match and match.url_name == "runs_run_changelist" else runs

    def get_fields(self, request: HttpRequest, obj: Run | None = None) -> list[Any]:
        """What people say first, then every fact."""
        hidden = {"id", "path", "params", "param_sources", "sidecars", "said", "pulse", "warnings", *self.editable}
        facts = [field.name for field in Run._meta.concrete_fields if field.name not in hidden]
        return [*self.editable, "page", "folder", *facts, "warning_list", "parameter_list"]

    def get_readonly_fields(self, request: HttpRequest, obj: Run | None = None) -> list[str]:
        """All but what people say."""
        return [name for name in self.get_fields(request, obj) if name not in self.editable]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        """A name is a line of text, however long."""
        if db_field.name == "name":
            kwargs["widget"] = AdminTextInputWidget(attrs={"size": 80})
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[arg-type]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: runs come from log folders."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: deletion is the work of retention, with an archive and a trace."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what people say, and raise the version so that open pages learn of it."""
        said = {name: form.cleaned_data[name] for name in self.editable if name in form.changed_data}
        if said:
            Run.objects.filter(pk=obj.pk).update(**said, version=F("version") + 1)

    @admin.display(description="status", ordering="status")
    def shown(self, run: Run) -> str:
        """Its status; stalled is a mark on running."""
        return shown_status(run)

    @admin.display(description="trainer", ordering="source__trainer__name")
    def trainer(self, run: Run) -> str:
        """Whose run it is."""
        return run.source.trainer.name

    @admin.display(description="points", ordering="point_count")
    def points(self, run: Run) -> str:
        """How many points were read."""
        return f"{run.point_count:,}"

    @admin.display(description="size", ordering="size")
    def bytes(self, run: Run) -> str:
        """Its size on disk."""
        return size(run.size)

    @admin.display(description="modified", ordering="modified")
    def modified_ago(self, run: Run) -> str:
        """When a file of it last changed."""
        return ago(run.modified)

    @admin.display(description="page")
    def page(self, run: Run) -> str:
        """Its page on the site."""
        return format_html('<a href="{}">{}</a>', run.get_absolute_url(), run.name)

    @admin.display(description="folder")
    def folder(self, run: Run) -> str:
        """Its folder; bytes that are not UTF-8 are escaped."""
        return f"{run.source.root}/{run.path_text}"

    @admin.display(description="warnings")
    def warning_list(self, run: Run) -> str:
        """What the last scan found odd."""
        return preformatted("\n".join(warning_text(warning) for warning in run.warnings[:200]))

    @admin.display(description="parameters")
    def parameter_list(self, run: Run) -> str:
        """Its parameters as JSON."""
        return preformatted(json.dumps(run.params, indent=1, ensure_ascii=False) if run.params else "")


@admin.register(Job)
class JobAdmin(FactsAdmin):
    """Jobs, as their logs tell them."""

    list_display = ("external_id", "status", "word", "stage", "run_link", "step", "started", "last_event")
    list_filter = ("status", TrainerFilter)
    list_select_related = ("run",)
    search_fields = ("external_id", "run__name", "error_type")
    ordering = NEWEST

    @admin.display(description="run", ordering="run__name")
    def run_link(self, job: Job) -> str:
        """The run that the job is part of."""
        return format_html('<a href="{}">{}</a>', job.run.get_absolute_url(), job.run.name)


@admin.register(LogFile)
class LogFileAdmin(FactsAdmin):
    """Log files: how far each was read, and what of it could not be."""

    visible_through = "run"
    list_display = (
        "path_text", "run_link", "kind", "bytes", "read_to", "points", "bad_records", "lost_bytes", "missing",
    )
    list_filter = ("kind", "missing", TrainerFilter)
    list_select_related = ("run",)
    search_fields = ("run__name",)
    search_help_text = "The run's name."
    ordering = ("-id",)
    fields = (
        "path_text", "run_link", "source", "prefix", "kind", "size", "offset", "unread", "generation", "reading",
        "records", "points", "bad_records", "lost_bytes", "damage_list", "error", "missing", "device", "inode",
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without the reader's own notes."""
        return super().get_queryset(request).defer("state", "head_hash", "tail_hash")

    @admin.display(description="path", ordering="id")
    def path_text(self, file: LogFile) -> str:
        """Its path; bytes that are not UTF-8 are escaped."""
        return file.path_text

    @admin.display(description="run", ordering="run__name")
    def run_link(self, file: LogFile) -> str:
        """The run that wrote it."""
        return format_html('<a href="{}">{}</a>', reverse("run", args=[file.run_id]), file.run.name)

    @admin.display(description="size", ordering="size")
    def bytes(self, file: LogFile) -> str:
        """Its size on disk."""
        return size(file.size)

    @admin.display(description="read to", ordering="offset")
    def read_to(self, file: LogFile) -> str:
        """The first byte that is not read yet."""
        return f"{file.offset:,}"

    @admin.display(description="bytes not read")
    def unread(self, file: LogFile) -> str:
        """Bytes after the last complete record."""
        return f"{file.unread:,}"

    @admin.display(description="damages")
    def damage_list(self, file: LogFile) -> str:
        """Where records could not be read."""
        return preformatted("\n".join(warning_text(damage) for damage in file.damages))
