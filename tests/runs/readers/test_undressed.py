"""Images lose their comments and metadata, and nothing of what is seen."""

from __future__ import annotations

import io

import pytest
from PIL import Image, PngImagePlugin

from runs.readers.undressed import undressed

SECRET = "planted-hunter2"


def picture(kind: str, **options: object) -> bytes:
    """A picture of noise, in which each pixel counts."""
    data = io.BytesIO()
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = SECRET
    if kind == "PNG":
        told = PngImagePlugin.PngInfo()
        told.add_text("parameters", SECRET)
        told.add_itxt("prompt", SECRET)
        options["pnginfo"] = told
    image.save(data, kind, exif=exif, **options)
    return data.getvalue()


@pytest.mark.parametrize(("kind", "options"), [
    ("PNG", {}), ("JPEG", {"comment": SECRET}), ("JPEG", {"progressive": True, "comment": SECRET}), ("WEBP", {}),
    ("WEBP", {"lossless": True, "xmp": SECRET.encode()}),
])  # fmt: skip
def test_what_is_seen_stays_and_what_is_told_goes(kind: str, options: dict[str, object]) -> None:
    data = picture(kind, **options)
    bare = undressed(data + SECRET.encode(), f"image/{kind.lower()}")
    assert SECRET.encode() in data and bare is not None and SECRET.encode() not in bare
    with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(bare)) as other:
        assert one.convert("RGB").tobytes() == other.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_one_that_breaks_off_is_none_or_short_but_no_error(kind: str) -> None:
    data = picture(kind)
    for length in range(0, len(data), 7):
        undressed(data[:length], f"image/{kind.lower()}")
    assert kind == "WEBP" or undressed(data[: len(data) // 2], f"image/{kind.lower()}") is None


def test_other_kinds_are_not_given_out() -> None:
    assert undressed(b"GIF89a", "image/gif") is None and undressed(b"", "") is None
