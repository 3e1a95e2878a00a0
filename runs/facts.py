"""What a run's rows follow from: times, steps, parameters and status, as its data arrives."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from runs import redact
from runs.models import Job, LogFile, Run, Transition
from runs.models.run import Status
from runs.readers.plain import plain_json
from runs.readers.records import Block, Points, Said
from runs.readers.sidecars import PARAMETER_FILES
from runs.status import Evidence, Verdict, judge

STEPS_KEPT, ARRIVALS_KEPT = 21, 10
#: Which origin of a parameter wins: the later in this list.
PARAM_ORDER = (*PARAMETER_FILES, "results", "job", "hparams")
#: Seconds that a record may be newer than the word of the run's end.
SLACK = 60.0
#: Seconds without a sync of the source after which the times of arrivals tell no rhythm.
LOOKED_AWAY = 900.0
LAST_MOMENT = 253_402_300_799.0


def moment(seconds: float | None) -> datetime | None:
    """Unix seconds as an aware time; None for what no calendar has (NaN, 1e300, before 1970)."""
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= LAST_MOMENT:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def dated(*seconds: float | None) -> datetime:
    """The first of these times that a calendar has; now where there is none."""
    return next((at for one in seconds if (at := moment(one)) is not None), datetime.now(UTC))


def apply_facts(run: Run, file: LogFile, blocks: list[Block], mtime: float) -> None:
    """Bring the run's times, step, pulse and parameters to these blocks of one of its files."""
    for wall in filter(None, map(moment, _walls(file, blocks))):
        run.started = wall if run.started is None else min(run.started, wall)
        run.last_event = wall if run.last_event is None else max(run.last_event, wall)
    for one in (one for block in blocks for one in block.hparams):
        _hear_hparams(run, one)
    if any(block.records for block in blocks):
        _arrive(run, file, mtime, next((block.first_wall for block in blocks if block.first_wall is not None), None))
    points = [piece for block in blocks for piece in block.points]
    if points:
        _beat(run, file, points)
    _step_on(run, file, points or [one for block in blocks for one in (*block.texts, *block.blobs)])


def _step_on(run: Run, file: LogFile, written: Sequence[object]) -> None:
    """Remember when the training last moved: a step came, or anything in an event file (a job's log may repeat itself)."""
    moved = run.step != run.pulse.get("stepped_to") or (file.kind == LogFile.Kind.EVENTS and bool(written))
    if moved and run.last_arrival is not None:
        run.pulse = {**run.pulse, "stepped": run.last_arrival.timestamp(), "stepped_to": run.step}


def believable(walls: np.ndarray) -> np.ndarray:
    """Those wall times that a calendar has."""
    return walls[(walls >= 0) & (walls <= LAST_MOMENT)]


def _walls(file: LogFile, blocks: list[Block]) -> Iterator[float]:
    """The wall times that may be the earliest or latest.

    Taken from all that is kept, not from the blocks' ends: where a clock went back these
    depend on where blocks happen to end.
    """
    if file.first_wall is None:
        yield from [block.first_wall for block in blocks if block.first_wall is not None][:1]
    for block in blocks:
        if file.kind != LogFile.Kind.EVENTS:
            yield from (wall for wall in (block.first_wall, block.last_wall) if wall is not None)
        for piece in block.points:
            if len(walls := believable(piece.walls)):
                yield from (float(walls.min()), float(walls.max()))
        yield from (text.wall for text in block.texts)
        yield from (blob.wall for blob in block.blobs)


def set_params(run: Run, origin: str, values: dict[str, Any]) -> None:
    """Keep parameters by origin (redacted), and what pages show: merged, the strongest last."""
    run.param_sources = {**run.param_sources, origin: plain_json(redact.value(values))}
    merged: dict[str, Any] = {}
    for name in PARAM_ORDER:
        merged.update(run.param_sources.get(name, {}))
    run.params = merged


def settle(run: Run, now: float, transitions: list[Transition]) -> None:
    """Judge the run's status anew; a change is added to ``transitions``.

    The caller saves the run and the transitions, in the same transaction.
    """
    verdict = judge(evidence_of(run), now)
    if verdict.status != run.status:
        transitions.append(Transition(
            run=run, old=run.status, new=verdict.status, reason=verdict.reason, evidence=verdict.evidence,
            at=dated(verdict.at, now),
        ))
        run.status_since = moment(verdict.at)
    run.status, run.stalled = verdict.status, verdict.stalled
    run.status_reason, run.status_evidence = verdict.reason, verdict.evidence
    run.ended = _end(run, verdict)


def has_aged(run: Run, now: float) -> bool:
    """Whether the run would be judged otherwise at ``now`` than it stands."""
    verdict = judge(evidence_of(run), now)
    return (verdict.status, verdict.stalled) != (run.status, run.stalled) or not run.status_reason


def evidence_of(run: Run) -> Evidence:
    """What is known of the run now, for ``runs.status.judge``."""
    said = _strongest_word(run)
    return Evidence(
        said=said.get("status", ""),
        said_at=said.get("at"),
        said_by=said.get("by", ""),
        said_reason=said.get("reason", ""),
        last_arrival=run.last_arrival.timestamp() if run.last_arrival else None,
        last_event=run.last_event.timestamp() if run.last_event else None,
        has_job="log" in run.said,
        has_points=run.point_count > 0,
        steps=run.pulse.get("steps", []),
        arrivals=run.pulse.get("arrivals", []),
        stepped=run.pulse.get("stepped"),
        phase=run.stage,
        longest_phase=run.pulse.get("phases", {}).get(run.stage),
    )


def _strongest_word(run: Run) -> dict[str, Any]:
    """The terminal record that still stands.

    The log's own stands until the log says of a new start (an evaluation may well write event
    files after it); the others until later steps or records take them back.
    """
    log = run.said.get("log", {})
    if log.get("status") in {Status.FINISHED, Status.FAILED, Status.KILLED}:
        return log
    for by in ("process", "results", "hparams"):
        ended = run.said.get(by, {})
        if ended and (run.last_event is None or run.last_event.timestamp() <= (ended["at"] or 0) + SLACK):
            return ended
    if (state := run.said.get("trainer_state", {})) and _still_stands(run, state):
        return state
    return log


def _still_stands(run: Run, state: dict[str, Any]) -> bool:
    """Whether the training is where trainer_state.json ended, and has not begun anew below it."""
    if run.step is None or run.step == state["step"]:
        return True
    return bool(run.step < state["step"] and run.pulse.get("wall", 0.0) <= state["at"] + SLACK)


def _hear_hparams(run: Run, one: Any) -> None:
    if one.values:
        set_params(run, "hparams", {**run.param_sources.get("hparams", {}), **one.values})
    # torch writes a session end at the start, without a time: only a dated one is an end
    words = {"success": Status.FINISHED, "failure": Status.FAILED}
    if one.kind == "session end" and one.wall and moment(one.wall) and one.status in words:
        run.said = {**run.said, "hparams": {
            "status": str(words[one.status]), "at": one.wall, "by": "the hparams session",
            "reason": f"the hparams session ended with {one.status}"}}


def _arrive(run: Run, file: LogFile, mtime: float, first_wall: float | None) -> None:
    """Bytes have arrived: at the file's mtime, where that has moved on since we last looked.

    A forged or frozen mtime says nothing: then they arrived now.  What arrived while nobody
    looked, or for an attempt that began after the last arrival, tells no rhythm: the pause
    before it would let a dead run pass for running.
    """
    now = time.time()
    believable = file.mtime_ns / 1e9 < mtime <= now and moment(mtime) is not None
    arrived = mtime if believable else now
    before = run.last_arrival
    if before is not None and arrived <= before.timestamp() <= now:  # later than now: our own clock was set back
        return
    run.last_arrival = moment(arrived)
    looked = file.source.last_synced
    away = looked is None or now - looked.timestamp() > LOOKED_AWAY
    attempt = file.first_wall is None and before is not None and (first_wall or 0.0) > before.timestamp()
    arrivals = [] if away or attempt else run.pulse.get("arrivals", [])
    run.pulse = {**run.pulse, "arrivals": [*arrivals, round(arrived, 3)][-ARRIVALS_KEPT:]}


def _beat(run: Run, file: LogFile, points: list[Points]) -> None:
    """The run's step, and the rhythm of its last steps, from the newest part of a file.

    What stands beside the training (an evaluation, which has a prefix, or what was printed)
    speaks only until a file of the training itself does.
    """
    aside = bool(file.prefix) or file.kind == LogFile.Kind.TEXT
    part = max(piece.part for piece in points)
    newest = [piece for piece in points if piece.part == part]
    key = [file.pk, file.reading, part]
    spoke_aside = run.pulse.get("aside", False)
    pulse = {} if spoke_aside and not aside else run.pulse
    held = pulse.get("key")
    same = held == key
    other = held is not None and held[0] != file.pk
    step = max(int(piece.steps.max()) for piece in newest)
    if other and aside and not spoke_aside:
        return  # evaluation beside the training may count its own steps
    wall = max((float(walls.max()) for piece in newest if len(walls := believable(piece.walls))), default=0.0)
    if other and wall < pulse.get("wall", 0.0):
        return  # of two files or logs that one counts whose clock is ahead, whichever was read last
    before = pulse.get("counted", run.step) if same else None
    counted = step if before is None else max(before, step)
    longest = max(newest, key=lambda piece: len(piece.steps))
    steps, walls = longest.steps[-10 * STEPS_KEPT :], longest.walls[-10 * STEPS_KEPT :]
    usable = np.isfinite(walls) & (np.abs(walls) < LAST_MOMENT)
    pairs = list(pulse.get("steps", []))
    if not same and not _beside(file, pairs):
        pairs = []
    for when, at in zip(walls[usable].tolist(), steps[usable].tolist(), strict=True):
        if not pairs or at > pairs[-1][1]:
            pairs.append([round(when, 6), at])
    run.pulse = {**run.pulse, "key": key, "wall": max(wall, pulse.get("wall", 0.0)), "steps": pairs[-STEPS_KEPT:],
                 "counted": counted, "aside": aside}
    _count(run)


def hear_step(run: Run, job: Job, said: Said, *, records: bool) -> None:
    """A log says which step the training is at.

    What is printed, and a record's word on a status, which may repeat an old step, only raise what
    event files tell.  A log of ``records`` takes back what the text log of the same job told.
    """
    assert said.step is not None
    heard = run.pulse.get("heard", {})
    then = heard.get("at", 0.0)
    when = max(then, run.pulse.get("wall", 0.0)) if said.at is None else said.at
    printed = heard.get("job") == job.pk and records and not heard["records"]
    if when < then and not printed:
        return
    raises = said.status is not None or not records
    step = max(said.step, heard["step"]) if raises and records and heard and not printed else said.step
    run.pulse = {**run.pulse, "heard": {"at": when, "step": step, "raises": raises, "job": job.pk, "records": records}}
    _count(run)


def _count(run: Run) -> None:
    """The run's step: that of its event files or that of its logs, whichever was told later, in whatever order they were read."""
    pulse = run.pulse
    counted, heard = pulse.get("counted"), pulse.get("heard")
    if heard is None or counted is not None and (
            heard["at"] < pulse.get("wall", 0.0) or heard["raises"] and heard["step"] < counted and not pulse["aside"]):
        run.step = counted
    else:
        run.step = heard["step"]


def _beside(file: LogFile, pairs: list[list[float]]) -> bool:
    """Whether the file was begun before the last of these steps: an event file and a log of one attempt take turns."""
    return bool(pairs) and file.first_wall is not None and file.first_wall <= pairs[-1][0]


def _end(run: Run, verdict: Verdict) -> datetime | None:
    if verdict.status in {Status.RUNNING, Status.QUEUED}:
        return None
    return moment(verdict.at) if verdict.status not in {Status.UNKNOWN, Status.LOST} else run.last_event
