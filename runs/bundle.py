"""The debug bundle of a job: what one needs to find out what went wrong, in one zip, every text of it redacted.

It is made while it is sent: in memory lies one piece of a log or one sample.  What does not fit below
LARGEST is left out, and README.txt, written last, says so.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from django.conf import settings

from runs import bundled, disk, loglines, redact, samples, servicelogs
from runs.models import Job, Sample
from runs.readers.plain import plain, plain_json
from runs.readers.undressed import undressed

#: Bytes of a bundle, of its events.jsonl before compression, and its samples.
LARGEST, LONGEST_LOG, MOST_SAMPLES = 1 << 30, 512 << 20, 5_000
#: What is given out, and its file's ending.
ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
#: Samples that are asked for at once: no query is open while somebody reads.
TOGETHER = 50
#: Names that some systems give to devices.
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")

README = """Debug bundle of the job {job}, made by trainmon {version} at {now}.

metadata.json     the job and its run: state, configuration, error, transitions, checkpoints, files
events.jsonl      every line of its log that trainmon keeps, a JSON object a line
service_logs/     lines of trainmon's own logs that carry the job's correlation id, or are about its run or source
                  and fall into its time: the last {lines} of each service
samples/          images, named by step, the newest first
environment.json  trainmon, its Python and its settings that matter here; no secret is among them

Secrets (tokens, keys, passwords, names of home directories) are masked in every text; images come without
their comments and metadata.

Left out:
{left_out}
"""


def name(job: Job) -> str:
    """A file or folder name for a job that any system takes."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", redact.text(job.external_id))[:80].strip("-.")
    return safe if safe and not RESERVED.fullmatch(safe) else f"job-{job.pk}"


def pieces(job: Job) -> Iterator[bytes]:
    """The bytes of the zip; ``job`` comes with its run, source and trainer."""
    return Bundle(job).pieces()


class Bundle:
    """One bundle on its way out."""

    def __init__(self, job: Job) -> None:
        self.job, self.folder = job, name(job)
        self.now = datetime.now(UTC)
        self.out = Outlet()
        self.zip = zipfile.ZipFile(cast("Any", self.out), "w", zipfile.ZIP_DEFLATED)
        self.left_out: list[str] = []

    def pieces(self) -> Iterator[bytes]:
        """Small and telling things first: a download that breaks off has them."""
        yield from self.member("metadata.json", [as_json(bundled.metadata(self.job))])
        yield from self.member("environment.json", [as_json(bundled.environment(self.now))])
        for service in servicelogs.SERVICES:
            yield from self.member(f"service_logs/{service}.log", servicelogs.about(self.job, service))
        yield from self.member("events.jsonl", self.events())
        yield from self.samples()
        told = "\n".join(f"- {redact.text(plain(one))}" for one in self.left_out) or "nothing"
        readme = README.format(job=self.folder, version=settings.VERSION, now=f"{self.now:%Y-%m-%d %H:%M:%S} UTC",
                               lines=f"{servicelogs.MOST:,}", left_out=told)
        yield from self.member("README.txt", [readme.encode()])
        self.zip.close()
        yield self.out.take()

    def member(self, path: str, content: Iterable[bytes], *, stored: bool = False) -> Iterator[bytes]:
        """One file of the zip, piece by piece."""
        info = zipfile.ZipInfo(f"{self.folder}/{path}", self.now.timetuple()[:6])
        info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self.zip.open(info, "w", force_zip64=True) as file:
            for piece in content:
                file.write(piece)
                yield self.out.take()
        yield self.out.take()

    def events(self) -> Iterator[bytes]:
        """The job's log as it is downloaded, up to LONGEST_LOG."""
        size = 0
        for piece in loglines.download(self.job):
            if size + len(piece) > LONGEST_LOG:
                self.left_out.append(f"events.jsonl ends after {size:,} bytes: the whole log is at /api/jobs/{self.job.pk}/logs/")
                return
            size += len(piece)
            yield piece

    def samples(self) -> Iterator[bytes]:
        """The newest first, until the bundle is full; a disk that hangs is not waited for again and again."""
        rows = bundled.samples(self.job)
        ids = list(rows.order_by("-step", "-pk").values_list("pk", flat=True)[: MOST_SAMPLES + 1])
        if len(ids) > MOST_SAMPLES:
            self.left_out.append(f"samples/: only the newest {MOST_SAMPLES:,} were looked at")
            del ids[MOST_SAMPLES:]
        for first in range(0, len(ids), TOGETHER):
            some = ids[first : first + TOGETHER]
            found = Sample.objects.select_related("log_file__source").defer("log_file__state").in_bulk(some)
            for place, pk in enumerate(some, start=first):
                if self.out.size > LARGEST:
                    why = f"the bundle is limited to {LARGEST >> 20:,} MiB"
                    self.left_out.append(f"samples/: {len(ids) - place:,} older ones, {why}")
                    return
                try:
                    yield from self.sample(found[pk]) if pk in found else ()
                except disk.Silent:
                    self.left_out.append(f"samples/: {len(ids) - place:,} older ones, their disk does not answer")
                    return

    def sample(self, sample: Sample) -> Iterator[bytes]:
        """The images or sounds of one row."""
        number, total = 0, 1
        while number < total:
            media = disk.ask(lambda number=number: samples.read(sample, number))  # type: ignore[misc]
            if isinstance(media, samples.Gone):
                self.left_out.append(f"samples/: {sample.tag[:200]} of step {sample.step}, {media.why}")
                return
            drawn = undressed(media.data, media.media_type)
            if drawn is None:
                self.left_out.append(f"samples/: {sample.tag[:200]} of step {sample.step}, no PNG, JPEG or WebP that ends well")
            else:
                path = f"samples/step_{sample.step:06d}_{sample.pk}_{number}.{ENDINGS[media.media_type]}"
                yield from self.member(path, [drawn], stored=True)
            number, total = number + 1, media.total


def as_json(value: Any) -> bytes:
    """Redacted before it is JSON, so that it stays JSON."""
    return json.dumps(redact.value(plain_json(value)), indent=2, ensure_ascii=False, default=str).encode()


class Outlet:
    """What zipfile writes to: hands its bytes on instead of keeping them.  It cannot seek, and zipfile does not need it."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self.waiting.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to do."""

    def take(self) -> bytes:
        """All that came since the last time."""
        taken = b"".join(self.waiting)
        self.waiting.clear()
        return taken
