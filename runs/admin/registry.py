"""Runs, jobs and log files: facts from the logs, with a name, tags and a pin of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import format_html

from runs import annotate
from runs.admin.visible import NEWEST, FactsAdmin, VisibleAdmin, preformatted
from runs.models import Job, LogFile, Run
from runs.query.rows import OF_SOURCE
from runs.templatetags.shown import ago, shown_status, size, warning_text

if TYPE_CHECKING:
    from collections.abc import Callable

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


#: Runs that one action changes at most: each is changed by itself, with a line in the audit trail.
AT_ONCE = 1000


class RunForm(forms.ModelForm):
    """What people say of a run, checked as on its page."""

    def clean_name(self) -> str:
        """A line of text."""
        return annotate.checked_name(self.cleaned_data["name"])

    def clean_tags(self) -> list[str]:
        """Each a line of text."""
        return annotate.checked_tags(self.cleaned_data["tags"])


class TagAction(ActionForm):
    """An action, and the tag that it is about."""

    tag = forms.CharField(max_length=100, required=False, label="Tag:")


class RunColumns:
    """What lists of runs say of each."""

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

    @admin.display(description="page")
    def page(self, run: Run) -> str:
        """Its page on the site."""
        return format_html('<a href="{}">{}</a>', run.get_absolute_url(), run.name)


@admin.register(Run)
class RunAdmin(RunColumns, VisibleAdmin):
    """Runs: what a log says is read-only; name, tags and pin are people's."""

    form = RunForm
    action_form = TagAction
    actions = ("pin", "unpin", "add_tag", "remove_tag")
    worded_through = "pk"
    search_help_text = "Words of the name, dataset, tags, notes, parameters or errors."
    list_display = ("name", "shown", "trainer", "dataset", "step", "points", "bytes", "modified_ago", "pinned")
    list_filter = ("status", "stalled", "lifecycle_stage", "files_missing", "pinned", "demo", TrainerFilter)
    list_select_related = ("source__trainer", "dataset")
    search_fields = ("=name",)
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
        """Write only what people say, by the door that the page and the API use."""
        said = form.cleaned_data
        if "name" in form.changed_data:
            annotate.rename(request, obj, said["name"])
        if "tags" in form.changed_data:
            annotate.set_tags(request, obj, said["tags"])
        if "pinned" in form.changed_data:
            annotate.pin(request, obj, said["pinned"])

    @admin.action(description="Pin", permissions=["change"])
    def pin(self, request: HttpRequest, queryset: Any) -> None:
        """Pin them for everybody."""
        self._each(request, queryset, "Pinned", lambda run: annotate.pin(request, run, True))

    @admin.action(description="Unpin", permissions=["change"])
    def unpin(self, request: HttpRequest, queryset: Any) -> None:
        """Take the pin away."""
        self._each(request, queryset, "Unpinned", lambda run: annotate.pin(request, run, False))

    @admin.action(description="Add the tag", permissions=["change"])
    def add_tag(self, request: HttpRequest, queryset: Any) -> None:
        """Tag them with what was written beside the action."""
        tag = request.POST.get("tag", "")
        self._each(request, queryset, f"Tagged {tag}:", lambda run: annotate.add_tags(request, run, [tag]))

    @admin.action(description="Remove the tag", permissions=["change"])
    def remove_tag(self, request: HttpRequest, queryset: Any) -> None:
        """Take away the tag that was written beside the action."""
        tag = request.POST.get("tag", "").strip()
        self._each(request, queryset, f"Took away {tag}:", lambda run: annotate.remove_tags(request, run, [tag]))

    def _each(self, request: HttpRequest, queryset: Any, done: str, act: Callable[[Run], None]) -> None:
        """Do it to each run chosen, of those that the user may see; what is wrong is said once."""
        ids = list(queryset.values_list("pk", flat=True)[: AT_ONCE + 1])
        if len(ids) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE:,} runs at once: choose fewer.", messages.ERROR)
            return
        runs = Run.objects.visible_to(request.user).filter(pk__in=ids).only("pk", "name", "tags", "pinned", "version")
        try:
            for run in runs:
                act(run)
        except ValidationError as wrong:
            self.message_user(request, " ".join(wrong.messages), messages.ERROR)
        else:
            self.message_user(request, f"{done} {len(ids)} run{'s' * (len(ids) != 1)}.")

    @admin.display(description="modified", ordering="modified")
    def modified_ago(self, run: Run) -> str:
        """When a file of it last changed."""
        return ago(run.modified)

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
    worded_through = "run"
    search_fields = ("=external_id",)
    exact = ("external_id",)
    search_help_text = "Words of the run; or the exact id."
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
    worded_through = "run"
    search_fields = ("=run__name",)
    search_help_text = "Words of the run: name, dataset, tags, notes, parameters, errors."
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
