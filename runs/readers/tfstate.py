"""Where the reader of an event file goes on, and what it must remember to go on alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from runs.readers.remembered import dumped, loaded

#: A part begins where a step falls below the smallest of this many steps of its tag.
WINDOW = 64
FORMAT = 1
_LARGEST_DUMP = 1 << 30


@dataclass(slots=True)
class State:
    """The reader's memory between two blocks; ``read`` copies it and changes the copy.

    ``offset`` is the start of the next record.  After a bad header it is where the search
    for the next valid one goes on, and ``lost_from`` where the lost bytes begin (-1: none).
    ``tags`` numbers every tag in order of appearance.  ``windows`` holds, by that number,
    the part and the last 64 steps in it.  ``plugins`` is tag -> plugin, first word wins.
    ``cache`` holds learned templates: never dumped, it changes speed only.
    """

    offset: int = 0
    part: int = 0
    started: bool = False
    summaries: bool = False
    lost_from: int = -1
    lost_kind: str = ""
    searched: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    windows: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    cache: object = None

    def copy(self) -> State:
        """A copy to change: the dictionaries are new, the arrays in them never change."""
        return State(self.offset, self.part, self.started, self.summaries, self.lost_from,
                     self.lost_kind, self.searched, dict(self.tags), dict(self.windows),
                     dict(self.plugins), self.cache)

    def dump(self) -> bytes:
        """Few KB for 1,000 tags whose steps run alike: equal windows are stored once."""
        numbers: dict[bytes, int] = {}
        windows = {
            tag: numbers.setdefault(steps.tobytes(), len(numbers))
            for tag, (part, steps) in self.windows.items()
            if part == self.part
        }
        packed = _Dump(
            FORMAT, self.offset, self.part, self.started, self.summaries, self.lost_from,
            self.lost_kind, self.searched, list(self.tags), windows,
            [np.diff(np.frombuffer(steps, np.int64), prepend=0).tobytes() for steps in numbers],
            self.plugins,
        )
        return dumped(packed)

    @classmethod
    def load(cls, dump: bytes) -> State:
        """ValueError where ``dump`` is none of ours: the caller reads from 0 again."""
        packed = loaded(dump, _Dump, FORMAT, _LARGEST_DUMP)
        steps = [np.cumsum(np.frombuffer(one, np.int64)) for one in packed.steps]
        return cls(
            packed.offset, packed.part, packed.started, packed.summaries, packed.lost_from,
            packed.lost_kind, packed.searched,
            {tag: number for number, tag in enumerate(packed.tags)},
            {tag: (packed.part, steps[number]) for tag, number in packed.windows.items()},
            packed.plugins,
        )


class _Dump(msgspec.Struct, array_like=True):
    format: int
    offset: int
    part: int
    started: bool
    summaries: bool
    lost_from: int
    lost_kind: str
    searched: int
    tags: list[str]
    windows: dict[int, int]
    steps: list[bytes]
    plugins: dict[str, str]
