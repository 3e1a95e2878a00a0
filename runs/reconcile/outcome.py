"""What a comparison says: differences, and what could not be compared."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Differences of a run that are told one by one; all are counted.
TOLD = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the registry and the files differ.

    ``more`` counts the positions behind it that differ in the same way.
    """

    run: int
    name: str
    what: str
    ours: str
    theirs: str
    file: str = ""
    tag: str = ""
    part: int | None = None
    position: int | None = None
    more: int = 0

    def __str__(self) -> str:
        place = ": ".join(one for one in (
            f"run {self.run} ({self.name})", self.file, self.tag,
            "" if self.part is None else f"part {self.part}",
            "" if self.position is None else f"point {self.position:,}") if one)
        more = f" (and {self.more:,} more)" if self.more else ""
        return f"{place}: {self.what}: ours {self.ours}, the file's {self.theirs}{more}"


@dataclass(frozen=True, slots=True)
class Note:
    """What is no difference, but should be known: "cannot be compared", "not yet synced", ..."""

    run: int
    file: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"run {self.run}: {self.file}: {self.kind}" + (f" ({self.detail})" if self.detail else "")


@dataclass(slots=True)
class Compared:
    """What was compared, of one run or of several."""

    runs: int = 0
    files: int = 0
    records: int = 0
    points: int = 0
    texts: int = 0
    samples: int = 0
    found: int = 0
    differences: list[Difference] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def tell(self, difference: Difference) -> None:
        """A difference; a hundred are kept."""
        self.found += 1 + difference.more
        if len(self.differences) < TOLD:
            self.differences.append(difference)

    def add(self, other: Compared) -> None:
        """Count another run too."""
        for name in ("runs", "files", "records", "points", "texts", "samples", "found"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.differences += other.differences
        self.notes += other.notes


def shown(value: Any) -> str:
    """A value for people, exact: a NaN with its bits."""
    if isinstance(value, np.generic):
        bits = f" 0x{value.tobytes()[::-1].hex()}" if value != value else ""
        return f"{value.item()!r}{bits} ({value.dtype.str})"
    if isinstance(value, float) and value != value:
        return f"nan 0x{struct.pack('>d', value).hex()}"
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."


def same(ours: Any, theirs: Any) -> bool:
    """Equality by bits for floats, where == tells no NaN from another and no -0 from 0."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return struct.pack("<d", ours) == struct.pack("<d", theirs)
    return bool(ours == theirs)
