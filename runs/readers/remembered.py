"""What a reader remembers of a file between two reads, packed for the database."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import zstandard

Memory = TypeVar("Memory", bound=msgspec.Struct)


def dumped(memory: msgspec.Struct) -> bytes:
    """In a few bytes."""
    return zstandard.compress(msgspec.msgpack.encode(memory), 3)


def loaded(dump: bytes, kind: type[Memory], form: int, most: int) -> Memory:
    """What was dumped in this format; ValueError where it is none of ours: the caller reads from 0 again."""
    try:
        found = msgspec.msgpack.decode(zstandard.decompress(dump, max_output_size=most), type=kind)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise ValueError(f"not a reader's state: {error}") from error
    if (said := getattr(found, "format", None)) != form:
        raise ValueError(f"a reader's state of format {said}, not {form}")
    return found
