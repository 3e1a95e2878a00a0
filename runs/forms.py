"""Query strings, checked: what a page may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import Case, Expression, F, IntegerField, Value, When
from django.db.models.functions import Coalesce, Lower

from runs.charts import main_value
from runs.models import Dataset, Run, Trainer
from runs.models.run import RunQuerySet, Status

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.http import QueryDict

#: What wants attention comes first when a list is sorted by status.
URGENCY = [
    Status.RUNNING,
    Status.FAILED,
    Status.LOST,
    Status.KILLED,
    Status.UNKNOWN,
    Status.QUEUED,
    Status.FINISHED,
]


def _urgency() -> Case:
    ranks = [When(status=status, then=Value(rank)) for rank, status in enumerate(URGENCY)]
    return Case(*ranks, default=Value(len(URGENCY)), output_field=IntegerField())


#: The columns that a run list can be sorted by; nothing else reaches ORDER BY.
SORTABLE: dict[str, Any] = {
    "status": _urgency,
    "name": lambda: Lower("name"),
    "trainer": lambda: Lower("source__trainer__name"),
    "dataset": lambda: Lower("dataset__name"),
    "step": lambda: F("step"),
    "metric": main_value,
    "points": lambda: F("point_count"),
    "files": lambda: F("event_file_count"),
    "size": lambda: F("size"),
    "modified": lambda: F("modified"),
    "started": lambda: F("started"),
    "duration": lambda: Coalesce(F("ended"), F("last_event")) - F("started"),
}
DEFAULT_SORT = "-modified"


class RunFilter(forms.Form):
    """Which runs, in which order: the query string of the run list."""

    trainer = forms.ModelChoiceField(
        Trainer.objects.none(), to_field_name="slug", required=False, empty_label="all trainers"
    )
    dataset = forms.ModelChoiceField(Dataset.objects.none(), required=False, empty_label="all datasets")
    status = forms.ChoiceField(
        choices=[("", "any status"), *Status.choices, ("stalled", "stalled")], required=False
    )
    q = forms.CharField(max_length=200, required=False, label="name", widget=forms.SearchInput)
    sort = forms.ChoiceField(
        choices=[(sign + key, key) for key in SORTABLE for sign in ("", "-")],
        required=False,
        widget=forms.HiddenInput,
    )
    page = forms.IntegerField(min_value=1, max_value=10_000_000, required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, user: User | AnonymousUser) -> None:
        super().__init__(data, label_suffix="", auto_id="filter-%s")
        self.user = user
        trainers = Trainer.objects.visible_to(user)
        datasets = Dataset.objects.filter(trainer__in=trainers).select_related("trainer")
        if slug := data.get("trainer", ""):
            datasets = datasets.filter(trainer__slug=slug.replace("\0", ""))
        self.fields["trainer"].queryset = trainers  # type: ignore[attr-defined]
        self.fields["dataset"].queryset = datasets.order_by("trainer__name", "name")  # type: ignore[attr-defined]
        self.fields["dataset"].label_from_instance = (  # type: ignore[attr-defined]
            lambda dataset: dataset.name if slug else f"{dataset.trainer.name} / {dataset.name}"
        )

    @property
    def sorted_by(self) -> str:
        """The column and direction in force, as in the query string."""
        return str(self.cleaned_data.get("sort") or DEFAULT_SORT)

    def runs(self) -> RunQuerySet:
        """The runs asked for, of those the user may see; none where the question is wrong."""
        runs = Run.objects.visible_to(self.user).active()
        if not self.is_valid():
            return runs.none()
        asked = self.cleaned_data
        if asked["trainer"]:
            runs = runs.filter(source__trainer=asked["trainer"])
        if asked["dataset"]:
            runs = runs.filter(dataset=asked["dataset"])
        if asked["status"] == "stalled":
            runs = runs.filter(status=Status.RUNNING, stalled=True)
        elif asked["status"]:
            runs = runs.filter(status=asked["status"])
        if asked["q"]:
            runs = runs.filter(name__icontains=asked["q"])
        return runs

    def ordered(self, runs: RunQuerySet) -> RunQuerySet:
        """The runs in the order asked for; missing values last both ways."""
        key = self.sorted_by
        column: Expression = SORTABLE[key.removeprefix("-")]()
        if key.startswith("-"):
            return runs.order_by(column.desc(nulls_last=True), "-id")
        return runs.order_by(column.asc(nulls_last=True), "id")


class FigurePage(forms.Form):
    """Which figures of a run: a group of tags, and a page of them."""

    group = forms.CharField(max_length=1000, required=False, strip=False)
    page = forms.IntegerField(min_value=1, max_value=10_000_000, required=False)
