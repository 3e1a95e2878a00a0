"""Names and paths as they are shown: without secrets, and two that differ by these alone stay two.

What is stored of a path are its real bytes, for it must be found again; ``path_text`` of a run, a log file and
a source is the door through which it is shown.  Names that are made of paths (runs, datasets, jobs) are stored
as they are shown.  The digest is keyed, so that nobody can try passwords on it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from django.utils.crypto import salted_hmac

from runs import redact
from runs.readers.naming import display
from runs.readers.plain import plain

#: A name that was masked: what it is now, and the digest of what it was (of a cut metric's: runs/series.py).
_MASKED = re.compile(
    rf"(.*{re.escape(redact.MASK)}.*)(~(?:[0-9a-f]{{8}}|[0-9a-f]{{64}})(?:~earlier(?:-\d+)?)?)", re.DOTALL)


@lru_cache(maxsize=20_000)
def name(said: str) -> str:
    """A name without secrets, with a digest behind it where it had any."""
    clean = redact.text(said)
    return clean if clean == said else f"{clean}~{_digest(said)}"


def path(said: str) -> str:
    """A path, each of its names by itself: a secret ends where the next folder begins."""
    return "/".join(map(name, said.split("/")))


def shown(raw: bytes | memoryview[Any]) -> str:
    """The path for people: what is not UTF-8 or cannot be printed is escaped."""
    return display(path(bytes(raw).decode(errors="backslashreplace")).encode())


def label(said: str) -> str:
    """A name that was made of a path, as the database holds it."""
    return plain(path(said))


def words(said: str) -> str:
    """A path as a log has it, which may be an address or lie in somebody's home (that alone needs no digest)."""
    clean = redact.text(said)
    return clean if clean in (said, redact.home(said)) else f"{clean}~{_digest(said)}"


def name_again(said: str) -> str:
    """A stored name masked: as it stands where that was done before, by rules that may be newer."""
    before = _MASKED.fullmatch(said)
    return redact.text(before[1]) + before[2] if before else name(said)


def path_again(said: str) -> str:
    """Likewise a path, each of its names by itself."""
    return "/".join(map(name_again, said.split("/")))


def words_again(said: str) -> str:
    """Likewise a path as a log has it, or as a scan found it."""
    if redact.MASK in said and path_again(said) == said:
        return said
    before = _MASKED.fullmatch(said)
    return redact.text(before[1]) + before[2] if before else words(said)


def _digest(said: str) -> str:
    raw = said.encode(errors="backslashreplace")
    return salted_hmac("runs.series", raw, algorithm="sha256").hexdigest()[:8]
