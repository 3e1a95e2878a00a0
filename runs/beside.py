"""What lies beside the events: trainer_state.json, configurations, results; job logs' names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from runs import masks
from runs.facts import set_params
from runs.models import Run
from runs.models.run import Status
from runs.readers import confined, jsonl, textlog
from runs.readers.document import Unreadable
from runs.readers.found import PRINTED, TRAINING, Peeked
from runs.readers.plain import plain, plain_json
from runs.readers.sidecars import SIDECARS, ProcessStatus, Sidecar, TrainerState, TrainResults

#: A file beside the logs above this is not read.
MOST_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Beside:
    """The files beside a run's logs: ``seen`` is each one's size and mtime, ``said`` what the
    changed ones say, with their mtime (Unix seconds)."""

    run_id: int
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: dict[str, tuple[Sidecar, float]] = field(default_factory=dict)


def peek_job_log(seen: jsonl.Dialect | jsonl.Undecided | None) -> Peeked | None:
    """What the first lines of a .jsonl file tell the scan."""
    if isinstance(seen, jsonl.Undecided):
        return Peeked(settled=False)
    if seen is None:
        return Peeked(settled=True)
    return Peeked(dialect=seen.name, named=tuple(name for name in (seen.logdir, seen.run) if name), settled=True)


def peek_text_log(seen: tuple[bool, bool], size: int) -> Peeked:
    """What the head of a text log tells the scan; of a short one it may tell more later."""
    is_text, trains = seen
    settled = trains or not is_text or size > textlog.PEEK_BYTES
    return Peeked(dialect=(TRAINING if trains else PRINTED) if is_text else None, settled=settled)


def known(run_ids: list[int]) -> dict[int, dict[str, Any]]:
    """What ``Beside.seen`` was for these runs when last stored."""
    return dict(Run.objects.filter(pk__in=run_ids).values_list("pk", "sidecars")) if run_ids else {}


def look(run_id: int, root: str, paths: tuple[bytes, ...], before: dict[str, Any]) -> Beside | None:
    """Read the files that changed since ``before``; None where none did."""
    found = Beside(run_id)
    for path in paths:
        name = plain(masks.shown(path))
        try:
            with confined.opened(root, path) as fd:
                st = os.fstat(fd)
                found.seen[name] = {"size": st.st_size, "mtime_ns": st.st_mtime_ns}
                if not _same(before.get(name), found.seen[name]):
                    found.said[name] = (_read(fd, path, st.st_size), st.st_mtime)
        except FileNotFoundError:
            continue
        except OSError as problem:
            found.seen[name] = {"size": -1, "mtime_ns": 0}
            if not _same(before.get(name), found.seen[name]):
                found.said[name] = (Unreadable(problem.strerror or str(problem)), 0.0)
    return found if found.said or set(found.seen) != set(before) else None


def apply(run: Run, found: Beside) -> bool:
    """Bring the run to what the files beside it say; True where they said something new."""
    run.sidecars = {name: {**run.sidecars.get(name, {}), **seen} for name, seen in found.seen.items()}
    for path, (said, mtime) in sorted(found.said.items()):
        name = path.rpartition("/")[2]
        run.sidecars[path]["error"] = said.reason if isinstance(said, Unreadable) else ""
        match said:
            case TrainerState():
                _hear_state(run, said, mtime)
            case TrainResults():
                _hear_results(run, said, name)
            case ProcessStatus():
                _hear_process(run, said)
            case dict():
                set_params(run, name, said)
    return bool(found.said)


def _same(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    return before is not None and all(before.get(key) == value for key, value in now.items())


def _read(fd: int, path: bytes, size: int) -> Sidecar:
    if size > MOST_BYTES:
        return Unreadable(f"larger than {MOST_BYTES} bytes")
    data = b""
    while piece := os.pread(fd, MOST_BYTES - len(data), len(data)):
        data += piece
    return SIDECARS.get(path.rpartition(b"/")[2].decode(errors="replace"), _nothing)(data)


def _nothing(data: bytes) -> Sidecar:
    return {}


def _hear_state(run: Run, state: TrainerState, mtime: float) -> None:
    run.total_steps = state.max_steps or run.total_steps
    run.epoch = state.epoch if state.epoch is not None else run.epoch
    run.early_stopped = state.early_stopped
    if not (state.complete or state.early_stopped):
        run.said = {by: word for by, word in run.said.items() if by != "trainer_state"}
        return
    reason = f"trainer_state.json: step {state.global_step} of {state.max_steps}"
    if state.early_stopped:
        reason = f"stopped early at step {state.global_step} ({state.why}), by trainer_state.json"
    run.said = {**run.said, "trainer_state": {
        "status": str(Status.FINISHED), "step": state.global_step, "at": mtime, "by": "trainer_state.json",
        "reason": reason}}


def _hear_results(run: Run, results: TrainResults, name: str) -> None:
    values = {**results.parameters, **{f"result/{key}": value for key, value in results.metrics.items()}}
    for key in ("train_samples", "eval_samples", "total_samples", "train_runtime"):
        if (value := getattr(results, key)) is not None:
            values[key] = value
    if values:
        set_params(run, "results", {**run.param_sources.get("results", {}), **plain_json(values)})
    run.total_steps = results.total_steps if results.total_steps is not None else run.total_steps
    if results.completed is not None:
        run.said = {**run.said, "results": {
            "status": str(Status.FINISHED), "at": results.completed, "by": name,
            "reason": f"{name} was written at its end"}}


def _hear_process(run: Run, process: ProcessStatus) -> None:
    if process.status is None:
        return
    at = process.ended or process.updated
    run.said = {**run.said, "process": {
        "status": process.status, "at": at, "by": "status.json", "reason": f"status.json says {plain(process.word)}"}}
