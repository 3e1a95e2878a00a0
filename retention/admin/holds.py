"""The admin of holds: what nobody may clean up, who said so, and until when; put on and lifted as on the run's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminBigIntegerFieldWidget, AdminDateWidget, AdminTextInputWidget
from django.db.models import Q
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.timezone import localdate, now

from retention import holding
from retention.admin.confirming import AT_ONCE
from retention.admin.filters import TrainerOfRunFilter
from retention.forms import HoldAsked
from retention.models import Hold
from runs.admin.visible import VisibleAdmin
from runs.models import Run
from runs.templatetags.shown import ago, utc

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse, HttpResponseBase


class HoldForm(HoldAsked, forms.ModelForm):
    """Which run must stay, why, and until when; checked as on its page."""

    reason = forms.CharField(max_length=holding.REASON, widget=AdminTextInputWidget(attrs={"size": 60}))
    until = forms.DateField(required=False, widget=AdminDateWidget, help_text="The end of that day. Empty: until it is lifted.")

    class Meta:
        model = Hold
        fields = ("run", "reason", "until")

    def clean_run(self) -> Run:
        """One that nobody holds."""
        run: Run = self.cleaned_data["run"]
        if Hold.objects.filter(run=run).exists():
            raise forms.ValidationError("This run has a hold already: change or lift that one.")
        return run

    def clean_until(self) -> Any:
        """The end of that day; one that was not changed stays to the second, and may be past."""
        old = self.instance.until
        return old if old is not None and localdate(old) == self.cleaned_data["until"] else super().clean_until()


class StandsFilter(admin.SimpleListFilter):
    """Whether a hold holds now."""

    title, parameter_name = "whether it holds", "stands"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Now, or no longer."""
        return [("1", "holds"), ("0", "is over")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Those that do, or the others."""
        holds = Q(until=None) | Q(until__gt=now())
        return {"1": queryset.filter(holds), "0": queryset.exclude(holds)}.get(self.value() or "", queryset)


class WhoFilter(admin.RelatedOnlyFieldListFilter):
    """Who said so."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.title = "who said so"


@admin.register(Hold)
class HoldAdmin(VisibleAdmin):
    """Holds on runs that the user may see."""

    form = HoldForm
    actions = ("lift",)
    delete_confirmation_template = "admin/retention/hold/lift.html"
    visible_through = worded_through = "run"
    list_display = ("run_name", "stands", "reason", "who", "ends", "said")
    list_filter = (StandsFilter, TrainerOfRunFilter, ("by", WhoFilter))
    list_select_related = ("run", "by")
    search_fields = ("reason__icontains", "=by__username")
    exact = ("reason__icontains", "by__username")
    search_help_text = "Words of the run; part of the reason; or the name of who said so."
    ordering = ("-created", "-pk")

    def get_fields(self, request: HttpRequest, obj: Hold | None = None) -> list[Any]:
        """The run is chosen once."""
        return ["run_link", "reason", "until", "who", "said"] if obj else ["run", "reason", "until"]

    def get_readonly_fields(self, request: HttpRequest, obj: Hold | None = None) -> list[str]:
        """Who said so, when, and of which run."""
        return ["run_link", "who", "said"] if obj else []

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        """A run by its number, of those that the user may see: a list of 100,000 is no choice."""
        if db_field.name != "run" or request is None:
            return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[arg-type]
        return db_field.formfield(
            queryset=Run.objects.visible_to(request.user), widget=AdminBigIntegerFieldWidget,
            help_text="Its number, as the address of its page has it: 7 of /runs/7/.",
            error_messages={"invalid_choice": "There is no such run that you may see."})

    def get_actions(self, request: HttpRequest) -> Any:
        """Nothing is deleted here, holds are lifted."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description="Lift…", permissions=["delete"])
    def lift(self, request: HttpRequest, queryset: QuerySet[Hold]) -> HttpResponseBase | None:
        """Ask once more, then let go of them."""
        holds = list(queryset.select_related("run")[: AT_ONCE + 1])
        if len(holds) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE:,} holds at once: choose fewer.", messages.ERROR)
            return None
        if not request.POST.get("post"):
            context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Lift holds", "holds": holds}
            return TemplateResponse(request, self.delete_confirmation_template, context)
        for hold in holds:
            self.delete_model(request, hold)
        self.message_user(request, f"{len(holds):,} run{'s are' if len(holds) != 1 else ' is'} not held any more.")
        return None

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """The same for one."""
        hold = self.get_object(request, unquote(object_id))
        return super().delete_view(request, object_id, {"title": "Lift hold", "holds": [hold], **(extra_context or {})})

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        """In the words of the run's page."""
        self.message_user(request, "The run is not held any more.")
        return redirect("admin:retention_hold_changelist")

    def has_change_permission(self, request: HttpRequest, obj: Hold | None = None) -> bool:
        """Whoever may hold a run may give a hold another reason or end."""
        return self.has_add_permission(request)

    def save_model(self, request: HttpRequest, obj: Hold, form: Any, change: bool) -> None:
        """By the door that the run's page and the API use."""
        kept = holding.hold(request, obj.run, form.cleaned_data["reason"], form.cleaned_data["until"])
        obj.pk, obj.by, obj.reason, obj.created = kept.pk, kept.by, kept.reason, kept.created

    def delete_model(self, request: HttpRequest, obj: Hold) -> None:
        """By that door, too."""
        holding.lift(request, obj.run)

    @admin.display(description="run", ordering="run__name")
    def run_name(self, hold: Hold) -> str:
        """What must stay."""
        return hold.run.name[:120]

    @admin.display(description="run")
    def run_link(self, hold: Hold) -> str:
        """Its page."""
        return format_html('<a href="{}">{}</a>', hold.get_absolute_url(), hold.run.name[:120])

    @admin.display(description="stands")
    def stands(self, hold: Hold) -> str:
        """Whether it holds now."""
        return "holds" if hold.holds(now()) else "is over"

    @admin.display(description="by", ordering="by__username")
    def who(self, hold: Hold) -> str:
        """Who said so."""
        return hold.by.get_username() if hold.by else "–"

    @admin.display(description="until", ordering="until")
    def ends(self, hold: Hold) -> str:
        """When it ends; a dash where it must be lifted."""
        return utc(hold.until)

    @admin.display(description="since", ordering="created")
    def said(self, hold: Hold) -> str:
        """When it was said, for the last time."""
        return ago(hold.created)
