"""Memory that goes back to the machine: what long series took is not needed for the next page."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from runs.models import Series

#: Points from which on it pays: it takes a few milliseconds.
MANY = 200_000
#: glibc's; elsewhere there is none, and none is needed.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back(decoded: Iterable[Series]) -> None:
    """Hand back what decoding these series has freed; malloc would keep it, 40 MB after 2 M points."""
    if _trim is not None and sum(one.count for one in decoded) > MANY:
        _trim(0)
