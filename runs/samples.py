"""An image or sound: out of an event file, checked that it is still what was read, or a file that a log names."""

from __future__ import annotations

import os
from dataclasses import dataclass

from runs import identity
from runs.models import Sample
from runs.readers import media, pixels
from runs.readers.confined import opened
from runs.readers.source import Source

#: Longer records are not served; they would fill the memory of the site.
LARGEST = 32 * 1024 * 1024
TOO_LARGE = f"it is larger than {LARGEST >> 20} MiB"
#: Pixels that a browser is asked to draw: a small file may unfold into many (4 bytes each), and fill its memory.
PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Media:
    """The bytes, what they are ("" where that is unknown), how many a record holds, and how many pixels they unfold to."""

    data: bytes
    media_type: str
    total: int
    pixels: int = 0

    @property
    def vast(self) -> bool:
        """Whether it is to be kept rather than drawn."""
        return self.pixels > PIXELS


@dataclass(frozen=True, slots=True)
class Gone:
    """Why a sample cannot be shown."""

    why: str


def read(sample: Sample, number: int = 0) -> Media | Gone:
    """The ``number``-th image or sound of a sample, from disk.

    ``sample`` comes with its log file and source: nothing here asks the database.
    """
    if why := unreadable(sample):
        return Gone(why)
    path = bytes(sample.path if sample.is_file else sample.log_file.path)
    try:
        with opened(sample.log_file.source.root, path) as fd:
            return _whole(fd, number) if sample.is_file else _read(fd, sample, number)
    except FileNotFoundError:
        return Gone("its file is gone from disk")
    except media.NotThere as error:
        return Gone(f"it is not where it was: {error}")
    except (OSError, ValueError):  # a link, a FIFO, no permission, a file that shrinks
        return Gone("its file cannot be read")


def unreadable(sample: Sample) -> str:
    """Why it cannot be there, by what is known without looking; "" where it may be."""
    file = sample.log_file
    if sample.is_file:
        outside, vast = not sample.path, (sample.size or 0) > LARGEST
        return "it lies outside of its source's folder" if outside else TOO_LARGE if vast else ""
    if sample.generation != file.reading:
        return "its file has been replaced"
    if file.missing:
        return "its file is gone from disk"
    return TOO_LARGE if sample.length > LARGEST else ""


def _whole(fd: int, number: int) -> Media | Gone:
    """A file of its own, as it is now."""
    if number:
        return Gone("there is no such image in its file")
    if os.fstat(fd).st_size > LARGEST:
        return Gone(TOO_LARGE)
    data = b""
    # one that grows meanwhile is cut where it was allowed to end
    while piece := os.pread(fd, LARGEST - len(data), len(data)):
        data += piece
    if not (kind := media.media_type(data)):  # a log may name any file of its source: only what is an image is given out
        return Gone("it is no PNG, JPEG, GIF or WebP")
    return Media(data, kind, 1, pixels.of(data))


def _read(fd: int, sample: Sample, number: int) -> Media | Gone:
    file = sample.log_file
    if not identity.continues(fd, identity.of(fd), file):
        return Gone("its file has been replaced")
    data = media.payload(Source(fd), sample.offset, sample.length)
    spans = media.spans(data, sample.tag, file.prefix)
    if not 0 <= number < len(spans):
        return Gone("there is no such image in its record")
    start, stop = spans[number]
    found = data[start:stop]
    return Media(found, media.media_type(found), len(spans), pixels.of(found))
