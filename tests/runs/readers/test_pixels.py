"""The size of an image is read from its head."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from runs.readers import pixels


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    data = io.BytesIO()
    Image.new(mode, (301, 47)).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("data", [
    saved("PNG"), saved("GIF"), saved("JPEG"), saved("JPEG", progressive=True, comment=b"\xff" * 900),
    saved("WEBP"), saved("WEBP", lossless=True), saved("WEBP", "RGBA", exif=b"Exif\0\0" + b"x" * 40),
])  # fmt: skip
def test_the_head_tells_the_pixels_in_each_format(data: bytes) -> None:
    assert pixels.of(data) == 301 * 47
    for cut in range(40):
        assert pixels.of(data[:cut]) <= 301 * 47 + 301 + 47 + 1  # half a head tells less, and fails at nothing


def test_a_head_without_end_is_taken_for_the_largest() -> None:
    assert pixels.of(b"\xff\xd8" + b"\xff\xe0\0\2" * 6000) == 65535 ** 2
    assert pixels.of(b"\xff\xd8" + b"x" * 1_000_000) == 0
