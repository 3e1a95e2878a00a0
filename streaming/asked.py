"""What a page says over its socket."""

from __future__ import annotations

from typing import Annotated

import msgspec
from django.core.exceptions import SuspiciousOperation
from msgspec import UNSET, Meta, Struct, UnsetType

from streaming.access import Subject
from streaming.fragments import KINDS

#: Bytes of a message, entries of all sorts, and different kinds and specs in it: each is rendered by itself.
LONGEST, MOST_ENTRIES, MOST_SPECS = 256 * 1024, 1000, 20

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
#: runs.newer.Place
Place = tuple[Id, Small, Small, Count, Count]


class Watched(Struct):
    """A fragment that the page shows, and the version that it has of it."""

    kind: Annotated[str, Meta(max_length=40)]
    id: Id
    version: int = -1
    spec: Annotated[str, Meta(max_length=10_000)] = ""


class Charted(Struct):
    """A series that the page draws, up to the point that it has (``place`` of /api/series/)."""

    run: Id
    tag: Annotated[str, Meta(max_length=2000)]
    since: Place | None = None


class Tailed(Struct):
    """A log of which the page has ``line`` lines and wants the next; one file of it, or all."""

    job: Id
    line: Count = 0
    stream: Id | None = None


class Asked(Struct):
    """One message: an acknowledgement, or all that the page shows (it replaces what was said before)."""

    ack: Count | UnsetType = UNSET
    watch: list[Watched] | UnsetType = UNSET
    lists: bool | UnsetType = UNSET
    series: list[Charted] | UnsetType = UNSET
    tail: list[Tailed] | UnsetType = UNSET

    @property
    def subscribes(self) -> bool:
        """Whether it says what the page shows."""
        return any(part is not UNSET for part in (self.watch, self.lists, self.series, self.tail))

    @property
    def entries(self) -> int:
        """How much it asks for."""
        return sum(len(part or []) for part in (self.watch, self.series, self.tail))

    def subjects(self) -> tuple[set[int], set[int]]:
        """The runs and jobs that it names."""
        named: dict[str, set[int]] = {"run": set(), "job": set()}
        for one in self.watch or []:
            named[KINDS[one.kind].subject].add(one.id)
        named["run"] |= {one.run for one in self.series or []}
        named["job"] |= {one.job for one in self.tail or []}
        return named["run"], named["job"]


_decoder = msgspec.json.Decoder(Asked)


def read(text: str) -> Asked:
    """A message; ValueError says what is wrong with it."""
    if len(text) > LONGEST:
        raise ValueError(f"a message has at most {LONGEST} bytes")
    try:
        asked = _decoder.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(str(error)) from error
    if asked.entries > MOST_ENTRIES:
        raise ValueError(f"a page shows at most {MOST_ENTRIES} things at once")
    for said in (*(one.spec for one in asked.watch or []), *(one.tag for one in asked.series or [])):
        if "\0" in said or any("\ud800" <= sign <= "\udfff" for sign in said):
            raise ValueError("names have neither NUL nor half characters")
    specs = {(one.kind, one.spec) for one in asked.watch or []}
    if len(specs) > MOST_SPECS:
        raise ValueError(f"at most {MOST_SPECS} different kinds and specs")
    for kind, spec in specs:
        if kind not in KINDS:
            raise ValueError(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
        try:
            KINDS[kind].check(spec)
        except SuspiciousOperation as error:  # more fields than a query string may have
            raise ValueError("the spec has too many parts") from error
    return asked


def subject_of(kind: str, pk: int) -> Subject:
    """What a fragment is of."""
    return KINDS[kind].subject, pk
