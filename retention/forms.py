"""What pages ask of cleanup, checked: which runs, how, whether really; and holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import ProhibitNullCharactersValidator
from django.db.models import QuerySet
from django.http import QueryDict

from retention import holding, plan, selection
from retention.choosing import Question
from runs.models import Dataset, Trainer
from runs.models.run import Status
from runs.readers.plain import plain
from runs.views.selected import Ids

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: What somebody may ask for at most.
LONGEST_GRACE, LONGEST_AGE = timedelta(days=3650), timedelta(days=36500)
REASON = holding.REASON


class Age(forms.CharField):
    """12h, 7d, 2w as a duration; None where nothing is said."""

    def __init__(self, *, longest: timedelta, **options: Any) -> None:
        super().__init__(max_length=20, required=False, **options)
        self.longest = longest

    def clean(self, value: Any) -> timedelta | None:
        """The duration."""
        said = super().clean(value)
        if not said:
            return None
        try:
            found = selection.age(said)
        except selection.Invalid as wrong:
            raise ValidationError(f"{wrong}.") from None
        if found > self.longest:
            raise ValidationError(f"At most {self.longest.days:,}d.")
        return found


class Row(forms.ModelChoiceField):
    """A row by its key; text that PostgreSQL cannot hold names none."""

    default_error_messages = {"invalid_choice": "There is no “%(value)s” that you may see: choose from the list."}

    def to_python(self, value: Any) -> Any:
        """The row."""
        ProhibitNullCharactersValidator()(str(value))
        return super().to_python(value)

    def label_from_instance(self, obj: Any) -> str:
        """A dataset with its trainer: several may have one of that name."""
        return f"{obj.trainer.name} / {obj.name}" if isinstance(obj, Dataset) else obj.name


class Asked(forms.Form):
    """Which runs a cleanup is about, and how it is done: the query string of its pages."""

    run = Ids(required=False)
    trainer = Row(Trainer.objects.none(), to_field_name="slug", required=False, empty_label="all trainers")
    dataset = Row(Dataset.objects.none(), required=False, empty_label="all datasets")
    status = forms.ChoiceField(choices=[("", "any"), *Status.choices], required=False)
    older_than = Age(longest=LONGEST_AGE, label="Older than", widget=forms.TextInput(attrs={"placeholder": "7d"}))
    most = forms.IntegerField(min_value=1, max_value=1_000_000, required=False, label="At most")
    unarchived = forms.BooleanField(required=False, label="Without an archive")
    grace = Age(longest=LONGEST_GRACE, label="Time in the trash")
    force = forms.BooleanField(required=False, label="Pinned and bookmarked runs, too")

    def __init__(self, data: QueryDict, user: User | AnonymousUser, *, forces: bool = False) -> None:
        super().__init__(data, auto_id="ask-%s", label_suffix="")
        self.forces = forces
        trainers = Trainer.objects.visible_to(user).order_by("name")
        self._offer("trainer", trainers)
        datasets = Dataset.objects.filter(trainer__in=trainers).select_related("trainer").order_by("trainer__name", "name")
        self._offer("dataset", datasets)

    def _offer(self, name: str, rows: QuerySet[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, Row)
        field.queryset = rows

    def clean_force(self) -> bool:
        """Whose word counts for more than a pin."""
        if self.cleaned_data["force"] and not self.forces:
            raise ValidationError("Cleaning up what somebody pinned or bookmarked needs the role admin.")
        return bool(self.cleaned_data["force"])

    def clean(self) -> dict[str, Any]:
        """Named runs, or a filter."""
        if self.question.ids and self.question.filters:
            raise ValidationError("Either runs are ticked, or all that fit a filter are meant: leave one of them out.")
        return self.cleaned_data

    @property
    def question(self) -> Question:
        """Which runs are meant."""
        said = self.cleaned_data
        trainer, dataset = said.get("trainer"), said.get("dataset")
        return Question(
            tuple(said.get("run") or ()), trainer.slug if trainer else "", dataset.pk if dataset else None,
            said.get("status") or "", said.get("older_than"), said.get("most"), dataset.name if dataset else "")

    @property
    def manner(self) -> plan.Options:
        """How it is to be done."""
        grace = self.cleaned_data.get("grace")
        usual = timedelta(days=settings.TRAINMON_CLEANUP_GRACE)
        return plan.Options(
            not self.cleaned_data.get("unarchived"), usual if grace is None else grace, bool(self.cleaned_data.get("force")))

    @property
    def about(self) -> list[tuple[str, str]]:
        """Which runs, as it was said: for a form that asks the same in another way."""
        return self._said("run", "trainer", "dataset", "status", "older_than", "most")

    @property
    def address(self) -> str:
        """The query string of that."""
        return urlencode(self.about)

    @property
    def filters(self) -> list[forms.BoundField]:
        """The fields of the filter."""
        return [self[name] for name in ("trainer", "dataset", "status", "older_than", "most")]

    @property
    def given(self) -> list[tuple[str, str]]:
        """All of it as it was said."""
        return [*self.about, *self._said("unarchived", "grace", "force")]

    def _said(self, *names: str) -> list[tuple[str, str]]:
        assert isinstance(self.data, QueryDict)
        return [(name, value) for name in names for value in self.data.getlist(name) if value]


class Confirmed(forms.Form):
    """That it is really wanted: the token of what was shown, and the number of its runs, typed."""

    token = forms.CharField(max_length=64, min_length=64, error_messages={
        "required": "Nothing was cleaned up: this is no answer to a preview. Look at what would go first."})
    seen = forms.CharField(max_length=1_500_000, required=False)
    typed = forms.CharField(max_length=20, error_messages={"required": "Type the number of runs."})
    why = forms.CharField(max_length=REASON, required=False)

    def clean_typed(self) -> int | None:
        """The number; None for what is none."""
        said = self.cleaned_data["typed"].replace(",", "")
        return int(said) if said.isascii() and said.isdigit() else None

    def clean_why(self) -> str:
        """The reason, as the database can hold it."""
        return plain(self.cleaned_data["why"])


class HoldAsked(forms.Form):
    """Why a run must stay, and until when."""

    reason = forms.CharField(max_length=REASON)
    until = forms.DateField(required=False)

    def clean_reason(self) -> str:
        """One line."""
        return holding.checked_reason(self.cleaned_data["reason"])

    def clean_until(self) -> datetime | None:
        """The end of that day."""
        day = self.cleaned_data["until"]
        return holding.checked_end(holding.end_of(day)) if day is not None else None
