"""Looks into files where a name does not decide, remembered from scan to scan."""

from __future__ import annotations

from runs.readers.found import Peek, Peeked, Verdict, Verdicts
from runs.readers.tree import File


class Peeks:
    """Looks into files, once each, and only where no earlier look still holds."""

    def __init__(self, peek: Peek, known: Verdicts) -> None:
        self.peek = peek
        self.known = known
        self.verdicts: dict[bytes, Verdict] = {}

    def at(self, path: bytes, file: File) -> Peeked:
        """What is known of a file, looked up now or before."""
        if file.size == 0:
            return Peeked()
        verdict = self.verdicts.get(path) or self.known.get(path)
        if verdict is None or not verdict.holds_for(file):
            peeked = self.peek(path)
            if peeked is None:  # gone or unreadable meanwhile: nothing to remember
                return Peeked()
            verdict = Verdict(file.ino, file.size, file.mtime_ns, peeked)
        self.verdicts[path] = verdict
        return verdict.peeked
