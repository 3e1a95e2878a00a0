"""A workspace: which runs are listed, which of them are shown, and how they are looked at.

The whole of it is a query string, so that a link shares exactly what one sees:

- the parameters of the run list (trainer, status, metric, sort ...) say which runs are listed;
  ``run=1&run=2`` lists these, in this order where nothing is sorted by;
- ``shown=2,1`` are the runs whose eye is open; without it the first twenty of the list;
- ``tab`` and what each tab is asked for (Panel).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import RegexValidator
from django.http import QueryDict
from django.urls import reverse

from runs.colours import COLOURS, Look, looks
from runs.compare import flat
from runs.models import Run
from runs.query import RunQuery, TooLarge
from runs.query.limits import bounded

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: Runs that are shown at once.
SHOWN = 20
#: Runs that a page of the list names.
LISTED = 30
#: Runs up to which the list is counted.
COUNTED = 1000
TABS = {"charts": "Charts", "table": "Differences", "parallel": "Parallel", "scatter": "Scatter", "datasets": "Datasets"}
AXES = {"step": "step", "relative": "relative time", "wall": "time"}
SPREADS = {"range": "min to max", "std": "± std", "none": "mean only"}
FIGURES = {"last": "last", "min": "lowest", "max": "highest"}
#: Columns of a run that nothing here shows, and that may be long.
UNSHOWN = ("param_sources", "sidecars", "said", "pulse", "status_evidence", "error_stack", "warnings",
           "source__verdicts", "source__fingerprint", "source__problems", "source__last_error")


#: What each choice of a tab offers; the first is meant where the query string says nothing.
CHOICES: dict[str, dict[str, str]] = {
    "tab": TABS,
    "spread": SPREADS,
    "rows": {"differing": "only what differs", "all": "all rows"},
    "figure": {**FIGURES, "every": "all three"},
}


def _choice(name: str) -> forms.ChoiceField:
    return forms.ChoiceField(choices=list(CHOICES[name].items()), required=False)


class Panel(forms.Form):
    """How the runs are looked at: the part of the query string that is not about which."""

    tab = _choice("tab")
    shown = forms.CharField(
        max_length=2000, required=False,
        validators=[RegexValidator(r"^(none|\d{1,18}(,\d{1,18})*)$", "Name runs by their ids: shown=3,1,2, or none.")],
    )
    tags = forms.CharField(max_length=200, required=False)
    x = forms.CharField(max_length=1002, required=False, strip=False)
    y = forms.CharField(max_length=1002, required=False, strip=False)
    across = forms.CharField(max_length=1010, required=False, strip=False)
    group = forms.CharField(max_length=1006, required=False, strip=False)
    spread = _choice("spread")
    rows = _choice("rows")
    figure = _choice("figure")
    plain = forms.BooleanField(required=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list: its eye leads to the same page with the run shown, or not."""

    run: Run
    look: Look | None
    toggle: str


class Workspace:
    """The answer to a query string, for one user."""

    def __init__(self, data: QueryDict, user: User | AnonymousUser) -> None:
        self.data = data
        self.user = user
        self.query = RunQuery(self._without("page", "limit", "column"), user)
        self.panel = Panel(data)

    def is_valid(self) -> bool:
        """Whether the question can be answered."""
        # both, so that all that is wrong is told at once
        return all([self.query.is_valid(), self.panel.is_valid()])

    @property
    def errors(self) -> list[tuple[str, str]]:
        """What is wrong, by the name of the parameter."""
        both = (self.query.errors, self.panel.errors)
        return [(name, str(text)) for errors in both for name, texts in errors.items() for text in texts]

    def asked(self, name: str) -> Any:
        """What the query string asks for, the first choice where it says nothing."""
        return self.panel.cleaned_data.get(name) or next(iter(CHOICES.get(name, [""])))

    @property
    def tab(self) -> str:
        """Which view of the shown runs is open."""
        return str(self.asked("tab"))

    @cached_property
    def _page(self) -> Any:
        return self.query.page(LISTED)

    @cached_property
    def chosen(self) -> list[int]:
        """The ids that ``run=`` names, in their order."""
        return list(dict.fromkeys(int(run) for run in self.data.getlist("run") if run.isascii() and run.isdigit()))

    @cached_property
    def wanted(self) -> list[int]:
        """The ids of the runs to show, of which some may not be there (or not for this user)."""
        text = self.panel.cleaned_data.get("shown")
        if text == "none":
            return []
        if text:
            return list(dict.fromkeys(int(run) for run in text.split(",")))
        if self.chosen and not self.data.get("sort"):
            return self.chosen
        if self.data.get("after") or self.data.get("before"):
            return self.query.ids(SHOWN)
        return [run.pk for run in self._page.rows[:SHOWN]]

    def many(self, limit: int) -> list[int]:
        """The ids of all listed runs in order, at most so many."""
        ids = self.query.ids(limit)
        if self.chosen and not self.data.get("sort"):
            there = set(ids)
            return [pk for pk in self.chosen if pk in there]
        return ids

    @cached_property
    def _found(self) -> dict[int, Run]:
        """Of the wanted and chosen runs those that the user may see."""
        wanted = {*self.wanted, *self.chosen}
        runs = Run.objects.visible_to(self.user).active().filter(pk__in=[pk for pk in wanted if pk < 2**63])
        return {run.pk: run for run in runs.select_related("source__trainer", "dataset").defer(*UNSHOWN)}

    @cached_property
    def shown(self) -> list[Run]:
        """The runs that are shown, in order."""
        return [self._found[pk] for pk in self.wanted if pk in self._found][:SHOWN]

    @property
    def left_out(self) -> int:
        """How many runs were to be shown beyond the twenty."""
        return max(0, sum(pk in self._found for pk in self.wanted) - SHOWN)

    @property
    def missing(self) -> list[int]:
        """Ids that were asked for and are not there, or not for this user."""
        return [pk for pk in dict.fromkeys([*self.chosen, *self.wanted]) if pk not in self._found]

    @cached_property
    def looks(self) -> dict[int, Look]:
        """The colour and dash of each shown run."""
        return looks(run.pk for run in self.shown)

    @cached_property
    def listed(self) -> list[Listed]:
        """The page of the list, in the order asked for."""
        rows = list(self._page.rows)
        if self.chosen and not self.data.get("sort"):
            place = {pk: number for number, pk in enumerate(self.chosen)}
            rows.sort(key=lambda run: place.get(run.pk, len(place)))
        return [self._listed(run) for run in rows]

    @cached_property
    def elsewhere(self) -> list[Listed]:
        """Shown runs that are not on this page of the list."""
        here = {run.pk for run in self._page.rows}
        return [self._listed(run) for run in self.shown if run.pk not in here]

    def _listed(self, run: Run) -> Listed:
        ids = [one.pk for one in self.shown]
        turned = [pk for pk in ids if pk != run.pk] if run.pk in ids else [*ids, run.pk]
        return Listed(run, self.looks.get(run.pk), self.link(shown=",".join(map(str, turned)) or "none"))

    @cached_property
    def fitting(self) -> str:
        """How many runs the list has: "12", "more than 1,000", nothing where counting takes long."""
        page = self._page
        if not (page.before or page.after):
            return f"{len(page.rows):,}"
        with suppress(TooLarge), bounded(1):
            runs = self.query.runs()[: COUNTED + 1].count()
            return f"{runs:,}" if runs <= COUNTED else f"more than {COUNTED:,}"
        return ""

    @property
    def full(self) -> bool:
        """Whether no other run can be shown."""
        return len(self.shown) >= SHOWN

    def link(self, **changed: str | None) -> str:
        """This page with some parameters changed; None takes one out."""
        data = self.data.copy()
        for name, value in changed.items():
            if value is None:
                data.pop(name, None)
            else:
                data[name] = value
        return f"?{data.urlencode(safe=',')}"

    def kept(self, *changing: str) -> list[tuple[str, str]]:
        """What a form that changes some parameters has to carry along."""
        return [(name, value) for name, values in self.data.lists() if name not in changing for value in values]

    @property
    def kept_by_search(self) -> list[tuple[str, str]]:
        """What the search of the list carries along: a new list shows its own first runs."""
        return self.kept("q", "shown", "after", "before", "run")

    @property
    def only_shown(self) -> str:
        """The same page, its list cut down to the shown runs."""
        kept = QueryDict(mutable=True)
        kept.setlist("run", [str(run.pk) for run in self.shown])
        for name, value in self.data.items():
            if name in Panel.base_fields and name != "shown":
                kept[name] = str(value)
        return f"?{kept.urlencode()}"

    @property
    def first_shown(self) -> str:
        """The same page with the first runs of the list shown."""
        return self.link(shown=None, after=None, before=None)

    @property
    def none_shown(self) -> str:
        """The same page with no run shown."""
        return self.link(shown="none")

    @property
    def run_list(self) -> str:
        """The run list of the same question."""
        return f"{reverse('runs')}?{self._without(*Panel.base_fields, 'axis', 'after', 'before').urlencode()}"

    @property
    def limit(self) -> int:
        """How many runs can be shown."""
        return SHOWN

    def _without(self, *names: str) -> QueryDict:
        data = self.data.copy()
        for name in names:
            data.pop(name, None)
        return data

    @property
    def pages(self) -> tuple[str | None, str | None]:
        """The links to the page of the list before and the one after."""
        before, after = self._page.before, self._page.after
        # what is shown stays shown when the list is paged
        shown = ",".join(str(run.pk) for run in self.shown) or "none"
        return (
            self.link(before=before, after=None, shown=shown) if before else None,
            self.link(after=after, before=None, shown=shown) if after else None,
        )


def group_names(space: Sequence[Run], group: str) -> dict[int, str]:
    """Which group each run belongs to: its dataset, trainer, status, or the value of a parameter (param:lr)."""
    if group == "dataset":
        return {run.pk: run.dataset.name if run.dataset else "no dataset" for run in space}
    if group == "trainer":
        return {run.pk: run.source.trainer.name for run in space}
    if group == "status":
        return {run.pk: run.status for run in space}
    name = group.removeprefix("param:")
    return {run.pk: str(flat(run.params).get(name, "–")) for run in space}


def group_looks(names: dict[int, str]) -> list[tuple[str, Look, int]]:
    """Each group with its look and number of runs, in the order of its first run."""
    sizes = Counter(names.values())
    order = enumerate(dict.fromkeys(names.values()))
    return [(name, Look(number % COLOURS, number // COLOURS), sizes[name]) for number, name in order]


def metric_of(x: str) -> str | None:
    """The metric that is asked for as x axis; None where it is one of the plain axes.

    A metric that is called like one of them stands in quotes: ``x="step"``.
    """
    if x in AXES:
        return None
    return x[1:-1] if len(x) > 2 and x[0] == x[-1] == '"' and x[1:-1] in AXES else x
