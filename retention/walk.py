"""Going from folder to folder of one tree, up and down, without a name being looked up twice or a link followed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import TypeVar

from retention.files import Descent, Entry, Refused, refusal, shown

T = TypeVar("T")


class Walk:
    """One descriptor, in the folder where it was last asked to be."""

    def __init__(self, fd: int) -> None:
        self.descent, self.at, self.names = Descent(fd), b"", list[bytes]()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.descent.close()

    def to(self, folder: bytes) -> int:
        """The descriptor of this folder, until the next one is asked for."""
        if folder != self.at:
            self._go(folder.split(b"/") if folder else [])
            self.at = folder
        return self.descent.fd

    def beside(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the folder that ``path`` lies in, and its name there."""
        above, _, name = path.rpartition(b"/")
        return self.to(above), name

    def _go(self, names: list[bytes]) -> None:
        common = 0
        for mine, theirs in zip(self.names, names, strict=False):
            if mine != theirs:
                break
            common += 1
        while len(self.names) > common:
            self.names.pop()
            self.descent.up()
        for name in names[common:]:
            self._enter(name)

    def _enter(self, name: bytes) -> None:
        try:
            self.descent.down(name)
        except OSError as error:
            raise refusal(b"/".join([*self.names, name]), error) from None
        self.names.append(name)


def in_tree_order(entries: Iterable[Entry]) -> list[Entry]:
    """Each folder directly before all that is in it: the order in which a walk has the shortest way."""
    return sorted(entries, key=lambda entry: entry.path.split(b"/"))


def cleared(fd: int, found: Iterable[Entry]) -> None:
    """Remove all that lies in a folder of ours, as it was listed."""
    with Walk(fd) as walk:
        for entry in reversed(in_tree_order(found)):
            if not entry.path:
                continue
            above, name = walk.beside(entry.path)
            try:
                (os.rmdir if entry.kind == "folder" else os.unlink)(name, dir_fd=above)
            except OSError as error:
                raise Refused(f"{shown(entry.path)} cannot be removed: {error.strerror}") from None
