"""Lines of trainmon's own logs that are about one job, for those who may see that job.

Lines about other runs stay out, whenever they were written: who may see one job need not see another.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.timezone import now

from runs import redact
from runs.models import Job
from runs.readers.plain import plain_json

SERVICES = ("web", "worker", "follower")
#: Lines of each service; a line's longest; and what is looked at around the job's time.
MOST, LONGEST, AROUND = 1_000, 1 << 20, timedelta(minutes=5)
#: Addresses of one thing.
OTHERS = re.compile(r"/(?:api/)?(?:runs|jobs|sources|trainers|admin)/[^/]")
#: Who asked is not told to others who may see the job.
UNTOLD = {"client"}


def about(job: Job, service: str) -> Iterator[bytes]:
    """The last lines, redacted once more; one that says why where there are none to look at."""
    files = _parts(service)
    if not files:
        yield _line({"message": f"No log of the service {service} is kept here: containers write theirs to standard output."})
        return
    # the follower does what nobody asked it for: its id is one for all sources, and in each job's bundle
    subject = Subject(job, by_id=service != "follower")
    kept: deque[dict[str, Any]] = deque(maxlen=MOST)
    for path in files:
        if subject.begin and path.stat().st_mtime < subject.begin.timestamp():
            continue
        kept.extend(line for raw in _raws(path) if (line := subject.told(raw)) is not None)
    for line in kept:
        yield _line(line)


def _parts(service: str) -> list[Path]:
    """A service's log with its older parts, those of earlier sessions too, the oldest first."""
    return [path for folder in (*settings.PLACES.old_logs, settings.PLACES.logs) for path in _parts_in(folder, service)]


def _parts_in(folder: Path, service: str) -> list[Path]:
    older = [path for path in folder.glob(f"{service}.log.*") if path.suffix[1:].isdecimal()]
    parts = [*sorted(older, key=lambda path: -int(path.suffix[1:])), folder / f"{service}.log"]
    return [path for path in parts if path.is_file()]


def _raws(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while raw := file.readline(LONGEST):
                yield raw
    except OSError:  # cut or removed meanwhile
        return


def _line(line: dict[str, Any]) -> bytes:
    return json.dumps(plain_json(redact.value(line)), ensure_ascii=False).encode() + b"\n"


class Subject:
    """What makes a line one about this job."""

    def __init__(self, job: Job, *, by_id: bool) -> None:
        # a trainer writes into its log what id it likes
        self.id, self.source = job.correlation_id if by_id else "", job.source_id
        self.addresses = re.compile(
            rf"/(?:api/)?(?:runs/{job.run_id}|jobs/(?:{job.pk}|{re.escape(job.external_id)})|sources/{job.source_id})/")
        begin, end = job.started, job.ended or now()
        self.begin = begin - AROUND if begin else None
        self.end = max(end, job.last_event or end) + AROUND

    def told(self, raw: bytes) -> dict[str, Any] | None:
        """The line, if it is one; what is no JSON object is none."""
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        if not isinstance(line, dict) or not (self._has_its_id(line) or self._is_about(line) and self._falls_into(line)):
            return None
        if isinstance(context := line.get("context"), dict):
            line["context"] = {name: value for name, value in context.items() if name not in UNTOLD}
        return line

    def _has_its_id(self, line: dict[str, Any]) -> bool:
        return bool(self.id) and line.get("correlation_id") == self.id and not self._is_about_another(line)

    def _is_about(self, line: dict[str, Any]) -> bool:
        context = line.get("context")
        if not isinstance(context, dict):
            return False
        return context.get("source") == self.source or self.addresses.match(str(context.get("path", ""))) is not None

    def _is_about_another(self, line: dict[str, Any]) -> bool:
        context = line.get("context")
        if not isinstance(context, dict) or self._is_about(line):
            return False
        return "source" in context or OTHERS.match(str(context.get("path", ""))) is not None

    def _falls_into(self, line: dict[str, Any]) -> bool:
        try:
            at = datetime.fromisoformat(str(line.get("timestamp")))
            return (self.begin is None or at >= self.begin) and at <= self.end
        except (ValueError, TypeError):
            return False
