"""Reading an archive as if it were hostile: only the bytes that its manifest promises, in blocks, and none after them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Final

import zstandard

from retention import tarred
from retention.files import Unreachable

BLOCK: Final = 2**20
#: Memory that a frame may ask for; ours want 2 MiB.
WINDOW: Final = 2**23

Sink = Callable[[memoryview], object]


class Damaged(Exception):
    """An archive is not what its manifest says."""


class Raw:
    """The compressed bytes on their way in: counted, and summed up as a thread reads them, one block ahead."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self.summed = file, 0, hashlib.sha256()
        self.thread = ThreadPoolExecutor(1, "archive")
        self.coming = self.thread.submit(self._read)

    def read(self, _: int = BLOCK) -> bytes:
        """The next block, as the decompressor asks for it; empty at the end."""
        data = self.coming.result()
        if data:
            self.coming = self.thread.submit(self._read)
        self.size += len(data)
        return data

    def _read(self) -> bytes:
        try:
            data = self.file.read(BLOCK) or b""
        except OSError as error:
            raise Unreachable(f"it cannot be read now: {error.strerror or error}") from error
        self.summed.update(data)
        return data


class Tape:
    """The tar stream in an archive, told what to expect; its file may be closed once this has ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self.raw, self.block = Raw(file), memoryview(bytearray(BLOCK))
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self.stream = decompressor.stream_reader(self.raw, read_size=BLOCK, read_across_frames=False)  # type: ignore[arg-type]

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.raw.thread.shutdown()

    def expect(self, data: bytes) -> None:
        """Just these bytes come next."""
        left = memoryview(data)
        while left:
            block = self._next(len(left))
            if block != left[: len(block)]:
                raise Damaged("a member is not the one that the manifest names")
            left = left[len(block) :]

    def body(self, size: int, sha256: str, sink: Sink | None = None) -> None:
        """The content of a member, with this digest; Damaged where it is another, after the sink had it."""
        summed, left = hashlib.sha256(), size
        while left:
            block = self._next(left)
            summed.update(block)
            if sink:
                sink(block)
            left -= len(block)
        self.expect(tarred.padding(size))
        if summed.hexdigest() != sha256:
            raise Damaged("the content of a member is not what was archived")

    def end(self, size: int, sha256: str) -> None:
        """The tar ends here, and so does the archive, which has this digest as it lies there."""
        self.expect(tarred.END)
        if self._read(self.block[:1]):
            raise Damaged("there is more in it than the manifest names")
        while self.raw.size <= size and self.raw.read():
            pass
        if (self.raw.size, self.raw.summed.hexdigest()) != (size, sha256):
            raise Damaged("the archive is not the one that was written")

    def _next(self, count: int) -> memoryview:
        """The next bytes, at most so many, at least one."""
        block = self.block[: min(count, BLOCK)]
        read = self._read(block)
        if not read:
            raise Damaged("it ends too early")
        return block[:read]

    def _read(self, into: memoryview) -> int:
        try:
            return self.stream.readinto(into)
        except zstandard.ZstdError as error:
            raise Damaged(f"it cannot be decompressed: {error}") from None
