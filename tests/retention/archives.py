"""Makes archives, also ones that no honest writer would make."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from retention import archive, destinations, files, tarred
from retention.archive import Verified
from retention.destinations import Destination
from retention.manifest import Item, Manifest, Sealed, digest, plain_header

LINES = [b'{"of": "run"}\n', b'{"of": "note", "text": "good"}\n']


def folder(tmp_path: Path) -> Destination:
    """Archives beside the tree of a test."""
    return destinations.at(os.fspath(tmp_path / "archive"))


def pack(root: Path, to: Destination, name: str = "one", path: bytes = b"run", lines: Iterable[bytes] = LINES,
         between: Callable[[], Any] = int, progress: Callable[[int], Any] | None = None) -> Verified:
    """Archive a folder; ``between`` happens after it was listed."""
    with files.open_folder(os.fspath(root), path) as fd:
        entries = files.listing(fd)
        between()
        return archive.write(fd, entries, lines, to, name, {"run": 7, "source": os.fspath(root)}, progress)


def forge(to_folder: Path, items: list[Item], stream: bytes | None = None, name: str = "one", *,
          contents: dict[bytes, bytes] | None = None, compress: Callable[[bytes], bytes] | None = None) -> str:
    """An archive whose manifest and digests fit together, whatever they say; returns the manifest's digest.

    ``stream`` are the members between registry and manifest where they shall differ from what the items say.
    """
    inner = msgspec.json.encode(Manifest(1, {}, [], items))
    if stream is None:
        stream = b"".join(member(item, (contents or {}).get(item.where, b"")) for item in items)
    tar = stream + plain_header(b"manifest.json", len(inner)) + inner + tarred.padding(len(inner)) + tarred.END
    data = (compress or zstandard.ZstdCompressor().compress)(tar)
    sealed = Sealed(len(data), hashlib.sha256(data).hexdigest(), msgspec.Raw(inner)).encoded()
    to_folder.mkdir(exist_ok=True)
    (to_folder / f"{name}.tar.zst").write_bytes(data)
    (to_folder / f"{name}.manifest.json").write_bytes(sealed)
    return digest(sealed)


def member(item: Item, content: bytes = b"") -> bytes:
    """An item and its content in a tar stream."""
    return item.header() + content + tarred.padding(len(content))


def a_folder(where: bytes = b"", mode: int = 0o755) -> Item:
    """A folder of a forged archive."""
    return Item.at(where, kind="folder", mode=mode, mtime_ns=10**18)


def a_file(where: bytes, content: bytes = b"", **what: Any) -> Item:
    """A file of a forged archive."""
    facts = {"mode": 0o644, "mtime_ns": 10**18, "size": len(content), "sha256": digest(content), **what}
    return Item.at(where, kind="file", **facts)
