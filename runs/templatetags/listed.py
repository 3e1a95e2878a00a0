"""How the table of runs writes its cells, and the addresses of the run list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django import template
from django.http import QueryDict
from django.urls import get_script_prefix, reverse
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from runs.models import Source
from runs.query.columns import DEFAULT, PLAIN
from runs.templatetags.pieces import measured, named, run_list, short, status, steps
from runs.templatetags.shown import (
    DASH,
    age,
    ago,
    count,
    duration,
    fresh_days,
    number,
    old_days,
    percent,
    plain,
    size,
)

if TYPE_CHECKING:
    from runs.models import Run
    from runs.query import RunQuery
    from runs.query.columns import Column

register = template.Library()
#: Kinds of columns that stand at the right of their cells, digit below digit.
NUMBERS = {"number", "count", "size", "time", "duration", "progress", "metric", "param"}
TEXTS = {"text", "trainer", "tags"}
ARROWS = {
    "ascending": mark_safe('<i aria-hidden="true">↑</i>'),
    "descending": mark_safe('<i aria-hidden="true">↓</i>'),
}
#: Characters that a cell of text shows; the title has more.
SHOWN, TITLE = 80, 500


@register.simple_tag
def default_columns() -> list[Column]:
    """The columns of a list for which nobody chose others."""
    return [PLAIN[key] for key in DEFAULT]


@register.filter
def css(column: Column) -> str:
    """The classes of a column's cells."""
    if column.source is not None:
        return "c-value num"
    return f"c-{column.key} {'num' if column.kind in NUMBERS else 'c-text' if column.kind in TEXTS else ''}".rstrip()


@register.simple_tag(takes_context=True)
def headings(context: dict[str, Any], columns: Sequence[Column]) -> SafeString:
    """The columns' headings; where the list answers a question, they sort by their columns."""
    query: RunQuery | None = context.get("query")
    if query is None:
        return format_html_join("", "{}", ((_heading(column),) for column in columns))
    current, rest = query.sorted_by, without(query.query, "sort")
    written = []
    for column in columns:
        down, mine = current.startswith("-"), current.removeprefix("-") == column.key
        turned = column.key if down else f"-{column.key}"
        sort = urlencode({"sort": turned if mine else f"{column.first}{column.key}"})
        direction = ("descending" if down else "ascending") if mine else ""
        address = asking(context["here"], f"{rest}&{sort}" if rest else sort)
        written.append((_heading(column, address if column.sortable else "", direction),))
    return format_html_join("", "{}", written)


def _heading(column: Column, address: str = "", direction: str = "") -> SafeString:
    title = format_html(' title="{}"', column.key) if column.source else ""
    sorted_by = format_html(' aria-sort="{}"', direction) if direction else ""
    label = short(column.label, 60)
    if address:
        arrow = ARROWS[direction] if direction else ""
        label = format_html('<a href="{}"><span>{}</span>{}</a>', address, label, arrow)
    return format_html('<th scope="col" class="{}"{}{}>{}</th>', css(column), sorted_by, title, label)


@register.filter
def spec(columns: Sequence[Column], form: str) -> str:
    """How a live list asks for its rows: with these columns, and a box that chooses it for a form."""
    return urlencode([*(("column", column.key) for column in columns), ("pick", form)])


@register.simple_tag
def lines(runs: Sequence[Run], columns: Sequence[Column], form: str = "") -> SafeString:
    """A row of the table for each run; with a box that chooses it for a form."""
    opened = [(_opened(css(column), column.label), column) for column in columns]
    written = []
    for run in runs:
        stale = ' class="stale"' if run.source.status == Source.Status.ERROR else ""
        written.append(f'<tr id="run-{run.pk}" data-version="{run.version}"{stale}>')
        if form:
            written.append(_box(run, form))
        written += [f"{start}{conditional_escape(cell(column, run))}</td>\n" for start, column in opened]
        written.append("</tr>")
    return mark_safe("".join(written))


def _box(run: Run, form: str) -> SafeString:
    return format_html(
        '<td class="c-pick"><input type="checkbox" name="run" value="{}" form="{}" aria-label="Choose {}"></td>',
        run.pk, form, short(run.name, 80),
    )  # fmt: skip


@lru_cache(maxsize=500)
def _opened(classes: str, label: str) -> SafeString:
    return format_html('<td class="{}" data-label="{}">', classes, short(label, 40))


def cell(column: Column, run: Run) -> SafeString:
    """What a run has in a column, as it is written."""
    if piece := PIECES.get(column.key):
        return piece(run)
    value = column.cell(run)
    return WRITTEN[column.kind](value) if value is not None else DASH


def _modified(run: Run) -> SafeString:
    return format_html('<span class="age {}">{}</span>', age(run.modified), ago(run.modified) if run.modified else "unknown")


def _text(value: Any) -> SafeString:
    text = plain(value)
    if len(text) <= SHOWN:
        return escape(text)
    return format_html('<span title="{}">{}</span>', short(text, TITLE), short(text, SHOWN))


def _tags(tags: list[str]) -> SafeString:
    if not tags:
        return DASH
    here = run_list(get_script_prefix())
    return mark_safe(" ".join(_tagged(here, tag) for tag in tags[:5]))


@lru_cache(maxsize=1000)
def _tagged(here: str, tag: str) -> SafeString:
    return format_html('<a class="badge tagged" href="{}?{}">{}</a>', here, urlencode({"tag": tag}), tag)


def _share(value: float) -> SafeString:
    return format_html("{} %", percent(value))


#: Columns that show more than their value.
PIECES: dict[str, Callable[[Run], SafeString]] = {
    "status": status, "name": named, "step": steps, "metric": measured, "modified": _modified,
}  # fmt: skip
#: Each kind of column (runs/query/columns.py) and how its values are written.
WRITTEN: dict[str, Callable[[Any], SafeString]] = {
    "text": _text, "trainer": _text, "number": number, "count": count, "size": size, "time": ago, "duration": duration,
    "progress": _share, "param": _text, "tags": _tags,
}  # fmt: skip


def address(here: str, asked: QueryDict | None = None, **changes: str | None) -> str:
    """A list's address with parts of the question changed (None: left out), from its first page on."""
    data = copied(asked)
    for name, value in {"after": None, "before": None, **changes}.items():
        data.pop(name, None)
        if value is not None:
            data[name] = value
    return asking(here, data.urlencode())


def without(asked: QueryDict, *names: str) -> str:
    """A question without some of its parts and from its first page on, encoded."""
    return urlencode([(name, value) for name, values in asked.lists() if name not in {"after", "before", *names}
                      for value in values])  # fmt: skip


def copied(asked: QueryDict | None) -> QueryDict:
    """A question to change; its own copy() is deep, and a page has thirty."""
    data = QueryDict(mutable=True)
    for name, values in asked.lists() if asked is not None else ():
        data.setlist(name, values)
    return data


def asking(here: str, question: str) -> str:
    """The address of a question.  A saved view's own address without a question asks the view's: a page's
    usual length asks nothing and says so."""
    return f"{here}?{question}" if question or here in (reverse("runs"), reverse("jobs")) else f"{here}?limit=50"


@register.simple_tag(takes_context=True)
def ask(context: dict[str, Any], question: str | None = None, **changes: str | None) -> str:
    """The address of this list with another question, or with parts of its own changed."""
    if question is not None:
        return asking(context["here"], question)
    return address(context["here"], context["query"].query, **changes)


@register.simple_tag(takes_context=True)
def asking_form(context: dict[str, Any]) -> str:
    """The address of this list's question as a form."""
    view = context.get("view")
    here = reverse("view-form", args=[view.pk]) if view else reverse("run-form")
    return f"{here}?{without(context['query'].query)}"


@register.simple_tag(takes_context=True)
def kept(context: dict[str, Any], *but: str) -> SafeString:
    """The question as hidden fields of a form, but for what the form asks itself."""
    data: QueryDict = context["query"].query
    pairs = ((name, value) for name in context["query"].fields if name not in {"after", "before", *but}
             for value in data.getlist(name) if value.strip())
    return format_html_join("", '<input type="hidden" name="{}" value="{}">', pairs)


@register.simple_tag(takes_context=True)
def movable(context: dict[str, Any]) -> list[tuple[Column, str, str]]:
    """The columns shown, each with the addresses of the list with it moved to the left and to the right."""
    columns: list[Column] = context["columns"]
    rest = [part] if (part := without(context["query"].query, "column")) else []
    keys = [urlencode({"column": column.key}) for column in columns]

    def swapped(left: int) -> str:
        if not 0 <= left < len(keys) - 1:
            return ""
        moved = [*keys[:left], keys[left + 1], keys[left], *keys[left + 2 :]]
        return asking(context["here"], "&".join([*rest, *moved]))

    return [(column, swapped(place - 1), swapped(place)) for place, column in enumerate(columns)]


@register.simple_tag(takes_context=True)
def orders(context: dict[str, Any]) -> SafeString:
    """The orders to choose from, as options: those of the columns shown first."""
    query: RunQuery = context["query"]
    columns = [column for column in [*query.columns, *PLAIN.values()] if column.sortable]
    keys = {sign + column.key: f"{column.label} {arrow}" for column in columns for sign, arrow in (("", "↑"), ("-", "↓"))}
    if query.sorted_by not in keys:
        keys[query.sorted_by] = query.sorted_by
    return format_html_join("", '<option value="{}"{}>{}</option>', (
        (key, mark_safe(" selected") if key == query.sorted_by else "", label) for key, label in keys.items()
    ))  # fmt: skip


@register.simple_tag(takes_context=True)
def side(context: dict[str, Any], where: str) -> str:
    """What lies before or after a page: newer and older runs where the list is sorted by a time."""
    current = context["query"].sorted_by
    if current.removeprefix("-") not in ("modified", "started"):
        return "previous" if where == "before" else "next"
    return "newer" if (where == "before") == current.startswith("-") else "older"


@register.simple_tag
def ages() -> SafeString:
    """The colours of ages with their thresholds."""
    fresh, old = f"{fresh_days():g} d", f"{old_days():g} d"
    return format_html(
        '<i class="age fresh">under {}</i><i class="age recent">under {}</i><i class="age old">older</i>', fresh, old
    )


@register.filter
def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()
