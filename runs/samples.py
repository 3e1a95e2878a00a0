"""An image or sound out of an event file, checked that it is still what was read, or a file that a log names: its bytes."""

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
    try:
        with opened(sample.log_file.source.root, bytes(sample.path or sample.log_file.path)) as fd:
            return _whole(fd) if sample.path else _read(fd, sample, number)
    except FileNotFoundError:
        return Gone("its file is gone from disk")
    except media.NotThere as error:
        return Gone(f"it is not where it was: {error}")
    except (OSError, ValueError):  # a link, a FIFO, no permission, a file that shrinks
        return Gone("its file cannot be read")


def unreadable(sample: Sample) -> str:
    """Why it cannot be there, by what is known without looking; "" where it may be."""
    file = sample.log_file
    if sample.said or sample.path:
        return "" if sample.path else "it lies outside of the folder that is read"
    if sample.generation != file.reading:
        return "its file has been replaced"
    if file.missing:
        return "its file is gone from disk"
    return f"it is larger than {LARGEST >> 20} MiB" if sample.length > LARGEST else ""


def _whole(fd: int) -> Media | Gone:
    """An image that is a file of its own."""
    size = os.fstat(fd).st_size
    if size > LARGEST:
        return Gone(f"it is larger than {LARGEST >> 20} MiB")
    data = os.pread(fd, size, 0)
    return Media(data, media.media_type(data), 1, pixels.of(data))


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
