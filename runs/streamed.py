"""Answers that are made while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse

#: Bytes that are handed on together: small pieces would each cost a switch of threads.
PIECE = 256 * 1024


class Download(StreamingHttpResponse):
    """A file that is made piece by piece while it is sent.

    The first piece is made at once, so that what cannot be answered is refused in words.
    Between pieces no connection to the database is held: a slow reader blocks nobody.
    """

    def __init__(self, pieces: Iterable[bytes], name: str, content_type: str) -> None:
        made = gathered(pieces)
        first = next(made, b"")
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
            # a proxy that gathered the whole would undo it all
            "X-Accel-Buffering": "no",
        }
        super().__init__(_sent(chain([first], made)), content_type=content_type, headers=headers)


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least PIECE."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def let_go() -> None:
    """Give this thread's connection back; the next query takes one again.

    The pool has ten: whoever waits for a reader or a disk must hold none of them.
    """
    if not connection.in_atomic_block:  # a test's own transaction is left alone
        connection.close()


async def _sent(made: Iterator[bytes]) -> AsyncIterator[bytes]:
    def step() -> bytes | None:
        try:
            return next(made, None)
        finally:
            let_go()

    pull = sync_to_async(step)
    while (piece := await pull()) is not None:
        yield piece
