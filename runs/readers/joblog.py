"""The lines of a job's log: their shapes and words.

Four shapes of a line are known, told apart line by line:

- job log (Isengard): ``{ts, level, service, job_id, msg, event?, fields?}``
- service log (Isengard): ``{timestamp, level, service, logger, message, event?, context?}``
- lifecycle (AFS): ``{timestamp, event_type, payload}``
- progress: a TrainingProgressEvent (progress.py), also in the older words of Redis
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runs.readers import plain
from runs.readers.progress import STATUSES

#: As wide as the columns of a job's id, an event's kind and a level.
MAX_JOB, MAX_EVENT, MAX_LEVEL = 200, 100, 10

ERRORS = frozenset({"ERROR", "CRITICAL", "FATAL"})
STEPS = frozenset({"training.step", "job.progress"})
STARTS = frozenset({"training.start", "training.started", "generation.start", "run_started"})
_ALSO_SAID = frozenset({
    "training.sample", "training.checkpoint", "artifact.created", "config.validate",
    "dataset.ready", "plugin.selected", "system.error",
})  # fmt: skip
_WORDS = {
    "created": "queued", "queued": "queued", "start": "running", "started": "running",
    "complete": "completed", "completed": "completed", "failed": "failed",
    "cancelled": "cancelled", "canceled": "cancelled",
}  # fmt: skip
_LIFECYCLE = {"run_started": "running", "run_exited": "exited", "run_stopped": "stopped"}

#: Numbers in a step's record that are no series: where it stands, and what follows from it.
_NO_SCALARS = frozenset({
    "step", "current_step", "global_step", "steps", "total", "total_steps", "steps_total",
    "progress", "progress_pct", "eta", "eta_seconds", "ts", "timestamp",
})  # fmt: skip
_TAGS = {
    "gpu_utilization": "gpu/0/utilization", "gpu_memory_used": "gpu/0/memory_used",
    "gpu_memory_total": "gpu/0/memory_total", "gpu_temperature": "gpu/0/temperature",
    "gpu_power": "gpu/0/power_watts", "gpu_power_watts": "gpu/0/power_watts",
}  # fmt: skip
#: Series whose newest value a job shows; of several for one, the one of its own name.
FIGURES = {
    "loss": "loss", "train_loss": "loss", "train/loss": "loss", "lr": "lr", "learning_rate": "lr", "train/learning_rate": "lr",
    "iteration_speed": "speed", "steps_per_second": "speed", "it_per_second": "speed", "speed": "speed",
}  # fmt: skip
#: GPUs of one record: what a host has at most, several times over.
_MAX_GPUS = 64


@dataclass(slots=True)
class Entry:
    """One line, whatever its shape.

    ``at`` is Unix seconds or None, ``level`` in capitals.  ``fields`` is the object with
    what the line says besides: the line itself where it is a progress event.
    """

    at: float | None
    level: str
    event: str
    message: str
    job: str
    fields: dict[str, Any]
    record: dict[str, Any]
    shape: str


def shape(record: dict[str, Any]) -> str | None:
    """Which of the four shapes a line has, None where it has none."""
    if "ts" in record and ("msg" in record or "event" in record):
        return "job log"
    if isinstance(record.get("event_type"), str) and isinstance(record.get("payload"), dict):
        return "lifecycle"
    if "timestamp" in record and "level" in record and "message" in record:
        return "service log" if "logger" in record or "service" in record else None
    if "job_id" in record and str(record.get("status")).lower() in STATUSES:
        return "progress"
    return None


def entry(record: dict[str, Any]) -> Entry | None:
    """A decoded line as an Entry; None for an object that is no log line."""
    kind = shape(record)
    if kind is None:
        return None
    fields: Any = record
    if kind != "progress":
        fields = record.get("fields") or record.get("context") or record.get("payload")
        if not isinstance(fields, dict):
            fields = {}
    event, job = record.get("event") or record.get("event_type"), record.get("job_id") or fields.get("job_id")
    return Entry(
        plain.seconds(record["ts"] if "ts" in record else record.get("timestamp")),
        level(record.get("level")),
        _word(event, MAX_EVENT) if type(event) is str else "",
        plain.text(record["msg"] if "msg" in record else record.get("message")),
        _word(job, MAX_JOB) if type(job) is str else "",
        fields,
        record,
        kind,
    )


def level(said: object) -> str:
    """A level in capitals; WARN is WARNING."""
    return _level(said) if type(said) is str else ""


@lru_cache(maxsize=256)
def _level(said: str) -> str:
    name = plain.text(said, MAX_LEVEL).upper()
    return "WARNING" if name == "WARN" else name


@lru_cache(maxsize=4096)
def _word(said: str, limit: int) -> str:
    """A word that comes in many lines: it is looked at once, and one object for all of them."""
    return plain.text(said, limit)


@lru_cache(maxsize=4096)
def _tag(key: str) -> str:
    return _TAGS.get(key) or plain.text(key, 255)


def word(found: Entry) -> tuple[str, str | None]:
    """The status that an event says: in the source's word and in ours; ("", None) if none."""
    group, _, verb = found.event.rpartition(".")
    if group in ("job", "training", "generation"):
        said = _WORDS.get(verb, "failed" if found.event == "job.error" else "")
    else:
        said = _LIFECYCLE.get(found.event, "")
    if said == "exited":
        code = found.fields.get("exit_code", found.fields.get("returncode"))
        return said, "failed" if code else "finished"
    return said, STATUSES.get(said)


def says_something(found: Entry) -> bool:
    """Whether a line changes more than a step: else the log keeps it, and we do not."""
    event = found.event
    return (
        found.level in ERRORS
        or event.startswith(("job.", "stage."))
        or event in _ALSO_SAID
        or event in STARTS
        or word(found)[1] is not None
        or isinstance(found.fields.get("config"), dict)
    )


def stage(found: Entry) -> str | None:
    """The stage that a line names."""
    if found.event.startswith("stage."):
        return found.event[6:] or None
    return plain.text(found.fields.get("stage"), MAX_EVENT) or None


def total_steps(found: Entry) -> int | None:
    """The number of steps that a line announces."""
    fields = found.fields
    for key in ("total_steps", "steps_total"):
        if key in fields:
            return plain.whole(fields[key])
    if found.event in STEPS:
        return plain.whole(fields.get("total"))
    return plain.whole(fields.get("steps")) if found.event in STARTS else None


def step(fields: dict[str, Any]) -> int | None:
    """The step that a record stands at."""
    for key in ("step", "current_step", "global_step"):
        if key in fields:
            return plain.whole(fields[key])
    return None


def eta(fields: dict[str, Any]) -> float | None:
    """Seconds until the end, as the record guesses them."""
    return plain.number(fields.get("eta_seconds", fields.get("eta")))


def error(found: Entry) -> dict[str, str | None]:
    """The error of a line, in Said's fields; an error line without one is its own message."""
    fields = found.fields
    named = fields.get("error")
    message = plain.text(named) or (plain.text(str(named)) if isinstance(named, dict) else "")
    stack = fields.get("error_stack") or fields.get("stack_trace") or fields.get("traceback")
    return {
        "error": message or (found.message if found.level in ERRORS else None),
        "error_type": plain.text(fields.get("error_type"), 200) or None,
        "error_stack": plain.text(stack or found.record.get("exception")) or None,
    }


def scalars(found: Entry) -> list[tuple[str, int | float]]:
    """Every series value of a record of progress, under the source's own name."""
    return [
        (_tag(key), value)
        for key, value in found.fields.items()
        if (type(value) is float or type(value) is int) and key not in _NO_SCALARS
    ]


def gpu_cards(found: Entry, held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every GPU with its newest figures, from ``gpu`` or the older single words; ``held`` as before."""
    named = [(tag, value) for tag, value in gpus(found)] or [
        (tag, found.fields[key]) for key, tag in _TAGS.items() if key in found.fields]
    cards = {card["index"]: dict(card) for card in held}
    for tag, value in named:
        _, index, name = tag.split("/", 2)
        number = plain.number(value)
        if number is not None:
            card = cards.setdefault(int(index), {"index": int(index)})
            card["power_watts" if name == "power" else name] = number
    return [cards[index] for index in sorted(cards)][:_MAX_GPUS]


def bar(found: Entry) -> tuple[str, dict[str, Any]] | None:
    """The progress bar of a record, by its id."""
    said = found.fields.get("progress_bar")
    if not isinstance(said, dict):
        return None
    shown: dict[str, Any] = {name: plain.text(said.get(name), 200) for name in ("type", "label")}
    shown |= {name: plain.number(said.get(name)) for name in ("value", "total", "current")}
    if shown["value"] is None and shown["total"] and shown["current"] is not None:
        shown["value"] = 100 * shown["current"] / shown["total"]
    if shown["value"] is not None:
        shown["value"] = min(100.0, max(0.0, shown["value"]))
    return plain.text(said.get("id"), 100) or shown["type"] or "progress", shown


def correlation(found: Entry) -> str:
    """The correlation id of a record, "" without one."""
    return plain.text(found.record.get("correlation_id") or found.fields.get("correlation_id"), MAX_JOB)


def gpus(found: Entry) -> list[tuple[str, int | float]]:
    """The figures of every GPU in a record's ``gpu``: an object, or a list of them.

    A GPU's number is its own ``index``, else its place in the list.
    """
    listed = found.fields.get("gpu") or found.record.get("gpu")
    if isinstance(listed, dict):
        listed = [listed]
    if not isinstance(listed, list):
        return []
    figures = []
    for place, one in enumerate(listed[:_MAX_GPUS]):
        if not isinstance(one, dict):
            continue
        index = plain.whole(one.get("index"))
        number = place if index is None or not 0 <= index < 1_000 else index
        figures += [
            (f"gpu/{number}/{plain.text(key, 200)}", value)
            for key, value in one.items()
            if (type(value) is float or type(value) is int) and key != "index"
        ]
    return figures
