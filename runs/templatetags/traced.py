"""What an administrator finds a request's log lines by."""

from __future__ import annotations

from django import template

from runs import correlation

register = template.Library()


@register.simple_tag
def correlation_id() -> str:
    """The id that the answer's header names, too."""
    return correlation.current()
