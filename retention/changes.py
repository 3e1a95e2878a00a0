"""What has changed since a preview was shown, in words: the page carries what it showed, run by run."""

from __future__ import annotations

from retention.plan import Chosen, Draft

#: Of a digest this much tells two states of a folder apart; of many changes this many are told.
SHORT, TOLD = 12, 50


def seen(made: Draft) -> str:
    """The runs that would go, and what lies in them."""
    return ",".join(f"{one.candidate.id}:{one.seen.digest[:SHORT]}" for one in made.going)


def since(said: str, made: Draft) -> list[str]:
    """What is not as it was shown; ``said`` comes from a form, and decides nothing."""
    before = {pk: digest for pk, _, digest in (one.partition(":") for one in said.split(",")) if pk}
    told = [words for one in made.chosen if (words := _changed(before.pop(str(one.candidate.id), None), one))]
    if before:
        told.append(f"{len(before):,} run{'s are' if len(before) > 1 else ' is'} not among them any more.")
    more = [f"And {len(told) - TOLD:,} more."] if len(told) > TOLD else []
    return [*told[:TOLD], *more]


def _changed(digest: str | None, one: Chosen) -> str:
    name = one.candidate.name
    if one.refusal:
        return f"{name} must stay now: {one.refusal}." if digest is not None else ""
    if digest is None:
        return f"{name} would go now, too."
    return f"What lies in {name} has changed." if digest != one.seen.digest[:SHORT] else ""
