"""The admin of policies: admins make and change them, operators look at those of the trainers that they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.utils.timezone import now

from retention import policies, rules
from retention.fields import AgeField, SizeField
from retention.models import RetentionPolicy
from retention.turns import before
from runs import audit
from runs.models import Dataset
from runs.templatetags.shown import ago
from runs.units import counted, size

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

ABOUT = "What it is about: a trainer, a dataset, or both. Without either it refuses to run."
GOES = ("A run goes that is older than the maximum age, or while all runs together, or all that is in use on their volume, "
        "are over the ceiling; what lies in the trash counts as gone. With neither, all goes that is not kept.")
GUARDS = "With more than this to take at once, nothing goes, and it says so."


class PolicyForm(forms.ModelForm):
    """A policy, with what is wrong with it in words."""

    max_age = AgeField(label="Maximum age", required=False, help_text="Since anything came of a run: 12h, 30d, 8w.")
    grace = AgeField(label="Time in the trash", help_text="From where runs can be restored before they are purged: 7d.")
    ceiling = SizeField(required=False, help_text="500 GB, 1.5 TiB; over it, the oldest go.")
    most_bytes = SizeField(label="Most bytes at once", required=False, help_text="500 GB; empty: only their number counts.")

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        for field, words in rules.faults(self.instance).items():
            if field not in self.errors:
                self.add_error(field if field in self.fields else None, f"{words[0].upper()}{words[1:]}.")


@admin.register(RetentionPolicy)
class PolicyAdmin(admin.ModelAdmin):
    """What goes by itself, and what each would take now."""

    form = PolicyForm
    list_display = ("name", "enabled", "about", "in_words", "archive", "ran", "outcome")
    list_filter = ("enabled", ("trainer", admin.RelatedOnlyFieldListFilter))
    search_fields = ("name",)
    readonly_fields = ("ran", "outcome")
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        ("About", {"fields": ("trainer", "dataset"), "description": ABOUT}),
        ("What goes", {"fields": ("max_age", "ceiling", "ceiling_of"), "description": GOES}),
        ("What stays", {"fields": ("keep_last", "keep_best", "metric", "metric_of", "best", "keep_pinned")}),
        ("How", {"fields": ("archive", "grace", "forget_metrics")}),
        ("Guards", {"fields": ("most_runs", "most_bytes"), "description": GUARDS}),
        ("Last turn", {"fields": readonly_fields}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RetentionPolicy]:
        """Those about trainers that the user may see."""
        return policies.visible_to(request.user)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Datasets tell whose they are: several trainers may have one of the same name."""
        field: Any = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "dataset":
            field.queryset = Dataset.objects.select_related("trainer").order_by("trainer__name", "name")
            field.label_from_instance = lambda dataset: f"{dataset.trainer} / {dataset}"
        return field

    @admin.display(description="about")
    def about(self, policy: RetentionPolicy) -> str:
        """Its trainer and dataset."""
        return policies.whose(policy)

    @admin.display(description="rules")
    def in_words(self, policy: RetentionPolicy) -> str:
        """Its rules in a line."""
        return "; ".join(rules.in_words(policy))

    @admin.display(description="last turn", ordering="ran_at")
    def ran(self, policy: RetentionPolicy) -> str:
        """When it had its last turn."""
        return ago(policy.ran_at) if policy.ran_at else "never"

    def save_model(self, request: HttpRequest, obj: RetentionPolicy, form: Any, change: bool) -> None:
        """With a line in the audit trail, and what it would do now."""
        # what came of a turn meanwhile is not ours to write
        super().save_model(request, obj, form, change) if not change else obj.save(update_fields=form.changed_data)
        audit.record(request, "change policy" if change else "add policy", obj, changed=form.changed_data,
                     rules=rules.in_words(obj), enabled=obj.enabled)
        found = policies.evaluate(obj, now(), before(obj))
        if found.refused:
            self.message_user(request, f"It refuses to run: {found.refused}.", messages.WARNING)
        else:
            runs = len(found.going)
            said = f"{counted(runs)} ({size(found.size)})" if runs else "nothing"
            self.message_user(request, f"Now it {'takes' if obj.enabled else 'is off; on it would take'} {said}.")

    def delete_model(self, request: HttpRequest, obj: RetentionPolicy) -> None:
        """With a line in the audit trail; what it took stays as it is."""
        audit.record(request, "delete policy", obj, rules=rules.in_words(obj), enabled=obj.enabled)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RetentionPolicy]) -> None:
        """One by one, each with its line."""
        for policy in queryset:
            self.delete_model(request, policy)
