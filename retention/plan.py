"""What a cleanup would do: runs with their files, why each was chosen and why each that must stay does.

A draft is looked at, then confirmed; its token covers every file in it (path, inode, size, mtime)
and how it is to be done, so that a confirmation is good for what was shown and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.timezone import now

from retention import files
from retention.candidates import Candidate, Parents, written
from retention.models import Plan, PlannedRun, RetentionPolicy
from runs import audit, redact
from runs.models import Run

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Changed(Exception):
    """A confirmation of another list than the one that is there now."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a cleanup is done."""

    archive: bool = True
    grace: timedelta = timedelta(days=7)
    forced: bool = False
    #: Only archived: the runs stay where they are, so that no pin protects them from it.
    keeps: bool = False
    forget_metrics: bool = False


@dataclass(frozen=True, slots=True)
class Author:
    """Who wants a cleanup, from where, and why."""

    who: str
    origin: str
    why: str = ""
    selected: str = ""
    user: User | None = None
    address: str | None = None
    policy: RetentionPolicy | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in a run's folder: a digest of every entry, and what it comes to."""

    digest: str = ""
    inode: int = 0
    size: int = 0
    frees: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A run of a draft: why it was chosen, what lies there, and why it must stay where it must."""

    candidate: Candidate
    reason: str
    seen: Seen
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A cleanup that nobody has confirmed."""

    options: Options
    chosen: list[Chosen] = field(default_factory=list)

    @property
    def going(self) -> list[Chosen]:
        """The runs that would go."""
        return [one for one in self.chosen if not one.refusal]

    @property
    def staying(self) -> list[Chosen]:
        """Those that must stay."""
        return [one for one in self.chosen if one.refusal]

    @property
    def token(self) -> str:
        """Good for exactly these runs with exactly these files, done in this way."""
        summed = hashlib.sha256(repr(self.options).encode())
        for one in sorted(self.going, key=lambda one: one.candidate.id):
            where = one.candidate
            summed.update(b"%d %d %s\0%s\n" % (where.id, where.source_id, where.folder, one.seen.digest.encode()))
        return summed.hexdigest()

    def total(self, name: str) -> int:
        """The sum of ``size``, ``frees`` or ``files`` over the runs that would go."""
        return sum(getattr(one.seen, name) for one in self.going)


#: How a run's folder is looked at; Refused where it must stay.
Look = Callable[[Candidate, datetime], Seen]


def draft(
    wanted: Sequence[tuple[Candidate, str]], options: Options, at: datetime, report: Callable[[int], None] = lambda _: None,
    looking: Look | None = None,
) -> Draft:
    """Look at what the chosen runs hold: one stat a file, nothing is opened but folders."""
    parents = Parents({candidate.source_id for candidate, _ in wanted})
    busy = under_way([candidate.id for candidate, _ in wanted])
    chosen = []
    for number, (candidate, reason) in enumerate(wanted, 1):
        refusal = (candidate.kept(at, forced=options.forced or options.keeps) or parents.kept(candidate)
                   or busy.get(candidate.id, ""))
        seen = Seen()
        if not refusal:
            try:
                seen = (looking or look)(candidate, at)
            except files.Refused as refused:
                refusal = str(refused)
        chosen.append(Chosen(candidate, reason, seen, refusal))
        report(number)
    return Draft(options, chosen)


def under_way(ids: Sequence[int]) -> dict[int, str]:
    """Of these runs those that another cleanup has not done with, with words: a confirmation is good once."""
    rows = PlannedRun.objects.filter(plan__state__in=Plan.OPEN).exclude(step__in=PlannedRun.SETTLED)
    # not `run__in`: as words of a statement, ten thousand numbers take longer than to read what is under way
    wanted = set(ids)
    return {
        run: f"is in cleanup {number}, which is under way" for run, number in rows.values_list("run", "plan") if run in wanted
    }


def look(candidate: Candidate, at: datetime) -> Seen:
    """What lies in a run's folder; Refused where it must not be touched."""
    try:
        with files.open_folder(candidate.root, candidate.folder) as fd:
            return judged(files.listing(fd), at)
    except files.Refused:
        if files.is_file(candidate.root, candidate.folder):
            raise files.Refused(f"is a log file without a folder of its own, and only folders are moved: delete "
                                f"{files.shown(candidate.path)} by hand; what is known of the run stays") from None
        raise


def judged(entries: list[files.Entry], at: datetime) -> Seen:
    """What a listing comes to; Refused where it holds what is no file and no folder, or was written a moment ago."""
    newest = size = count = 0
    for path, kind, _, _, length, mtime_ns, mode, _, _ in entries:
        if kind == "other":
            raise files.Refused(f"holds {files.shown(path)}, {files.odd(mode)}: only files and folders are cleaned up")
        if kind == "file":
            size, count = size + length, count + 1
        newest = max(newest, mtime_ns)
    if said := written(_moment(newest // 1_000_000_000), at):
        raise files.Refused(said)
    return Seen(files.digest(entries), entries[0].inode, size, files.on_disk(entries), count)


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        # beyond the calendar: a forged time
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)


def confirm(made: Draft, author: Author, token: str) -> Plan:
    """Write the plan down as the one that was confirmed; Changed where the token is another list's, or was used just now."""
    if token != made.token:
        raise Changed("what would go is no longer what was confirmed")
    ids = [one.candidate.id for one in made.going]
    with transaction.atomic():
        # of two that confirm the same at once the second waits here, and sees the first
        list(Run.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk").values_list("pk"))
        for why in under_way(ids).values():
            raise Changed(f"one of the runs {why}")
        plan = Plan.objects.create(
            by=author.user, who=author.who, origin=author.origin, why=redact.text(author.why), selected=author.selected,
            archive=made.options.archive, grace=made.options.grace, forced=made.options.forced, digest=token,
            keeps=made.options.keeps, forget_metrics=made.options.forget_metrics, policy=author.policy,
            state=Plan.State.CONFIRMED, confirmed_at=now())
        PlannedRun.objects.bulk_create(_rows(plan, made.chosen), batch_size=1000)
        audit.record(
            author.user, "confirm cleanup", plan, why=author.why, by=author.who, address=author.address, origin=author.origin,
            selected=author.selected, runs=len(made.going), bytes=made.total("size"), archive=made.options.archive,
            forced=made.options.forced, keeps=made.options.keeps, forget_metrics=made.options.forget_metrics,
            token=token)
    return plan


def _rows(plan: Plan, chosen: Iterable[Chosen]) -> Iterable[PlannedRun]:
    for one in chosen:
        step = PlannedRun.Step.SKIPPED if one.refusal else PlannedRun.Step.PLANNED
        yield PlannedRun(
            plan=plan, run_id=one.candidate.id, path=one.candidate.folder, reason=one.reason, step=step, error=one.refusal,
            inode=one.seen.inode, digest=one.seen.digest, size=one.seen.size, frees=one.seen.frees, files=one.seen.files)
