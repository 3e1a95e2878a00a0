"""Archives in any file system that fsspec knows: S3, GCS, SFTP and others.

What lets us in comes from the environment alone, as each client reads it; no word of it is in an address or in an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO, Any

import fsspec

from retention.destinations import DATA, MANIFEST, Denied, Destination, Draft, checked, failure, named, reading
from retention.files import Refused
from runs import redact

#: Where there are no folders, and a bucket that is not there is a typing error.
OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
#: Bytes asked for at a time.
PIECE = 2**20
#: Bytes that are in memory: read ahead, and of a part of an upload (S3 takes 10,000: 160 GB).
READ, PART = 4 * 2**20, 16 * 2**20


@contextmanager
def asking() -> Iterator[None]:
    """Each file system has errors of its own; for us they are all those of a file system, told without secrets."""
    try:
        yield
    except (FileNotFoundError, Refused):
        raise
    except OSError as error:
        raise OSError(error.errno, redact.text(error.strerror or str(error))) from None
    except Exception as error:
        raise OSError(redact.text(f"{error} ({type(error).__name__})")) from None


class Reading(io.RawIOBase):
    """A file there, from its beginning."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        with asking():
            data = self.file.read(len(into))
        into[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


class Remote(Destination):
    """Any file system of fsspec: no rename there, so the archive comes first and the manifest last."""

    def __init__(self, url: str) -> None:
        self.url = _without_credentials(url.rstrip("/"))
        try:
            with asking():
                self.fs, self.path = fsspec.url_to_fs(self.url)
        except OSError as error:
            raise Denied(f"{self.url} is no destination for archives: {error}") from None

    @contextmanager
    def new(self, name: str) -> Iterator[Draft]:
        self.refuse_existing(checked(name))
        try:
            with closing(RemoteDraft(self, name)) as draft:
                yield draft
        except OSError as error:
            raise failure(self.url, error) from error

    def names(self) -> list[str]:
        try:
            with asking():
                self.fs.invalidate_cache()
                found = self.fs.ls(self.path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(filter(None, (named(path.rpartition("/")[2]) for path in found)))

    def key(self, file: str) -> str:
        """Where a file lies there."""
        return f"{self.path}/{file}"

    def _open(self, file: str) -> IO[bytes]:
        with asking():
            self.fs.invalidate_cache()
            found = self.fs.open(self.key(file), "rb", block_size=READ, cache_type="readahead")
            return io.BufferedReader(Reading(found), PIECE)

    def has(self, name: str) -> bool:
        with asking():
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.key(checked(name) + MANIFEST)))

    def holds_something(self) -> bool:
        with asking():
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.path) and self.fs.ls(self.path, detail=False))

    def ready(self) -> None:
        bucket = self.path.partition("/")[0]
        with reading(self.url), asking():
            # of a bucket s3fs says that it is not there whatever is wrong; whether anything answers, it tells of a file
            there = self.has("ready") or self.url.partition("://")[0] not in OBJECTS or self.fs.exists(bucket)
        if not there:
            raise Refused(f"the bucket {bucket} is not there, or does not let us in")

    def refuse_existing(self, name: str) -> None:
        """An archive is never written over."""
        if self.has(name):
            raise Refused(f"there is an archive {name} already; none is ever written over")


def _without_credentials(url: str) -> str:
    """The address, which goes into the database and the audit trail; Refused where it would let somebody in."""
    scheme, _, rest = url.partition("://")
    user, at, _ = rest.rpartition("@")
    if "::" in url:
        raise Refused("an address of archives is no chain of addresses (::): name the place itself")
    if "?" in rest or ":" in user or (at and scheme in OBJECTS) or redact.MASK in redact.text(url):
        raise Refused(f"an address of archives ({scheme}://…) holds no credentials or options: they come from the environment")
    return url


class RemoteDraft(Draft):
    """An upload; until its manifest follows, what it left is no archive, and the next one replaces it."""

    def __init__(self, to: Remote, name: str) -> None:
        self.to, self.url, self.name, self.published = to, to.url, name, False
        with asking():
            if to.url.partition("://")[0] not in OBJECTS:
                to.fs.makedirs(to.path, exist_ok=True)
            self.file = to.fs.open(to.key(name + DATA), "wb", block_size=PART)

    def _write(self, data: bytes) -> int:
        with asking():
            return int(self.file.write(data))

    def settle(self) -> IO[bytes]:
        with asking():
            self.file.close()
        return self.to.open(self.name)

    def publish(self, sealed: bytes) -> None:
        self.to.refuse_existing(self.name)
        with asking():
            self.to.fs.pipe_file(self.to.key(self.name + MANIFEST), sealed)
        self.published = True

    def close(self) -> None:
        """An upload that was broken off is taken back."""
        if self.published or self.to.has(self.name):
            return
        with asking(), suppress(FileNotFoundError):
            if not self.file.closed:
                getattr(self.file, "discard", self.file.close)()
            self.to.fs.rm_file(self.to.key(self.name + DATA))
