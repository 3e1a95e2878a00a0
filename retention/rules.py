"""What a policy says of runs: who goes, who stays and why.  Values in, words out: neither database nor disk is asked."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from retention.candidates import Candidate
from retention.models import RetentionPolicy
from runs.status import duration
from runs.units import counted, size

#: Nothing is said to be old sooner.
YOUNGEST = timedelta(hours=1)
#: Nothing lies in the trash for longer.
LONGEST = timedelta(days=3653)
#: A run and why it goes or stays.
Said = tuple[Candidate, str]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a policy comes to at a moment: who goes, who stays, each with the reason; or why it must not run.

    Where it is refused nothing goes; ``wanted`` then tells what its guards held back.
    """

    going: Sequence[Said] = ()
    staying: Sequence[Said] = ()
    refused: str = ""
    wanted: Sequence[Said] = ()

    @property
    def size(self) -> int:
        """Bytes of what goes, as the registry knows them."""
        return weight(self.going)

    @property
    def count(self) -> int:
        """Runs that it is about."""
        return len(self.going) + len(self.staying) + len(self.wanted)


def weight(said: Iterable[Said]) -> int:
    """Bytes of these runs, as the registry knows them."""
    return sum(candidate.size for candidate, _ in said)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the runs beside themselves: who is protected and why, who is on the way out, their metric."""

    protected: Mapping[int, str]
    leaving: Collection[int] = ()
    values: Mapping[int, float | None] | None = None
    #: Of a ceiling of volumes: the volume of each source that answers, and what is in use there beside what is on its way out.
    volume_of: Mapping[int, Hashable] = field(default_factory=dict)
    used: Mapping[Hashable, int] = field(default_factory=dict)

    def place(self, policy: RetentionPolicy, row: Candidate) -> Hashable:
        """What the ceiling is of, for a run: its volume (None: unknown), or all of the policy's runs."""
        return self.volume_of.get(row.source_id) if _of_volumes(policy) else "all"


def faults(policy: RetentionPolicy) -> dict[str, str]:
    """What is wrong with a policy as it stands, by field ("" for what concerns the whole): with any of it, it never runs."""
    found = {}
    if policy.trainer_id is None and policy.dataset_id is None:
        found[""] = "it names neither a trainer nor a dataset, and would be about every run there is"
    elif policy.max_age is None and policy.keep_last is None and policy.keep_best is None and policy.ceiling is None:
        found[""] = "it has no rule: set a maximum age, how many to keep, or a ceiling"
    if policy.dataset is not None and policy.trainer_id not in (None, policy.dataset.trainer_id):
        found["dataset"] = f"the dataset {policy.dataset} is not one of the trainer {policy.trainer}"
    if policy.max_age is not None and policy.max_age < YOUNGEST:
        found["max_age"] = "a maximum age under an hour would take every run that is not written to right now"
    for name in ("keep_last", "keep_best", "ceiling"):
        if (value := getattr(policy, name)) is not None and value < 1:
            found[name] = f"{name.replace('_', ' ')} {value} keeps nothing: leave it empty, or say at least 1"
    if (policy.keep_best is None) != (not policy.metric.strip()):
        found["metric" if policy.keep_best is not None else "keep_best"] = "the best to keep need both a number and a metric"
    if not timedelta(0) <= policy.grace <= LONGEST:
        found["grace"] = "the time in the trash is not negative and at most ten years"
    return found


def in_words(policy: RetentionPolicy) -> list[str]:
    """Its rules, one a line."""
    said = []
    if policy.max_age is not None:
        said.append(f"of which nothing came for {duration(policy.max_age.total_seconds())}")
    if policy.ceiling is not None:
        said.append(f"the oldest, while {_whole(policy)} over {size(policy.ceiling)}")
    said = [f"goes: {' or '.join(said)}" if said else "goes: all that is not kept"]
    if policy.keep_last:
        said.append(f"stays: the newest {policy.keep_last:,} of each dataset")
    if policy.keep_best:
        which = f"{policy.get_best_display().split()[1]} {policy.get_metric_of_display()} of {policy.metric}"
        said.append(f"stays: the best {policy.keep_best:,} of each dataset by the {which}")
    said.append("stays: pinned, bookmarked" if policy.keep_pinned else "pinned and bookmarked runs go, too")
    return said


def judge(policy: RetentionPolicy, rows: Sequence[Candidate], known: Known, at: datetime) -> Evaluated:
    """Who goes and who stays, oldest first; nobody goes where its guards would be passed."""
    ages = {row.id: age for row in rows if (age := aged(row, at)) is not None}
    # what is dated in the future stays, and takes nobody's place among the newest or the best
    sure = [row for row in rows if row.id in ages and row.id not in known.leaving]
    kept = _newest(policy, sure, ages) | _best(policy, sure, ages, known) | dict(known.protected)
    going: list[Said] = []
    staying: list[Said] = []
    free: list[Said] = []
    for row in sorted(rows, key=lambda row: (ages.get(row.id, timedelta(0)), -row.id), reverse=True):
        age = ages.get(row.id)
        if row.id in kept:
            staying.append((row, kept[row.id]))
        elif age is None:
            staying.append((row, "is dated in the future" if row.modified else "no file tells its age"))
        elif reason := _expired(policy, row, age):
            going.append((row, reason))
        else:
            free.append((row, _stays(policy, age)))
    over = _over(policy, rows, known, going)
    for row, why in free:
        place = known.place(policy, row)
        if over.get(place, 0) > 0 and row.size:
            going.append((row, f"{_whole(policy)} over {size(policy.ceiling or 0)}, the oldest go first"))
            over[place] -= row.size
        else:
            staying.append((row, "how full its volume is is not known" if place is None and policy.ceiling else why))
    refused = guarded(policy, len(going), weight(going))
    return Evaluated((), staying, refused, going) if refused else Evaluated(going, staying)


def aged(row: Candidate, at: datetime) -> timedelta | None:
    """Since anything came of it, by its files, by their arrival or by its events; None where one of them lies ahead.

    The youngest of the three, as the first two may be dated back: it goes by itself, nobody looks at it first.
    """
    age = row.age(at)
    return age if age is None or row.last_event is None else min(age, at - row.last_event)


def guarded(policy: RetentionPolicy, runs: int, held: int) -> str:
    """Why so many runs, or bytes, must not go at once; empty where they may."""
    if runs > policy.most_runs:
        return f"{counted(runs)} would go, and its guard lets at most {policy.most_runs:,} go at once"
    if policy.most_bytes is not None and held > policy.most_bytes:
        return f"{size(held)} would go, and its guard lets at most {size(policy.most_bytes)} go at once"
    return ""


def _newest(policy: RetentionPolicy, rows: Iterable[Candidate], ages: Mapping[int, timedelta]) -> dict[int, str]:
    """The newest of each dataset, and that they are; of two of the same age the one that was registered later."""
    most = policy.keep_last
    words = f"is one of the newest {most:,}" if most and most > 1 else "is the newest"
    return _first(rows, most, lambda row: (ages[row.id], -row.id), words)


def _best(
    policy: RetentionPolicy, rows: Sequence[Candidate], ages: Mapping[int, timedelta], known: Known
) -> dict[int, str]:
    """The best of each dataset by the metric; all of one where nothing has it, as nobody can tell which are best."""
    values, metric, most = known.values, policy.metric, policy.keep_best
    if values is None or most is None:
        return {}
    sign = -1 if policy.best == RetentionPolicy.Best.MAX else 1
    measured = {row.id: sign * value for row in rows if (value := values.get(row.id)) is not None and math.isfinite(value)}
    words = f"is one of the best {most:,} by {metric}" if most > 1 else f"is the best by {metric}"
    ranked = [row for row in rows if row.id in measured]
    kept = _first(ranked, most, lambda row: (measured[row.id], ages[row.id], -row.id), words)
    known_of = {_group(row) for row in ranked}
    return kept | {row.id: f"no run of its dataset has a value of {metric}" for row in rows if _group(row) not in known_of}


def _first(
    rows: Iterable[Candidate], most: int | None, key: Callable[[Candidate], tuple[object, ...]], words: str
) -> dict[int, str]:
    """The first so many of each dataset in this order."""
    if most is None:
        return {}
    groups: dict[tuple[str, str | None], list[Candidate]] = defaultdict(list)
    for row in rows:
        groups[_group(row)].append(row)
    return {row.id: words for some in groups.values() for row in sorted(some, key=key)[:most]}  # type: ignore[arg-type]


def _group(row: Candidate) -> tuple[str, str | None]:
    return row.trainer, row.dataset


def _expired(policy: RetentionPolicy, row: Candidate, age: timedelta) -> str:
    """Why a run that nothing keeps goes whatever the ceiling says; empty where only that can say so."""
    if policy.max_age is not None:
        if age < policy.max_age:
            return ""
        return f"nothing came for {duration(age.total_seconds())}, at most {duration(policy.max_age.total_seconds())} are kept"
    if policy.ceiling is not None:
        return ""
    kept = [f"the newest {policy.keep_last:,}"] if policy.keep_last else []
    kept += [f"the best {policy.keep_best:,} by {policy.metric}"] if policy.keep_best else []
    return f"is not among {' or '.join(kept)}{f' of {row.dataset}' if row.dataset else ''}"


def _stays(policy: RetentionPolicy, age: timedelta) -> str:
    """Why one that nothing protects stays as long as there is room."""
    if policy.max_age is not None:
        return f"something came {duration(age.total_seconds())} ago"
    return f"{_whole(policy)} under {size(policy.ceiling or 0)}"


def _of_volumes(policy: RetentionPolicy) -> bool:
    return policy.ceiling is not None and policy.ceiling_of == RetentionPolicy.Ceiling.VOLUME


def _whole(policy: RetentionPolicy) -> str:
    """What the ceiling is of, with its verb."""
    return "its volume, less what leaves it already, is" if _of_volumes(policy) else "all runs together are"


def _over(policy: RetentionPolicy, rows: Iterable[Candidate], known: Known, going: Iterable[Said]) -> dict[Hashable, int]:
    """Bytes beyond the ceiling that stay as it is; what is on its way out already does not count."""
    if policy.ceiling is None:
        return {}
    used: Counter[Hashable] = Counter(known.used)
    if not _of_volumes(policy):
        used["all"] = sum(row.size for row in rows if row.id not in known.leaving)
    for row, _ in going:
        used[known.place(policy, row)] -= row.size
    return {place: size - policy.ceiling for place, size in used.items() if place is not None}
