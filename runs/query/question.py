"""A query string as a question: which runs, in which order, with which columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

from django.core.exceptions import ValidationError
from django.db.models import Count, Sum

from runs.charts import MAIN_TAGS
from runs.compare import flat
from runs.models import Dataset, Run, Series, Source, Trainer
from runs.models.run import RunQuerySet, Status
from runs.query import paging
from runs.query.asking import Question
from runs.query.chips import Chip, chips
from runs.query.columns import DEFAULT, PLAIN, Column, column_of
from runs.query.conditions import tag_ids
from runs.query.fields import Asked, choice, whole
from runs.query.filters import filtered, words
from runs.query.grammar import Metric, Param, Unclear, metric_condition, param_condition, shown, span
from runs.query.limits import bounded
from runs.query.rows import BareRun, R, bare_rows, rows
from runs.query.sorting import kinds, stretches

DEFAULT_SORT = "-modified"
PAGE, LONGEST_PAGE = 50, 500
#: Runs, the newest of a filter, whose metrics and parameters a column picker offers; how many of each.
LOOKED_AT, OFFERED = 200, 500


@dataclass(frozen=True, slots=True)
class RunPage(Generic[R]):
    """Rows of a list, and the cursors of the pages beside them."""

    rows: list[R]
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by, and whether downwards."""

    key: Metric | Param | str
    down: bool

    def __str__(self) -> str:
        return f"{'-' if self.down else ''}{self.key}"


def order(text: str) -> Order:
    """``-modified``, ``max(acc)``, ``-param:lr``."""
    column = column_of(text.removeprefix("-"))
    if not column.sortable:
        raise Unclear(f"{shown(text)}: a list is not sorted by {column.key}. Choose another column.")
    return Order(column.source or column.key, text.startswith("-"))


def _offered(source: Metric | Param) -> Column | None:
    """The column of a metric or parameter; None where its name is too long to be asked for, or empty."""
    try:
        return column_of(str(source))
    except Unclear:
        return None


class RunQuery(Question):
    """The query string of every list of runs: the page, its totals, the API, exports, saved views."""

    trainer = Asked(str, most=50)
    dataset = Asked(whole(1, 2**62), most=50)
    status = Asked(choice(*Status.values, "stalled"), most=10)
    q = Asked(words, longest=200)
    name = Asked(str, longest=200)
    tag = Asked(str, most=10, longest=100)
    param = Asked(param_condition, most=10)
    metric = Asked(metric_condition, most=10)
    age = Asked(choice("fresh", "recent", "old", "unknown"))
    newer = Asked(span)
    older = Asked(span)
    bookmarked = Asked(choice("mine", "shared"))
    pinned = Asked(choice("1"))
    missing = Asked(choice("1"))
    demo = Asked(choice("0", "1"))
    run = Asked(whole(1, 2**62), most=500)
    sort = Asked(order)
    column = Asked(column_of, most=20)
    limit = Asked(whole(1, LONGEST_PAGE))
    after = Asked(str, longest=paging.LONGEST)
    before = Asked(str, longest=paging.LONGEST)

    def clean_trainer(self) -> list[Trainer]:
        """The trainers of these slugs, of those the user may see."""
        slugs = self.cleaned_data["trainer"]
        if not slugs:
            return []
        found = {one.slug: one for one in Trainer.objects.visible_to(self.user).filter(slug__in=slugs)}
        for slug in slugs:
            if slug not in found:
                raise ValidationError(f"There is no trainer {shown(slug)} that you may see. Choose another one.")
        return [found[slug] for slug in slugs]

    def clean_dataset(self) -> list[Dataset]:
        """The datasets of these ids, of those the user may see."""
        ids = self.cleaned_data["dataset"]
        if not ids:
            return []
        seen = Dataset.objects.filter(pk__in=ids, trainer__in=Trainer.objects.visible_to(self.user))
        found = {one.pk: one for one in seen.select_related("trainer")}
        for pk in ids:
            if pk not in found:
                raise ValidationError(f"There is no dataset {pk} that you may see. Choose another one.")
        return [found[pk] for pk in ids]

    def clean(self) -> dict[str, Any]:
        """Read the cursors, where the order that they belong to is clear."""
        if "sort" in self.cleaned_data:
            self.read_place(self.sorted_by, kinds(self.order.key))
        return self.cleaned_data

    @property
    def order(self) -> Order:
        """The order in force."""
        return self._asked.get("sort") or order(DEFAULT_SORT)

    @property
    def sorted_by(self) -> str:
        """The column and direction in force, as in the query string."""
        return str(self.order)

    @property
    def columns(self) -> list[Column]:
        """The columns asked for, always with the name; the usual ones where none is."""
        chosen = self._asked.get("column") or [PLAIN[key] for key in DEFAULT]
        return chosen if PLAIN["name"] in chosen else [PLAIN["name"], *chosen]

    @cached_property
    def chips(self) -> list[Chip]:
        """Each condition as a sentence, with the query string without it."""
        return chips(self.query, self._asked) if self.is_valid() else []

    def runs(self) -> RunQuerySet:
        """The runs asked for, of those the user may see, in no order; none where the question is wrong."""
        return self._found.all() if self.is_valid() else Run.objects.none()

    def page(self, limit: int | None = None, also: Collection[str] = ()) -> RunPage[Run]:
        """One page: as long as the question asks for, else as long as ``limit``.

        ``also`` names long fields of the runs that are wanted too (params).
        """
        return self._page(limit, lambda ids: rows(ids, self.columns, self._tags, self.sources, also))

    def bare_page(self) -> RunPage[BareRun]:
        """One page of runs for their cells alone."""
        return self._page(None, lambda ids: bare_rows(ids, self.columns, self._tags, self._told))

    def _page(self, limit: int | None, rows_of: Callable[[list[int]], list[R]]) -> RunPage[R]:
        if not self.is_valid():
            return RunPage([])
        after, before = self._asked["after"], self._asked["before"]
        with bounded():
            shown, more = self._places(limit)
            found = rows_of([place.pk for place in shown])
        if not shown:
            return RunPage([])
        first, last = self._cursor(shown[0]), self._cursor(shown[-1])
        return RunPage(found, last if more or before else None, first if after or (before and more) else None)

    def standing(self) -> list[int]:
        """The ids of the page that is asked for, in order, as it would be now."""
        if not self.is_valid():
            return []
        with bounded():
            return [place.pk for place in self._places()[0]]

    def ids(self, limit: int) -> list[int]:
        """The ids of the first runs, in order."""
        if not self.is_valid():
            return []
        with bounded():
            return [place.pk for place in self._walk(None, limit)]

    def iterate(self, also: Collection[str] = ()) -> Iterator[Run]:
        """All runs in order, from the first one on, a page at a time: for exports."""
        at = None
        while self.is_valid():
            with bounded():
                places = self._walk(at, LONGEST_PAGE)
                found = rows([place.pk for place in places], self.columns, self._tags, self.sources, also)
            yield from found
            if len(places) < LONGEST_PAGE:
                return
            at = places[-1]

    def totals(self) -> dict[str, Any]:
        """Over all pages: ``runs``, ``points``, ``size``, and ``status``: how many have each (stalled ones apart)."""
        totals: dict[str, Any] = {"runs": 0, "points": 0, "size": 0, "status": {}}
        with bounded():
            counted = self.runs().order_by().values_list("status", "stalled").annotate(
                Count("pk"), Sum("point_count"), Sum("size")
            )
            for status, stalled, number, points, size in counted:
                word = "stalled" if stalled and status == Status.RUNNING else status
                totals["status"][word] = totals["status"].get(word, 0) + number
                totals["runs"] += number
                totals["points"] += int(points)
                totals["size"] += int(size)
        return totals

    def available_columns(self) -> list[Column]:
        """What a picker offers: the plain columns, and metrics and parameters of the newest runs of this filter."""
        newest = self.runs().order_by("-pk")
        with bounded():
            ids = list(newest.values_list("pk", flat=True)[:LOOKED_AT])
            params = Run.objects.filter(pk__in=ids).order_by().values_list("params", flat=True)
            names = sorted({name for one in params for name in flat(one)}, key=str.casefold)
            tags = Series.objects.filter(run__in=ids).order_by("tag__name").values_list("tag__name", flat=True).distinct()
            metrics = list(tags[:OFFERED])
        found: list[Metric | Param] = [*map(Metric, metrics), *map(Param, names[:OFFERED])]
        return [*PLAIN.values(), *(column for source in found if (column := _offered(source)))]

    @cached_property
    def seen(self) -> Collection[int]:
        """The ids of all sources that the user may see."""
        if "sources" in self.__dict__:
            return self.sources.keys()
        return Source.objects.ids_visible_to(self.user)

    @property
    def _told(self) -> Mapping[int, Source | None]:
        """The sources that cells may tell of: themselves only where a column does."""
        return self.sources if PLAIN["trainer"] in self.columns else dict.fromkeys(self.seen)

    @property
    def _asked(self) -> dict[str, Any]:
        self.is_valid()
        return self.cleaned_data

    @cached_property
    def _tags(self) -> dict[str, int]:
        """The ids of all metrics that the question names."""
        subjects = [*(one.subject for one in self._asked["metric"]), self.order.key, *(one.source for one in self.columns)]
        names = {one.tag for one in subjects if isinstance(one, Metric)}
        main = "metric" in (self.order.key, *(column.key for column in self.columns))
        return tag_ids(names | set(MAIN_TAGS) if main else names)

    @cached_property
    def _found(self) -> RunQuerySet:
        visible = Run.objects.visible_to(self.user, sources=self.seen).active()
        return filtered(visible, self._asked, self._tags, self.user)

    def _places(self, limit: int | None = None) -> tuple[list[paging.Place], bool]:
        """The places of one page in order, and whether more lie beyond it."""
        after, before = self._asked["after"], self._asked["before"]
        length = self._asked["limit"] or limit or PAGE
        places = self._walk(before or after, length + 1, backwards=bool(before))
        shown = places[:length]
        return shown[::-1] if before else shown, len(places) > length

    def _walk(self, at: paging.Place | None, limit: int, *, backwards: bool = False) -> list[paging.Place]:
        cut = stretches(self._found, self.order.key, self._tags)
        return paging.walk(cut, at, limit, down=self.order.down, backwards=backwards)

    def _cursor(self, place: paging.Place) -> str:
        return paging.written(place, self.sorted_by, kinds(self.order.key)[place.stretch])
