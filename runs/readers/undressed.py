"""Images without what is not drawn: comments and metadata, in which programs keep prompts, paths and more.

What cannot be followed to its end is not given out: the answer is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
#: Chunks beside the necessary ones (in capitals) that change what is seen.
_PNG_DRAWN = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT"})
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_WEBP_DRAWN = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
#: In VP8X: that there is a profile, EXIF, XMP.
_WEBP_FLAGS = 0b00101100
#: JPEG: comments and application data, but JFIF (E0) and Adobe's colour transform (EE), which change the colours.
_JPEG_TOLD = frozenset({0xFE, *range(0xE1, 0xF0)}) - {0xEE}
#: Neither an escaped FF nor a restart.
_JPEG_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)


def undressed(data: bytes, media_type: str) -> bytes | None:
    """The image as it is drawn; None for a kind or a file that is not understood."""
    parts = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}.get(media_type)
    if parts is None:
        return None
    try:
        kept = b"".join(parts(data))
    except (ValueError, IndexError):
        return None
    if media_type == "image/webp":
        return kept[:4] + (len(kept) - 8).to_bytes(4, "little") + kept[8:]
    return kept


def _png(data: bytes) -> Iterator[bytes]:
    yield _PNG
    at = len(_PNG)
    while True:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(kind) != 4 or not _PNG_LETTERS.issuperset(kind) or end > len(data):
            raise ValueError("no chunk")
        if kind in _PNG_NEEDED or kind in _PNG_DRAWN:
            yield data[at:end]
        if kind == b"IEND":
            return
        at = end


def _jpeg(data: bytes) -> Iterator[bytes]:
    yield data[:2]
    at = 2
    while True:
        mark = data[at + 1]
        if data[at] != 0xFF or mark == 0xFF:
            raise ValueError("no marker")
        if mark == 0xD9:
            yield data[at : at + 2]
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data) or end < at + 4:
            raise ValueError("no segment")
        if mark == 0xDA:  # the picture itself follows, up to the next marker
            found = _JPEG_MARK.search(data, end)
            if found is None:
                raise ValueError("no end")
            end = found.start()
        if mark not in _JPEG_TOLD:
            yield data[at:end]
        at = end


def _webp(data: bytes) -> Iterator[bytes]:
    if len(data) < 12:
        raise ValueError("no file")
    yield data[:12]
    at, last = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= last:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if end > len(data) + 1:
            raise ValueError("no chunk")
        if kind == b"VP8X":
            yield data[at : at + 8] + bytes([data[at + 8] & ~_WEBP_FLAGS]) + data[at + 9 : end]
        elif kind in _WEBP_DRAWN:
            yield data[at:end]
        at = end
