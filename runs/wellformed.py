"""What is wrong with a line of a log: ours (docs/operations.md) or a job's (either of its two schemas).

Pure: bytes in, reasons out.  A reason names the field and never repeats a value that may be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from runs import correlation, redact

LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
#: Trainers also write the short form.
JOB_LEVELS = LEVELS | {"WARN"}
SERVICES = frozenset({"web", "worker", "beat", "follower", "tensorboards", "janitor", "command"})
#: A longer line is not looked at.
LONGEST = 16 << 20

_OURS = {"timestamp": str, "level": str, "service": str, "logger": str, "message": str, "correlation_id": str}
_MORE = {"event": str, "context": dict, "exception": str}
_JOB = {"level": str}
_JOB_MORE = {"service": str, "job_id": str, "correlation_id": str, "event": str, "fields": dict}


def reasons(raw: bytes) -> Iterator[str]:
    """Each thing that is wrong with one line."""
    if len(raw) > LONGEST:
        yield f"longer than {LONGEST >> 20} MiB"
        return
    try:
        line = json.loads(raw.decode(), parse_constant=_no_number)
    except UnicodeDecodeError:
        yield "not UTF-8"
        return
    except RecursionError:
        yield "nested too deeply"
        return
    except ValueError as error:
        yield f"not JSON: {error}"
        return
    if not isinstance(line, dict):
        yield "not a JSON object"
        return
    yield from _shape(line)
    yield from (f"a secret in {where}" for where in _secrets(line))


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _shape(line: dict[str, Any]) -> Iterator[str]:
    ours = "logger" in line
    stamp, message = ("timestamp", "message") if ours or "timestamp" in line else ("ts", "msg")
    needed: Mapping[str, type] = _OURS if ours else _JOB | {stamp: str, message: str}
    for name, kind in needed.items():
        if name not in line:
            yield f"{name} is missing"
        elif not isinstance(line[name], kind):
            yield f"{name} is no {kind.__name__}"
    optional: Mapping[str, type] = _MORE if ours else _JOB_MORE
    for name, kind in optional.items():
        if line.get(name) is not None and not isinstance(line[name], kind):
            yield f"{name} is no {kind.__name__}"
    if ours and (unknown := sorted(line.keys() - _OURS.keys() - _MORE.keys())):
        yield f"unknown fields: {', '.join(name[:40] for name in unknown[:5])}"
    yield from _values(line, ours, stamp)


def _values(line: dict[str, Any], ours: bool, stamp: str) -> Iterator[str]:
    level, service, trace = line.get("level"), line.get("service"), line.get("correlation_id")
    if isinstance(level, str) and (level if ours else level.upper()) not in (LEVELS if ours else JOB_LEVELS):
        yield f"level is none of {', '.join(sorted(LEVELS))}"
    if ours and isinstance(service, str) and service not in SERVICES:
        yield f"service is none of {', '.join(sorted(SERVICES))}"
    if isinstance(said := line.get(stamp), str) and not _is_time(said):
        yield f"{stamp} is no ISO 8601 time with a zone"
    if isinstance(trace, str) and not correlation.is_valid(trace):
        yield "correlation_id is not of 1 to 128 characters A-Z a-z 0-9 _ . : -"


def _is_time(said: str) -> bool:
    try:
        return datetime.fromisoformat(said).tzinfo is not None
    except ValueError:
        return False


def _secrets(line: dict[str, Any]) -> Iterator[str]:
    redacted = redact.value(line)
    if redacted != line:
        yield from list(_changed(line, redacted, "the line"))[:5]


def _changed(before: Any, after: Any, where: str) -> Iterator[str]:
    """Where redaction changed something: the innermost fields."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for name in before:
            yield from _changed(before[name], after[name], name[:60] if where == "the line" else f"{where}.{name[:60]}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changed(one, other, f"{where}[{place}]")
    else:
        yield where
