"""How jobs are drawn: progress, bars and stages, with widths as attributes, since pages may hold no styles."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from runs import cancelling, filenames, jobcards
from runs.readers.progress import Stage
from runs.templatetags.shown import DASH, count, duration, number, percent, plain

if TYPE_CHECKING:
    from datetime import datetime

    from runs.models import Checkpoint, Job, Sample

register = template.Library()

register.filter("bars", jobcards.bars)
register.filter("gpus", jobcards.gpus)
register.filter("timeline", jobcards.timeline)
register.filter("stays", jobcards.stays)
register.filter("why_not_cancelled", cancelling.why_not)

#: Colours of the timeline by the usual stages; others take theirs from their letters.
COLOURS = {stage.value: place % 10 for place, stage in enumerate(Stage)}


@register.filter
def last_line(job: Job) -> datetime | None:
    """When its log last said anything."""
    return jobcards.last_line(job)


@register.filter
def meter(share: float | None, label: str = "") -> SafeString:
    """A bar that fills its place; nothing where the share is not known."""
    if share is None:
        return SafeString("")
    return format_html(
        '<svg class="meter" role="img" aria-label="{} {} %"><rect width="{}%" height="100%"/></svg>',
        label, percent(share), percent(share),
    )  # fmt: skip


@register.filter
def stage_colour(stage: str) -> str:
    """The class of a stage's colour."""
    return f"w{COLOURS.get(stage, sum(map(ord, stage)) % 10)}"


@register.filter
def strip(job: Job) -> SafeString:
    """The timeline as one bar."""
    drawn = ((stage_colour(one.stage), f"{one.at:.3f}", f"{max(one.width, 0.15):.3f}", one.stage, duration(one.seconds))
             for one in jobcards.timeline(job))
    rects = format_html_join("", '<rect class="{}" x="{}%" width="{}%" height="100%"><title>{} {}</title></rect>', drawn)
    return format_html('<svg class="strip" role="img" aria-label="Stages, one after the other">{}</svg>', rects)


@register.filter
def as_percent(value: float | None) -> SafeString:
    """A number of percents; a missing one is a dash."""
    return DASH if value is None else format_html("{} %", figure(value))


@register.filter
def figure(value: float | None) -> SafeString:
    """A figure as a machine told it: whole numbers whole, others in four digits."""
    whole = value is not None and abs(value) < 2**53 and float(value).is_integer()
    return count(int(value)) if value is not None and whole else number(value)


@register.filter
def download_of(checkpoint: Checkpoint, job: Job) -> str:
    """Where the bytes of a checkpoint are."""
    return reverse("api:job-checkpoint", args=[job.pk, filenames.name_of(checkpoint)])


@register.filter
def short_name(sample: Sample) -> str:
    """What an image is called: its file, else its tag and which of those of its step it is."""
    if sample.said:
        return PurePosixPath(sample.said).name
    return sample.tag if sample.index is None else f"{sample.tag} · {sample.index}"


@register.filter
def said_of(asked: dict[str, Any], name: str) -> Any:
    """What a question says under a name; nothing is empty."""
    return asked.get(name, "")


@register.filter
def clock(stamp: str | None) -> str:
    """The time of day of a line, to the millisecond."""
    return stamp[11:23] if stamp else ""


@register.filter
def first_line(message: str) -> str:
    """What of a message stands in its line; static/js/job_log.js does the same."""
    return message.split("\n", 1)[0]


@register.filter
def unfolded(line: dict[str, Any]) -> str:
    """What else a line holds: the rest of its message, its fields."""
    rest = line["message"].partition("\n")[2]
    told = [f"{name}: {plain(value)}" for name, value in line["fields"].items()]
    return "\n".join(filter(None, [rest, *told]))
