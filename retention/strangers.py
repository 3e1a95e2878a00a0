"""What lies in a trash and no cleanup of this registry knows: another site's, an older registry's, or put there by hand.

Its list says what it was and where it lay, though not below which root: roots beside one another share a trash.
What has no list was not put there by a cleanup; it is named, and left to people.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from django.db.models import QuerySet

from retention import graves
from retention.files import Entry, Refused, closing, entered, listing, on_disk, shown
from retention.inventory import LIST, Inventory
from retention.models import PlannedRun
from retention.trash import lying, open_trash, places
from retention.turn import Turn
from retention.unpacking import PREFIX
from runs import audit, masks, volumes
from runs.models import Run, Source
from runs.readers.naming import PUSHED
from runs.readers.tree import join

Step = PlannedRun.Step
#: A grave by the name that PlannedRun gives it.
NAME = re.compile(r"run-(\d{1,18})-plan-(\d{1,18})-[0-9a-f]{8}")
#: What a cleanup is done with lies in no trash any more.
OVER = (Step.PURGED, Step.RESTORED, Step.LOST, Step.SKIPPED, Step.FAILED)


class State(StrEnum):
    """What may become of a stranger."""

    WHOLE = "can be brought back"
    HALF = "its deletion has begun"
    EMPTY = "only its list is left"
    RESTORING = "being restored, or left by a restore that was killed: the next one removes it"
    UNKNOWN = "no list says what it was"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Something in a trash: what its list says of it, what is there now, and the sources that it may have come from."""

    name: str
    state: State
    sources: tuple[Source, ...]
    inventory: Inventory | None = None
    buried: datetime | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def path(self) -> str:
        """Where it lay below its root, for people; empty where nothing tells that."""
        return masks.shown(self.inventory.path) if self.inventory else ""

    @property
    def files(self) -> int:
        """How many lie there now."""
        return sum(entry.kind != "folder" for entry in self.entries)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(entry.size for entry in self.entries if entry.kind == "file")

    @property
    def frees(self) -> int:
        """Bytes of the disk that are free without them."""
        return on_disk(self.entries)

    @property
    def grew(self) -> list[str]:
        """What is not as it was buried."""
        if self.inventory is None or self.state != State.WHOLE:
            return []
        return [shown(entry.path) for entry in self.inventory.changes(self.entries)]

    def home(self, source_id: int | None = None) -> Source | None:
        """The source that it came from: the one that is meant, the only one, or the one that knows a run at its path."""
        known = [one for one in self.sources if source_id in (None, one.pk)]
        if len(known) > 1 and self.inventory is not None:
            runs = Run.objects.filter(source__in=known, path__in=[self.inventory.path, join(self.inventory.path, PUSHED)])
            with_it = set(runs.values_list("source_id", flat=True))
            known = [one for one in known if one.pk in with_it]
        return known[0] if len(known) == 1 else None


@dataclass(frozen=True, slots=True)
class Unseen:
    """A source whose trash cannot be looked at, and why."""

    source: Source
    why: str


def found() -> tuple[list[Stranger], list[Unseen]]:
    """All strangers, the longest there first, and what could not be looked at."""
    sharing, unseen = _trashes()
    some: list[Stranger] = []
    for place, sources in sharing.items():
        try:
            some += _in(place, tuple(sources))
        except (Refused, OSError) as error:
            unseen += [Unseen(source, str(error)) for source in sources if source.enabled]
    some.sort(key=lambda one: (one.buried is None, one.buried or datetime.max.replace(tzinfo=UTC), one.name))
    return some, unseen


def named(name: str) -> Stranger:
    """The stranger of this name; Refused where there is none, or several."""
    same = [one for one in found()[0] if one.name == name]
    if not same:
        raise Refused(f"nothing of the name {_words(os.fsencode(name))} lies in a trash, or a cleanup of this registry knows it")
    if len(same) > 1:
        raise Refused(f"{name} lies in {len(same)} trashes: look at it by hand")
    return same[0]


def bring_back(one: Stranger, source: Source, turn: Turn, author: str, why: str = "") -> None:
    """Put it where it lay, below the root of this source, never over something; the next sync finds it there."""
    turn.check()
    assert one.inventory is not None
    graves.exhume(source.root, one.name, one.inventory.path)
    _over(one, source, "restore stranger", author, why)


def delete(one: Stranger, turn: Turn, author: str, why: str = "") -> int:
    """Delete what its list names and nothing else; the bytes that this frees."""
    turn.check()
    freed = 0 if one.state == State.EMPTY else graves.purge(one.sources[0].root, one.name)
    _over(one, one.sources[0], "purge stranger", author, why, freed=freed)
    return freed


def _over(one: Stranger, source: Source, deed: str, author: str, why: str, freed: int | None = None) -> None:
    """Tell the volume and the audit trail; its list goes last, so that whoever is killed before can do all of it again."""
    volumes.commit([source.root], author)
    audit.record(
        None, deed, source, by=author, why=why, origin="console", grave=one.name, path=one.path, bytes=one.size, freed=freed)
    graves.forget(source.root, one.name)


def _trashes() -> tuple[dict[bytes, list[Source]], list[Unseen]]:
    """Each trash with the sources that use it."""
    sharing: dict[bytes, list[Source]] = defaultdict(list)
    unseen = []
    for source in _sources():
        try:
            for place in places(source.root):
                sharing[place].append(source)
        except Refused as error:
            unseen += [Unseen(source, str(error))] * source.enabled
    return sharing, unseen


def _sources() -> QuerySet[Source]:
    return Source.objects.select_related("trainer").defer("verdicts", "fingerprint").order_by("pk")


def _in(place: bytes, sources: tuple[Source, ...]) -> Iterator[Stranger]:
    there: dict[bytes, set[bytes]] = defaultdict(set)
    for name in lying(place):
        mark = next((mark for mark in (graves.PURGING, LIST) if name.endswith(mark)), b"")
        there[name.removesuffix(mark)].add(mark)
    names = there.keys() - _known(there)
    if names:
        with closing(open_trash(place)) as trash:
            yield from [_look(trash, name, there[name], sources) for name in sorted(names)]


def _known(names: Collection[bytes]) -> set[bytes]:
    """Those of these that the journal of a cleanup knows."""
    ours = [match for name in names if (match := NAME.fullmatch(os.fsdecode(name)))]
    rows = PlannedRun.objects.filter(run__in={int(one[1]) for one in ours}, plan__in={int(one[2]) for one in ours})
    return {row.grave.encode() for row in rows.exclude(step__in=OVER).only("run_id", "plan_id", "digest")}


def _look(trash: int, name: bytes, marks: Collection[bytes], sources: tuple[Source, ...]) -> Stranger:
    inventory, at = _list(trash, name) if LIST in marks and graves.NAME.fullmatch(os.fsdecode(name)) else (None, None)
    left = [name + mark for mark in (b"", graves.PURGING) if mark in marks]
    state = State.RESTORING if name.startswith(PREFIX) else State.UNKNOWN
    if inventory is not None:
        state = State.EMPTY if not left else State.WHOLE if left == [name] else State.HALF
    return Stranger(_words(name), state, sources, inventory, at, tuple(_entries(trash, left)))


def _list(trash: int, name: bytes) -> tuple[Inventory | None, datetime | None]:
    """Its list, and when that was written; nothing where it is damaged."""
    with suppress(Refused, OSError, ValueError):
        at = os.stat(name + LIST, dir_fd=trash, follow_symlinks=False).st_mtime
        return Inventory.read(trash, name), datetime.fromtimestamp(at, UTC)
    return None, None


def _entries(trash: int, names: Sequence[bytes]) -> Iterator[Entry]:
    for name in names:
        try:
            with closing(entered(trash, name, name)) as fd:
                yield from listing(fd)
        except Refused:  # no folder
            with suppress(FileNotFoundError):
                yield Entry.of(b"", os.stat(name, dir_fd=trash, follow_symlinks=False))


def _words(name: bytes) -> str:
    text = os.fsdecode(name)
    return text if graves.NAME.fullmatch(text) else shown(name)
