"""Plants files below a root, by bytes paths: trees for the scan to find."""

from __future__ import annotations

import os
from pathlib import Path

from runs.readers.found import Found, FoundRun, Peeked, Verdicts
from runs.readers.layout import find_runs
from runs.readers.tree import Tree, walk

EVENTS = "events.out.tfevents.1700000000.host.1.0"


def plant(root: Path, *paths: str | bytes, content: bytes = b"x" * 88) -> None:
    """Files with some content; a path that ends in "/" is an empty directory."""
    for path in paths:
        where = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(where), exist_ok=True)
        if not where.endswith(b"/"):
            Path(os.fsdecode(where)).write_bytes(content)


def runs_at(root: Path, *runs: str) -> None:
    """Directories with one event file each."""
    plant(root, *(f"{run}/{EVENTS}" if run else EVENTS for run in runs))


def scan(root: Path) -> Tree:
    walked = walk(os.fsencode(root))
    assert isinstance(walked, Tree)
    return walked


class Peeks:
    """A peek that answers from a table, by the file or its directory, and notes who asked."""

    def __init__(self, answers: dict[str, Peeked] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[str] = []

    def __call__(self, path: bytes) -> Peeked | None:
        name = os.fsdecode(path)
        self.asked.append(name)
        return self.answers.get(name) or self.answers.get(os.path.dirname(name)) or Peeked()


def find(
    root: Path,
    answers: dict[str, Peeked] | None = None,
    *,
    layout: str = "auto",
    known: Verdicts | None = None,
    stale_before_ns: int | None = None,
) -> Found:
    peek = Peeks(answers)
    tree = scan(root)
    return find_runs(tree, layout=layout, peek=peek, known=known, stale_before_ns=stale_before_ns)


def only(found: Found) -> FoundRun:
    """The one run of a tree."""
    (run,) = found.runs
    return run


def paths(found: Found) -> list[str]:
    return [os.fsdecode(run.path) for run in found.runs]


def named(found: Found) -> dict[str, tuple[str, str]]:
    """Path -> dataset and name."""
    return {os.fsdecode(run.path): (run.dataset, run.name) for run in found.runs}


def kinds(tree: Tree) -> dict[bytes, str]:
    """Path -> kind of its problem."""
    return {problem.path: problem.kind for problem in tree.problems}
