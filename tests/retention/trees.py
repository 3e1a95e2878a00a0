"""Plants trees of every kind of thing, and tells what a tree is, for comparing."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from retention.trash import lying, places


def plant(folder: Path, things: dict[str, Any]) -> Path:
    """Make what a table says: text is a file, a table a folder, None a FIFO, a path a symlink to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, thing in things.items():
        where = folder / name
        if isinstance(thing, dict):
            plant(where, thing)
        elif isinstance(thing, Path):
            where.symlink_to(thing)
        elif thing is None:
            os.mkfifo(where)
        else:
            where.write_bytes(thing if isinstance(thing, bytes) else thing.encode())
    return folder


def seen(folder: Path | bytes) -> dict[bytes, tuple]:
    """Everything at and below a folder: kind, mode, inode, mtime and content (a folder's mtime below the top only)."""
    top = os.fsencode(folder)
    if not os.path.lexists(top):
        return {}
    return {path[len(top):]: _what(path, path == top) for path in [top, *_paths(top)]}


def _paths(top: bytes) -> list[bytes]:
    return [os.path.join(base, name) for base, folders, files in os.walk(top) for name in (*folders, *files)]


def _what(path: bytes, top: bool) -> tuple:
    found = os.lstat(path)
    content = b""
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).digest()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    return found.st_mode, found.st_ino, 0 if top else found.st_mtime_ns, content


def let_all_in(folder: Path) -> None:
    """Anybody may come here: pytest's own folders above are closed, and one more with several workers."""
    for above in [folder, *folder.parents]:
        if Path(tempfile.gettempdir()) in above.parents:
            above.chmod(above.stat().st_mode | 0o55)


def strangers(root: str, known: Collection[str]) -> list[bytes]:
    """What lies in the trashes of a root and belongs to none of these names."""
    names = {name.encode() for name in known}
    return sorted({found for place in places(root) for found in lying(place) if found.partition(b".")[0] not in names})
