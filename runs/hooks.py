"""Where another app adds its own to what is kept of a run: the registry knows no app above it.

In AppConfig.ready(): ``hooks.register("costs", dump, load)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runs.models import Run

#: What an app keeps of a run, in pieces that JSON can hold; and putting back what is missing of them.
Dump = Callable[["Run"], Iterable[dict[str, Any]]]
Load = Callable[["Run", Iterator[dict[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class Hook:
    """An app's share in the export of a run."""

    name: str
    dump: Dump
    load: Load


_hooks: dict[str, Hook] = {}


def register(name: str, dump: Dump, load: Load) -> None:
    """Have ``dump`` asked for each run that is exported, and ``load`` given what it said, under this name."""
    hook = Hook(name, dump, load)
    if not name.isidentifier() or _hooks.get(name, hook) != hook:
        raise ValueError(f"{name!r} is no name for a hook, or another has it")
    _hooks[name] = hook


def forget(name: str) -> None:
    """Take a hook back."""
    _hooks.pop(name, None)


def registered() -> list[Hook]:
    """Every hook, in the order of their names."""
    return [_hooks[name] for name in sorted(_hooks)]


def named(name: str) -> Hook | None:
    """The hook of this name; None where its app is not there."""
    return _hooks.get(name)
