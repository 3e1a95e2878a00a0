"""Which colour and dash a run is drawn in, wherever it is drawn (static/js/colours.js says the same).

A run's colour is its id modulo ten, so that it keeps it on every page.  Of several runs that are
shown together and share a colour, the one with the lowest id is solid and the next ones take the
dashes in turn; a seventh takes the next colour that has a dash left.  So no two look alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

COLOURS = 10
#: Lengths of stroke and gap in pixels: solid, dashed, dotted, dash-dot, long, dash-dot-dot.
DASHES = ((), (6, 3), (2, 3), (8, 3, 2, 3), (12, 4), (8, 3, 2, 3, 2, 3))


class Look(NamedTuple):
    """A colour (--w0 to --w9 of theme.css) and a dash (an index of DASHES)."""

    colour: int
    dash: int

    @property
    def css(self) -> str:
        """The classes that draw it."""
        return f"w{self.colour} d{self.dash}"


def looks(runs: Iterable[int]) -> dict[int, Look]:
    """The look of each of the runs that are shown together, at most sixty."""
    used = [0] * COLOURS
    found: dict[int, Look] = {}
    for run in sorted(set(runs)):
        nearest = ((run + away) % COLOURS for away in range(COLOURS))
        colour = next((colour for colour in nearest if used[colour] < len(DASHES)), run % COLOURS)
        found[run] = Look(colour, used[colour] % len(DASHES))
        used[colour] += 1
    return found
