"""Figures with their units, for people, in plain text."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes in binary units: 0 B, 1.5 KiB, 3.2 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(count: int, noun: str = "run") -> str:
    """1 run, 2,000 runs."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
