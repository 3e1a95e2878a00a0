"""What the list of runs on disk is filtered by, beside the trainer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Q
from django.utils.timezone import now

from runs.admin.registry import TrainerFilter
from runs.models import Run
from runs.templatetags.shown import fresh_days, old_days

if TYPE_CHECKING:
    from django.http import HttpRequest

MIB, GIB = 2**20, 2**30
#: Sizes from (included) and to.
SIZES: dict[str, tuple[str, int, int | None]] = {
    "10g": ("10 GiB and more", 10 * GIB, None),
    "1g": ("1 to 10 GiB", GIB, 10 * GIB),
    "100m": ("100 MiB to 1 GiB", 100 * MIB, GIB),
    "1m": ("1 to 100 MiB", MIB, 100 * MIB),
    "0": ("under 1 MiB", 0, MIB),
}


class TrainerOfRunFilter(TrainerFilter):
    """What belongs to runs of one trainer."""

    through = "run__source__trainer"


class StageFilter(admin.SimpleListFilter):
    """Where a run's files are; those that take room, unless something else is asked for."""

    title, parameter_name = "stage", "stage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Each stage, and all."""
        return [*((str(stage.value), str(stage.label)) for stage in Run.Stage), ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        """The first is what is shown where nothing is chosen."""
        first, *others = super().choices(changelist)
        return [{**first, "display": "active or in the trash"}, *others]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Runs of the chosen one."""
        if self.value() is None:
            return queryset.exclude(lifecycle_stage__in=(Run.Stage.PURGED, Run.Stage.LOST))
        return queryset if self.value() == "all" else queryset.filter(lifecycle_stage=self.value())


class AgeFilter(admin.SimpleListFilter):
    """How long ago a file of a run last changed, by the thresholds of the age colours."""

    title, parameter_name = "last modified", "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The colours."""
        fresh, old = fresh_days(), old_days()
        return [("old", f"{old:g} d ago or earlier"), ("recent", f"{fresh:g} to {old:g} d ago"),
                ("fresh", f"under {fresh:g} d ago"), ("unknown", "unknown")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Runs of the chosen colour."""
        at = now()
        fresh, old = at - timedelta(days=fresh_days()), at - timedelta(days=old_days())
        terms = {"old": Q(modified__lte=old), "recent": Q(modified__gt=old, modified__lte=fresh),
                 "fresh": Q(modified__gt=fresh), "unknown": Q(modified=None)}
        return queryset.filter(terms[self.value() or ""]) if self.value() in terms else queryset


class SizeFilter(admin.SimpleListFilter):
    """How large a run is."""

    title, parameter_name = "size", "bytes"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The largest first."""
        return [(key, words) for key, (words, _, _) in SIZES.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Runs of the chosen size."""
        if (chosen := self.value() or "") not in SIZES:
            return queryset
        _, least, below = SIZES[chosen]
        queryset = queryset.filter(size__gte=least)
        return queryset if below is None else queryset.filter(size__lt=below)


class HeldFilter(admin.SimpleListFilter):
    """Whether somebody holds a run now."""

    title, parameter_name = "held", "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Yes and no."""
        return [("1", "yes"), ("0", "no")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Held runs, or the others."""
        held = Q(hold__isnull=False) & (Q(hold__until=None) | Q(hold__until__gt=now()))
        return {"1": queryset.filter(held), "0": queryset.exclude(held)}.get(self.value() or "", queryset)
