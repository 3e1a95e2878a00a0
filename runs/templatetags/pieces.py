"""Pieces of HTML that stand in every row of a list of runs.

In Python, not in templates: a page of fifty runs has a thousand of them, and a template for
each took two thirds of its time.  The templates of the same names call these, so that a
status looks the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from django import template
from django.urls import get_script_prefix, reverse
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify

from runs.templatetags.shown import DASH, count, marks, number, percent, shown_status

if TYPE_CHECKING:
    from runs.models import Job, Run
    from runs.sparks import Spark

register = template.Library()

NOTHING = mark_safe("")
PINNED = mark_safe('<svg role="img" aria-label="pinned"><title>Pinned for everybody</title><use href="#i-pin"/></svg>')
MINE = mark_safe(
    '<svg class="mine" role="img" aria-label="bookmarked"><title>Bookmarked by you</title><use href="#i-star"/></svg>'
)
TEAMS = mark_safe(
    '<svg role="img" aria-label="bookmarked for the team"><title>Bookmarked for the team</title><use href="#i-star"/></svg>'
)


def short(text: str, longest: int) -> str:
    """The beginning of a text, with … where more follows."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


@register.filter
def status(subject: Run | Job) -> SafeString:
    """A status by colour, shape and word; its reason in the title."""
    return _pill(shown_status(subject), short(getattr(subject, "status_reason", ""), 500))


@lru_cache(maxsize=1000)
def _pill(word: str, reason: str) -> SafeString:
    title = format_html(' title="{}"', reason) if reason else NOTHING
    return format_html(
        '<span class="status {}"{}><svg class="shape" aria-hidden="true"><use href="#s-{}"/></svg>{}</span>',
        word, title, word, word,
    )  # fmt: skip


@register.filter
def steps(run: Run | Job) -> SafeString:
    """The step of a run or job; with a bar where the total is known."""
    if run.step is None:
        return DASH
    if run.progress is None:
        return format_html('<span class="progress"><span class="steps">{}</span></span>', count(run.step))
    return format_html(
        '<span class="progress"><svg class="bar {}" aria-hidden="true"><rect width="{}%" height="100%"/></svg>'
        '<span class="steps">{}<i>/{}</i></span></span>',
        shown_status(run), percent(run.progress), count(run.step), count(run.total_steps),
    )  # fmt: skip


@register.filter
def badges(run: Run) -> SafeString:
    """What is odd about a run."""
    odd = marks(run)
    if not odd:
        return NOTHING
    return format_html_join(
        " ", '<span class="badge {}" title="{}">{}</span>', ((slugify(word), title, word) for word, title in odd)
    )


@register.filter
def sparkline(spark: Spark) -> SafeString:
    """A small curve of 80 x 20."""
    path = format_html('<path d="{}"/>', spark.d) if spark.d else NOTHING
    return format_html('<svg class="spark" viewBox="0 0 80 20" width="80" height="20" aria-hidden="true">{}</svg>', path)


@register.filter
def measured(run: Run) -> SafeString:
    """The main metric: its curve, last value and name."""
    if run.main is None:
        return DASH
    name = escape(short(run.main.tag, 300))
    return format_html(
        '<span class="measured">{}<b>{}</b><small title="{}">{}</small></span>',
        sparkline(run.main), number(run.main.last), name, short(run.main.tag, 60),
    )  # fmt: skip


@register.filter
def signs(run: Run) -> SafeString:
    """Whether a run is pinned or bookmarked, and how many notes it has."""
    kept = MINE if run.bookmarked else TEAMS if run.shared_bookmark else NOTHING
    if not (run.pinned or kept or run.noted):
        return NOTHING
    noted = NOTHING
    if run.noted:
        said = f"{run.noted:,} note{'s' if run.noted > 1 else ''}"
        noted = format_html(
            '<a href="{}notes/" title="{}" aria-label="{}"><svg aria-hidden="true"><use href="#i-note"/></svg>{}</a>',
            address(run), said, said, run.noted,
        )  # fmt: skip
    return format_html('<span class="signs" data-keep="signs">{}{}{}</span>', PINNED if run.pinned else NOTHING, kept, noted)


@register.filter
def named(run: Run) -> SafeString:
    """The name with its dataset below, and what is kept or odd about the run."""
    path = run.path_text
    title = run.name if path == run.name else f"{short(run.name, 500)}\n{short(path, 500)}"
    dataset = format_html("<span>{}</span> ", short(run.dataset.name, 120)) if run.dataset else NOTHING
    odd = badges(run)
    below = format_html("<small>{}{}</small>", dataset, odd) if dataset or odd else NOTHING
    return format_html(
        '<div class="named"><a href="{}" title="{}">{}</a>{}{}</div>',
        address(run), title, short(run.name, 160), signs(run), below,
    )  # fmt: skip


def address(run: Run) -> str:
    """The run's page."""
    return f"{run_list(get_script_prefix())}{run.pk}/"


@lru_cache(maxsize=10)
def run_list(prefix: str) -> str:
    """The run list of a site under this prefix: resolving a route for each run of a page is slow."""
    return reverse("runs")
