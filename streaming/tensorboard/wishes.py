"""Whether a TensorBoard should run now, and what is said where it should not. Pure: values in, a value out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.models import Source
from streaming.models import TensorBoard

State, Mode = TensorBoard.State, TensorBoard.Mode


@dataclass(frozen=True)
class Wish:
    """``runs``, or else how it rests and why."""

    runs: bool
    state: TensorBoard.State = State.STOPPED
    reason: str = ""


def wished(row: TensorBoard, sources: Sequence[Source], now: datetime) -> Wish:
    """What is wanted of it at this moment."""
    if not sources:
        return Wish(False, State.STOPPED, "No source of this trainer is enabled.")
    if row.until is not None and row.until > now:
        return Wish(True)
    if row.mode == Mode.ALWAYS:
        return Wish(True)
    if row.mode == Mode.DEMAND:
        if row.visited is not None and row.visited > now - timedelta(minutes=row.idle_after):
            return Wish(True)
        return Wish(False, State.ASLEEP, f"Nobody has looked for {row.idle_after} minutes; it wakes with the next visit.")
    if row.until is not None:
        return Wish(False, State.STOPPED, f"Its time was over at {row.until:%Y-%m-%d %H:%M} UTC.")
    return Wish(False, State.STOPPED, "Somebody stopped it.")
