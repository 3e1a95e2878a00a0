"""TensorBoard on the registry's pages, which know nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template

from streaming.tensorboard import shortfalls
from streaming.tensorboard.asking import MOST_MINUTES
from streaming.tensorboard.panel import MARKS, panel_of

if TYPE_CHECKING:
    from runs.models import Trainer

register = template.Library()


@register.inclusion_tag("_tensorboard.html", takes_context=True)
def tensorboard_panel(context: dict[str, Any], trainer: Trainer) -> dict[str, Any]:
    """How its TensorBoard stands, and for operators the buttons."""
    form = context.get("asked")
    return {"panel": panel_of(trainer, context["user"]), "asked": form, "most_minutes": MOST_MINUTES}


@register.inclusion_tag("_tensorboard_less.html")
def tensorboard_shortfalls(trainer: Trainer) -> dict[str, Any]:
    """The runs of which it is known to show less than these pages."""
    sources = [source.pk for source in trainer.sources.all() if source.enabled]
    return {"less": shortfalls.of_sources(sources)}


@register.filter
def tensorboard_mark(state: str) -> str:
    """The sign of a state."""
    return MARKS.get(state, "unknown")
