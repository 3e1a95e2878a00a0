"""Names that were stored before they were masked, or before a rule was: masked now, as a sync would store them today.

What is masked stays, so doing it twice changes nothing.  Where a sync has meanwhile made the same name anew, the
older row is called ``...~earlier``: nothing is merged, and nothing lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from django.db import IntegrityError, connection, models, transaction
from django.db.models import F

from runs import audit, masks, redact, signals
from runs.models import Checkpoint, Dataset, Job, Run, Sample, Tag, TextSummary

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Names:
    """A column of names, how they are masked, and the runs that show a row's."""

    model: type[models.Model]
    field: str
    mask: Callable[[Any], Any]
    runs: str = "run"

    @property
    def words(self) -> str:
        """What is counted, for people."""
        field: Any = self.model._meta.get_field(self.field)
        return f"{self.model._meta.verbose_name}: {field.verbose_name}"

    def stale(self) -> Iterator[list[tuple[int, Any]]]:
        """Rows that would be called otherwise today, with that name; as many at a time as are looked at together."""
        rows = self.model._default_manager.order_by("pk").values_list("pk", self.field)
        last = 0
        while found := list(rows.filter(pk__gt=last)[:BATCH]):
            last = found[-1][0]
            yield [(pk, new) for pk, said in found if (new := self.mask(said)) != said]

    def rename(self, pk: int, new: Any) -> None:
        """Give a row its name, or one beside it where another has that."""
        longest = getattr(self.model._meta.get_field(self.field), "max_length", None)
        for number in count():
            ending = "" if not number else "~earlier" if number == 1 else f"~earlier-{number}"
            called = new[: longest - len(ending) if longest else None] + ending if isinstance(new, str) else new
            try:
                with transaction.atomic():
                    self.model._default_manager.filter(pk=pk).update(**{self.field: called})
                return
            except IntegrityError:
                if number > BATCH:
                    raise


def _sidecars(said: dict[str, Any]) -> dict[str, Any]:
    return {masks.path_again(name): seen for name, seen in said.items()}


def _warnings(said: list[Any]) -> list[Any]:
    return [{**one, "path": masks.path_again(one["path"])} if isinstance(one, dict) and "path" in one else one for one in said]


NAMES = (
    Names(Tag, "name", masks.name_again, "series__run"),
    Names(Dataset, "name", masks.path_again, "runs"),
    Names(Run, "name", masks.path_again, "pk"),
    Names(Run, "host", masks.path_again, "pk"),
    Names(Run, "sidecars", _sidecars, "pk"),
    Names(Run, "warnings", _warnings, "pk"),
    Names(Job, "external_id", masks.name_again),
    Names(Checkpoint, "said", masks.words_again),
    Names(Sample, "said", masks.words_again),
    Names(Sample, "tag", redact.text),
    Names(TextSummary, "tag", redact.text),
)


def mask_stored(*, write: bool = True) -> dict[str, int]:
    """Mask all stored names that need it; how many of each kind there were."""
    found: dict[str, int] = {}
    for names in NAMES:
        for rows in names.stale():
            found[names.words] = found.get(names.words, 0) + len(rows)
            if write and rows:
                for pk, new in rows:
                    names.rename(pk, new)
                _tell(names, [pk for pk, _ in rows])
    found = {words: number for words, number in found.items() if number}
    if write and found:
        audit.record(None, "mask names", names=found)
    return found


def _tell(names: Names, rows: list[int]) -> None:
    """The next version of the runs that show these rows, and words that they are found by."""
    shown = names.model._default_manager.filter(pk__in=rows).order_by().values_list(names.runs, flat=True).distinct()
    runs = sorted({pk for pk in shown if pk is not None})
    for at in range(0, len(runs), BATCH):
        with transaction.atomic():
            locked = Run.objects.select_for_update().filter(pk__in=runs[at : at + BATCH]).order_by("pk")
            mine = dict(locked.values_list("pk", "version"))
            Run.objects.filter(pk__in=mine).update(version=F("version") + 1)
            if names.model is Dataset:  # no trigger of the database follows it
                with connection.cursor() as cursor:
                    cursor.execute("SELECT runs_refresh_texts(%s)", [list(mine)])
            signals.tell(runs={pk: version + 1 for pk, version in mine.items()})
