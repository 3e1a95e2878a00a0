"""What has changed since a preview was shown, in words: the page carries what it showed, run by run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from retention.plan import Chosen, Draft

#: Of a digest this much tells two states of a folder apart; of many changes this many are told.
SHORT, TOLD = 12, 50


class Shown(NamedTuple):
    """A run of a preview: how it stands, why it is left alone where it is, and what is said where it stands otherwise."""

    id: int
    name: str
    state: str
    refusal: str = ""
    news: str = ""


def shown(made: Draft) -> Iterator[Shown]:
    """The runs of a draft; how one stands is what lies in it."""
    for one in made.chosen:
        yield Shown(one.candidate.id, one.candidate.name, lies(one), one.refusal)


def lies(one: Chosen) -> str:
    """What lies in a run, in short."""
    return one.seen.digest[:SHORT]


def seen(runs: Iterable[Shown]) -> str:
    """The runs that would go, and how they stand."""
    return ",".join(f"{one.id}:{one.state}" for one in runs if not one.refusal)


def since(said: str, runs: Iterable[Shown]) -> list[str]:
    """What is not as it was shown; ``said`` comes from a form, and decides nothing."""
    before = {pk: state for pk, _, state in (one.partition(":") for one in said.split(",")) if pk}
    told = [words for one in runs if (words := _changed(before.pop(str(one.id), None), one))]
    told += [f"Run {pk} is not among them any more." for pk in before if pk.isascii() and pk.isdigit() and len(pk) < 20]
    more = [f"And {len(told) - TOLD:,} more."] if len(told) > TOLD else []
    return [*told[:TOLD], *more]


def _changed(state: str | None, one: Shown) -> str:
    if one.refusal:
        return f"{one.name} would be left alone now: {one.refusal}." if state is not None else ""
    if state is None:
        return f"{one.name} is among them now, too."
    if state == one.state:
        return ""
    return one.news or f"What lies in {one.name} has changed."
