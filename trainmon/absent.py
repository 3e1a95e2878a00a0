"""Packages that are installed for others, and that a library would load for having seen them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """An import of these meanwhile finds nothing; what is loaded already stays.  For the start, before there are threads."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "no such module"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
