"""The run that a job log means when its start record names one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

from runs.readers.claims import Claim

#: No path is longer; trying each end of a longer one would cost its square.
LONGEST: Final = 4096


class RunsByName:
    """Finds a run by ``ds/run``, ``run`` or ``/where/it/was/trained/ds/run``."""

    def __init__(self, root: bytes, claims: Iterable[Claim]) -> None:
        self.root = root.rstrip(b"/")
        self.by_path = {c.path: c for c in claims if c.top is not None and not c.undecided}

    @cached_property
    def by_end(self) -> dict[bytes, list[Claim]]:
        """Runs by the ends of their paths."""
        found: dict[bytes, list[Claim]] = {}
        for path, claim in self.by_path.items():
            for end in _ends(path):
                found.setdefault(end, []).append(claim)
        return found

    def first(self, named: tuple[str, ...]) -> Claim | None:
        """The run of the first name that means one run."""
        for name in named:
            claim = self._one(name.encode("utf-8", "surrogatepass"))
            if claim is not None:
                return claim
        return None

    def _one(self, name: bytes) -> Claim | None:
        if len(name) > LONGEST:
            return None
        if name and name.rstrip(b"/") == self.root:
            return self.by_path.get(b"")
        names = [part for part in name.split(b"/") if part not in (b"", b".")]
        if not names or b".." in names:
            return None
        whole = b"/".join(names)
        for end in _ends(whole):  # a path of the trainer's machine: its longest end that is ours
            if end in self.by_path:
                return self.by_path[end]
        meant = self.by_end.get(whole, [])
        return meant[0] if len(meant) == 1 else None


def _ends(path: bytes) -> Iterator[bytes]:
    """``a/b/c``, ``b/c``, ``c``."""
    while path:
        yield path
        path = path.partition(b"/")[2]
