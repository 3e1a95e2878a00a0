"""How a run stands: a verdict from evidence, pure and reversible.

Evidence, strongest first: a terminal record in its log; trainer_state.json at its last
step; growth that we saw (at the first sync: the files' mtime); silence.  An event file has
no end mark: after its budget of silence a run is unknown, never finished.  A verdict by
silence is never final: when data returns, so does running.

Silence is that of the steps.  Where lines arrive and no step does (heartbeats, GPU figures), a run
is stalled, not lost: its process lives.  A phase beside the training (sampling, saving a
checkpoint, evaluation) may be silent for longer: twice as long as the longest such phase that was
seen, or PHASE_TIMES the budget where none was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

#: Seconds of silence that any run may have.
LEAST_BUDGET = 90.0
#: Seconds of silence until three arrivals were seen: some writers flush every 120 s.
FIRST_BUDGET = 300.0
STEPS_TIMES, ARRIVALS_TIMES = 6, 3
#: A job that said it was running is lost after this many budgets of silence.
LOST_AFTER = 4
#: Of the budget, in a phase like which none was seen; and of the longest such phase that was.
PHASE_TIMES, LONGEST_TIMES = 3, 2
#: Stages that are no phase beside the training.
IN_TRAINING = frozenset({"", "training", "queued", "completed", "failed", "cancelled"})
TERMINAL = frozenset({"finished", "failed", "killed"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a run; times in Unix seconds, None where not known.

    ``said``/``said_at``/``said_by``: the last status by its own words and who said it.
    ``steps``: recent (wall, step) pairs; ``arrivals``: when bytes were seen to arrive.
    ``stepped``: when bytes arrived that brought a step or a figure of the training.
    ``phase``: what it is doing beside the training; ``longest_phase``: the longest such one seen.
    """

    said: str = ""
    said_at: float | None = None
    said_by: str = ""
    said_reason: str = ""
    last_arrival: float | None = None
    last_event: float | None = None
    has_job: bool = False
    has_points: bool = False
    steps: Sequence[Sequence[float]] = ()
    arrivals: Sequence[float] = ()
    stepped: float | None = None
    phase: str = ""
    longest_phase: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status with its reason in words; ``at`` is when it began, by the data."""

    status: str
    reason: str
    at: float | None
    stalled: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)


def judge(evidence: Evidence, now: float) -> Verdict:
    """The status that this evidence supports at ``now`` (Unix seconds)."""
    if evidence.said in TERMINAL:
        return Verdict(
            evidence.said,
            evidence.said_reason or f"{evidence.said_by} says {evidence.said}",
            evidence.said_at or evidence.last_event,
            evidence={"by": evidence.said_by, "at": evidence.said_at},
        )
    if evidence.last_arrival is None:
        return Verdict("unknown", "no bytes have arrived yet", None)
    if evidence.said == "queued" and not evidence.has_points:
        return Verdict("queued", evidence.said_reason or f"{evidence.said_by} says queued", evidence.said_at,
                       evidence={"by": evidence.said_by})
    return _by_silence(evidence, now)


def budget(evidence: Evidence) -> float:
    """Seconds of silence after which a run is not taken to be running."""
    waits = [LEAST_BUDGET]
    if intervals := step_intervals(evidence.steps):
        waits.append(STEPS_TIMES * max(intervals))
    if gaps := [later - earlier for earlier, later in pairwise(evidence.arrivals)]:
        waits.append(ARRIVALS_TIMES * max(gaps))
    if len(evidence.arrivals) < 3:
        waits.append(FIRST_BUDGET)
    if evidence.phase in IN_TRAINING:
        return max(waits)
    if evidence.longest_phase is None:
        return PHASE_TIMES * max(waits)
    return max(*waits, LONGEST_TIMES * evidence.longest_phase)


def step_intervals(steps: Sequence[Sequence[float]]) -> list[float]:
    """Seconds between neighbouring recorded steps; clocks that went back are left out."""
    return [later[0] - earlier[0] for earlier, later in pairwise(steps) if later[0] >= earlier[0]]


def _by_silence(evidence: Evidence, now: float) -> Verdict:
    assert evidence.last_arrival is not None
    silence, allowed = max(0.0, now - evidence.last_arrival), budget(evidence)
    still = max(silence, now - evidence.stepped) if evidence.stepped is not None else silence
    intervals = step_intervals(evidence.steps)
    facts: dict[str, Any] = {
        "silence_seconds": round(silence, 1),
        "budget_seconds": round(allowed, 1),
        "median_step_seconds": round(median(intervals), 3) if intervals else None,
        "last_arrival": evidence.last_arrival,
    }
    if evidence.stepped is not None:
        facts["no_step_seconds"] = round(still, 1)
    if evidence.phase not in IN_TRAINING:
        facts |= {"phase": evidence.phase, "longest_phase_seconds": evidence.longest_phase}
    rhythm = f", median step {duration(median(intervals))}" if intervals else ""
    within = f" in {evidence.phase}" if evidence.phase not in IN_TRAINING else ""
    if still <= allowed:
        return Verdict("running", f"data is arriving{rhythm}", evidence.last_arrival, evidence=facts)
    quiet = f"no step for {duration(still)}{within}{rhythm}"
    if silence <= allowed:
        return Verdict("running", f"{quiet}, though its log goes on", evidence.last_arrival, stalled=True, evidence=facts)
    if evidence.has_job and evidence.said == "running":
        if silence <= LOST_AFTER * allowed:
            return Verdict("running", quiet, evidence.last_arrival, stalled=True, evidence=facts)
        return Verdict("lost", f"{quiet}, and its log has no end", evidence.last_arrival, evidence=facts)
    return Verdict("unknown", f"no end written: {quiet}", evidence.last_arrival, evidence=facts)


def duration(seconds: float) -> str:
    """A duration in words: 0.4 s, 12 s, 9 m 12 s, 1 h 04 m, 3 d 4 h, 7 d."""
    if seconds < 0.001:
        return "under 1 ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    hours = whole % 86400 // 3600
    return f"{whole // 86400} d {hours} h" if hours else f"{whole // 86400} d"
