"""Fragments rendered once, at a version, as the JSON that goes to every page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from streaming import access
from streaming.access import Known, Subject
from streaming.fragments import KINDS

#: A fragment as a page asks for it: kind, id, spec.
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a page shows of a run or job at a version, as JSON."""

    version: int
    encoded: bytes


def render(
    subjects: list[Subject], wanted: Mapping[tuple[str, str], set[int]], held: Mapping[Key, int]
) -> tuple[dict[Subject, Known], dict[Key, Fragment]]:
    """What is known of these runs and jobs, and the fragments of these kinds and specs that are newer than those held.

    Each carries the version that its subject had before it was rendered: it shows that one or a newer one.
    """
    runs, jobs = ({pk for kind, pk in subjects if kind == one} for one in ("run", "job"))
    found = access.versions(runs, jobs)
    made: dict[Key, Fragment] = {}
    for (kind, spec), some in wanted.items():
        subject = KINDS[kind].subject
        newer = [pk for pk in some if (subject, pk) in found and found[subject, pk].version > held.get((kind, pk, spec), -1)]
        for pk, content in (KINDS[kind].render(newer, spec) if newer else {}).items():
            version = found[subject, pk].version
            shown = {"html": content + ""} if isinstance(content, str) else {"data": content}
            said = {"kind": kind, "id": pk, "version": version, **({"spec": spec} if spec else {}), **shown}
            made[kind, pk, spec] = Fragment(version, msgspec.json.encode(said))
    return found, made
