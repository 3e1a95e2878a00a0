"""How values are written on pages: numbers, sizes, times, statuses.

One place, so that the same value looks the same everywhere.  A missing value is a dash,
zero is 0; what is shortened has its full value in the title.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import template
from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import now

from runs.models import Job, Run, Source
from runs.models.trainer import as_of, stale_before, stale_from
from runs.status import duration as duration_in_words

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

register = template.Library()

# Numbers and times are written without escaping: digits need none, and a list has a thousand of them.

DASH = format_html('<span class="none">{}</span>', "–")
STARRED = re.compile(r"\*\*([^*\n]{1,200})\*\*")
SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def fresh_days() -> float:
    """Days up to which data counts as fresh (green)."""
    return float(settings.TRAINMON_FRESH_DAYS)


def old_days() -> float:
    """Days from which data counts as old (red)."""
    return float(settings.TRAINMON_OLD_DAYS)


@register.filter
def number(value: float | None) -> SafeString:
    """A value in four significant digits, in full in the title."""
    if value is None:
        return DASH
    short, full = four_digits(value), repr(value)
    return mark_safe(short if short == full else f'<span title="{full}">{short}</span>')


def four_digits(value: float) -> str:
    """0.02346, 1,235, 1.235e-05, NaN, -Inf: an exponent only beyond 1e-4 and 1e6."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        return f"{value:.3e}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


@register.filter
def count(value: int | None) -> SafeString:
    """A whole number with its thousands apart."""
    return DASH if value is None else mark_safe(f"{value:,}")


@register.filter
def size(value: int | None) -> SafeString:
    """Bytes in binary units, exact in the title."""
    if value is None:
        return DASH
    power = 0 if value < 1024 else min(int(math.log2(value) // 10), len(SIZES) - 1)
    if power == 0:
        return mark_safe(f"{value} B")
    short = value / 1024**power
    text = f"{short:.0f}" if short >= 100 else f"{short:.1f}"
    return mark_safe(f'<span title="{value:,} B">{text} {SIZES[power]}</span>')


@register.filter
def duration(value: float | timedelta | None) -> SafeString:
    """Seconds as 12 s, 9 m 12 s, 1 h 04 m."""
    if value is None:
        return DASH
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not math.isfinite(seconds) or seconds < 0:
        return DASH
    return mark_safe("0 s" if seconds == 0 else duration_in_words(seconds))


@register.filter
def moment(value: datetime | float | None) -> datetime | None:
    """A time from Unix seconds; None for what is none (NaN, beyond the calendar)."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@register.filter
def ago(value: datetime | float | None) -> SafeString:
    """A time relative to now, with the absolute UTC time in the title."""
    at = moment(value)
    if at is None:
        return DASH
    title = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return mark_safe(f'<time datetime="{at.isoformat()}" title="{title}">{relative(at, now())}</time>')


def relative(at: datetime, frozen_now: datetime) -> str:
    """12 s ago, 5 m ago, 3 h ago, 2 d ago; a clock that runs ahead is called so."""
    seconds = (frozen_now - at).total_seconds()
    if seconds < -60:
        return f"in {coarse(-seconds, 0.5)}"
    return "now" if seconds < 1 else f"{coarse(seconds)} ago"


def coarse(seconds: float, more: float = 0) -> str:
    """A duration in its largest unit: lists are read at a glance.  ``more``: 0.5 rounds, so that a week from now is in 7 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds / length + more):,} {unit}"
    return f"{int(seconds)} s"


@register.filter
def utc(value: datetime | float | None) -> SafeString:
    """A time as it was, in UTC."""
    at = moment(value)
    if at is None:
        return DASH
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


@register.filter
def age(value: datetime | None) -> str:
    """fresh, recent or old, by the thresholds in the settings; unknown where there is no time."""
    if value is None:
        return "unknown"
    days = (now() - value).total_seconds() / 86400
    return "fresh" if days < fresh_days() else "recent" if days < old_days() else "old"


@register.simple_tag
def age_rule() -> str:
    """The thresholds of the age colours, in words."""
    return (
        f"Age: green under {fresh_days():g} d, yellow under {old_days():g} d, red beyond; "
        "grey where there is no file."
    )


@register.filter
def shown_status(subject: Run | Job) -> str:
    """The status as it is shown: ``stalled`` is a mark on running."""
    return "stalled" if getattr(subject, "stalled", False) and subject.status == "running" else subject.status


@register.filter
def words(said: str) -> list[str]:
    """The words of a line, to go through in a template."""
    return said.split()


@register.filter
def of(counts: dict[str, int], key: str) -> int:
    """What a mapping counts under a key; nothing is 0."""
    return counts.get(key, 0)


@register.filter
def source_mark(source: Source) -> str:
    """The colour and shape of a source's state: those of the status of a run that stands as well or badly."""
    marks = {"synced": "finished", "failing": "failed", "stale": "stalled", "never synced": "queued"}
    return marks.get(source.state, "killed")


@register.filter
def percent(share: float | None) -> str:
    """A share of 1 in percent; the last one only when all is done."""
    if share is None:
        return ""
    return "100" if share >= 1 else f"{math.floor(share * 1000) / 10:.1f}"


@register.filter
def marks(run: Run) -> list[tuple[str, str]]:
    """What is odd about a run, as (word, title)."""
    odd: list[tuple[str, str]] = []
    if run.demo:
        odd.append(("demo", "Made to show trainmon, not by a real trainer"))
    if run.early_stopped:
        odd.append(("early stopped", "It ended before its last step, by its own rule"))
    if run.files_missing:
        odd.append(("files missing", "Its files are gone from disk; what was read of them is kept"))
    if run.points_dropped:
        odd.append(("points dropped", "Its charts are empty until it is restored from its archive"))
    if run.bad_records or run.lost_bytes:
        odd.append(("damaged", f"{run.bad_records:,} damaged records, {run.lost_bytes:,} bytes lost"))
    if run.unreadable:
        odd.append(("not read", f"{run.unreadable:,} of its files cannot be read further"))
    if run.warnings:
        odd.append((f"{len(run.warnings)} warnings" if len(run.warnings) > 1 else "warning", said(run.warnings)))
    if run.lifecycle_stage != Run.Stage.ACTIVE:
        odd.append((run.get_lifecycle_stage_display(), "Retention has taken it out of the list"))
    return odd


def said(warnings: list[Any]) -> str:
    """The first warnings in one line each."""
    return "\n".join(warning_text(warning) for warning in warnings[:10])


@register.filter
def warning_text(warning: Any) -> str:
    """A warning of a scan or of a source in words: kind, path, detail."""
    if not isinstance(warning, dict):
        return str(warning)
    parts = [str(warning.get(key) or "") for key in ("kind", "path", "detail")]
    rest = [f"{key} {value}" for key, value in warning.items() if key not in {"kind", "path", "detail"}]
    return ": ".join(filter(None, parts)) + (f" ({', '.join(rest)})" if rest else "")


@register.filter
def evidence(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a status rests on, as (name, value), without what is not known."""
    return [(key.replace("_", " "), plain(value)) for key, value in facts.items() if value is not None]


@register.filter
def plain(value: Any) -> str:
    """A parameter as it was written; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def emphasis(said: str) -> SafeString:
    """A text as it was logged, with what stands between two pairs of stars in bold."""
    pieces = STARRED.split(said)
    return format_html_join("", "{}", (
        (format_html("<b>{}</b>", piece) if place % 2 else piece,) for place, piece in enumerate(pieces)))


@register.simple_tag(takes_context=True)
def data_as_of(context: dict[str, Any]) -> dict[str, Any]:
    """The moment up to which the slowest healthy source was read, and how many are not healthy.

    On the page of a run its own source's moment.  A view that knows all sources which the user may see
    gives them as ``sources_seen``.
    """
    user: User | AnonymousUser = context["user"]
    if not user.is_authenticated:
        return {}
    if "sources_seen" in context:
        sources = [(one.status, one.as_of) for one in context["sources_seen"] if one.enabled]
    else:
        enabled = Source.objects.visible_to(user).filter(enabled=True)
        rows = enabled.order_by().values_list("status", "last_synced", "followed")
        sources = [(status, as_of(synced, followed)) for status, synced, followed in rows]
    run = context.get("run")
    if isinstance(run, Run):
        at = run.source.as_of
    else:
        broken = (Source.Status.ERROR, Source.Status.NEW)
        at = min((read for status, read in sources if status not in broken and read is not None), default=None)
    return {
        "at": at,
        "until": stale_from(at) if at else None,
        "failing": sum(status == Source.Status.ERROR for status, _ in sources),
        "sources": len(sources),
        "stale": at is not None and at < stale_before(),
    }
