"""What an archive holds, member by member: written beside it and inside it, and believed only as far as it is plain."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from retention import tarred
from retention.files import Refused, shown

FORMAT: Final = 1
#: Bytes of a manifest: 250,000 files with long names.
MOST: Final = 256 * 2**20

Count = Annotated[int, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file or folder of the run; ``path`` is base64 where it is not UTF-8."""

    path: str
    kind: Literal["file", "folder"]
    mode: Annotated[int, Meta(ge=0, le=0o7777)]
    mtime_ns: int
    size: Count = 0
    sha256: str = ""
    base64: bool = False

    @property
    def where(self) -> bytes:
        """Its path below the run's folder; b"" is the folder itself."""
        return base64.b64decode(self.path, validate=True) if self.base64 else self.path.encode()

    @classmethod
    def at(cls, where: bytes, **what: Any) -> Item:
        """An item with this path."""
        try:
            return cls(where.decode(), **what)
        except UnicodeDecodeError:
            return cls(base64.b64encode(where).decode(), base64=True, **what)

    def header(self) -> bytes:
        """What stands before it in the archive."""
        name = b"files/" + self.where
        if self.kind == "file":
            return tarred.header(name, tarred.FILE, self.size, self.mode, self.mtime_ns)
        return tarred.header(name.rstrip(b"/") + b"/", tarred.FOLDER, 0, self.mode, self.mtime_ns)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some lines of what the registry knows of the run."""

    name: Annotated[str, Meta(pattern=r"^registry/\d{5,9}\.jsonl$")]
    size: Count
    sha256: Digest

    def header(self) -> bytes:
        """What stands before it in the archive."""
        return plain_header(self.name.encode(), self.size)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in an archive, in its order; ``about`` is what the caller says of the run."""

    format: int
    about: dict[str, Any]
    registry: list[Part]
    items: list[Item]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(item.size for item in self.items)

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(item.kind == "file" for item in self.items)


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies beside an archive: its own size and digest, and the manifest as it stands in it, byte for byte."""

    size: Count
    sha256: Digest
    manifest: msgspec.Raw

    def encoded(self) -> bytes:
        """As it is stored."""
        return msgspec.json.encode(self)


def plain_header(name: bytes, size: int) -> bytes:
    """Before a member that is no file of the run."""
    return tarred.header(name, tarred.FILE, size, 0o600, 0)


def digest(data: bytes) -> str:
    """SHA-256, as the database keeps it of a manifest."""
    return hashlib.sha256(data).hexdigest()


def decoded(data: bytes) -> tuple[Sealed, Manifest]:
    """What a manifest says; Refused where it says anything that ours would not."""
    try:
        sealed = msgspec.json.decode(data, type=Sealed)
        manifest = msgspec.json.decode(sealed.manifest, type=Manifest)
        if manifest.format != FORMAT:
            raise Refused(f"the manifest is of format {manifest.format}, this version of trainmon knows {FORMAT}")
        _check(manifest.items)
    except (msgspec.DecodeError, UnicodeError, binascii.Error, RecursionError) as error:
        raise Refused(f"the manifest is damaged: {error}") from None
    return sealed, manifest


def _check(items: list[Item]) -> None:
    """The folder itself first, each path plain and once, each folder before what is in it."""
    if not items or items[0].where or items[0].kind != "folder":
        raise Refused("the manifest does not begin with the run's folder")
    folders, seen = {b""}, {b""}
    for item in items[1:]:
        where = item.where
        _check_path(where)
        if where in seen:
            raise Refused(f"the manifest names {shown(where)} twice")
        if where.rpartition(b"/")[0] not in folders:
            raise Refused(f"the manifest names {shown(where)} before its folder")
        seen.add(where)
        if item.kind == "folder":
            folders.add(where)
    for item in items:
        is_file = item.kind == "file"
        if bool(re.fullmatch("[0-9a-f]{64}", item.sha256)) is not is_file or (item.size and not is_file):
            raise Refused(f"the manifest has no digest of {shown(item.where)}, or one that cannot be")
        if not -(2**63) <= item.mtime_ns < 2**63:
            raise Refused(f"the manifest has a time of {shown(item.where)} that no file can have")


def _check_path(where: bytes) -> None:
    parts = where.split(b"/")
    if b"\0" in where or any(part in (b"", b".", b"..") or len(part) > 255 for part in parts):
        raise Refused(f"the manifest names {shown(where)}, which is no plain path")
