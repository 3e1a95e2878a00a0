"""How many pixels an image unfolds to, by its head alone: nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator

#: Markers of a JPEG that begin a frame; C4, C8 and CC in their midst are tables.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Segments that are looked at.
SEGMENTS = 5000
#: Markers without a length behind them.
BARE = frozenset((0x01, *range(0xD0, 0xD9)))


def of(data: bytes) -> int:
    """The pixels of a PNG, JPEG, GIF or WebP; 0 where its head does not tell, and a browser will not draw it either."""
    if data.startswith(b"\x89PNG"):
        return _big(data, 16, 4) * _big(data, 20, 4)
    if data.startswith(b"GIF8"):
        return _little(data, 6, 2) * _little(data, 8, 2)
    if data.startswith(b"\xff\xd8"):
        return max(_frames(data), default=0)
    return _webp(data) if data[8:12] == b"WEBP" else 0


def _frames(data: bytes) -> Iterator[int]:
    """The sizes of a JPEG's frames, of which a browser draws the first; segment by segment up to the image itself."""
    at = 2
    for _ in range(SEGMENTS):
        at = data.find(b"\xff", at)  # what stands between segments is skipped
        if at < 0 or at + 4 > len(data) or (marker := data[at + 1]) in (0xD9, 0xDA):
            return
        if marker == 0xFF or marker in BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES:
            yield _big(data, at + 5, 2) * _big(data, at + 7, 2)
        at += 2 + max(2, _big(data, at + 2, 2))
    yield 65535 ** 2  # nobody writes so many: it may be anything


def _webp(data: bytes) -> int:
    kind = data[12:16]
    if kind == b"VP8X":  # the canvas
        return (_little(data, 24, 3) + 1) * (_little(data, 27, 3) + 1)
    if kind == b"VP8L":
        packed = _little(data, 21, 4)
        return ((packed & 0x3FFF) + 1) * ((packed >> 14 & 0x3FFF) + 1)
    return (_little(data, 26, 2) & 0x3FFF) * (_little(data, 28, 2) & 0x3FFF) if kind == b"VP8 " else 0


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
