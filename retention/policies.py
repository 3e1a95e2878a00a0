"""Policies: what each would clean up now, and having that done, in its name.

``evaluate`` asks the registry alone; ``due`` also looks at what the disk says of those that would go, as every
cleanup does.  A dry run and a real one are the same list, because both are made by ``due``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Max, Q, QuerySet
from django.utils.timezone import now

from retention import backoff, orders, place, plan, rules, work
from retention.candidates import Candidate, Parents, candidates
from retention.fullness import Fullness, fullness
from retention.looking import Patient
from retention.models import Plan, PlannedRun, RetentionPolicy, Tombstone
from retention.rules import Evaluated
from retention.turn import Turn as Held
from runs import audit
from runs.models import Run, Series, Trainer
from runs.models.run import RunQuerySet
from runs.roles import sees_everything
from runs.status import duration
from runs.units import counted, size

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: How often those that are on have their turn (settings.CELERY_BEAT_SCHEDULE).
EVERY = timedelta(hours=1)
#: What was brought back stays for so long at least, whatever a policy says; longer where it lies longer in the trash.
RESPITE = timedelta(days=1)
#: Where the value lies that runs are compared by.
COLUMNS = {"last": "last", "min": "minimum", "max": "maximum"}


@dataclass(frozen=True, slots=True)
class Due:
    """What a policy would do now: the list that is shown is the list that is carried out."""

    policy: RetentionPolicy
    evaluated: Evaluated
    draft: plan.Draft

    @property
    def refused(self) -> str:
        """Why it must not run; empty where it may."""
        return self.evaluated.refused


def visible_to(user: User | AnonymousUser) -> QuerySet[RetentionPolicy]:
    """The policies about trainers that this user may see; those about none are the admins' to mend."""
    policies = RetentionPolicy.objects.select_related("trainer", "dataset__trainer")
    if sees_everything(user):
        return policies
    mine = Trainer.objects.visible_to(user).order_by().values("pk")
    theirs = (Q(trainer=None) | Q(trainer__in=mine)) & (Q(dataset=None) | Q(dataset__trainer__in=mine))
    return policies.filter(theirs).exclude(trainer=None, dataset=None)


def evaluate(policy: RetentionPolicy, at: datetime, taken: Collection[int] = ()) -> Evaluated:
    """Who goes, who stays, and why; or why it must not run.  ``taken`` are runs that go already by another one."""
    if wrong := rules.faults(policy):
        return Evaluated(refused="; ".join(wrong.values()))
    runs = _about(policy).exclude(pk__in=taken)
    values = _values(policy, runs)
    if values is not None and not values:
        return Evaluated(refused=f"no run of {whose(policy)} has the metric {policy.metric}")
    rows = candidates(runs)
    leaving, busy = _busy(runs)
    parents = Parents({row.source_id for row in rows})
    respite, failed = _restored(policy, runs, at), backoff.waiting(runs, at)
    protected = {
        row.id: why for row in rows
        if (why := busy.get(row.id) or row.kept(at, forced=not policy.keep_pinned) or parents.kept(row) or respite.get(row.id)
            or failed.get(row.id))
    }
    # nobody goes in the place of one that could not
    full = _fullness(policy, rows, {*taken, *failed})
    known = rules.Known(protected, leaving | failed.keys(), values, full.volume_of, full.used)
    return rules.judge(policy, rows, known, at)


def whose(policy: RetentionPolicy) -> str:
    """What it is about, in words."""
    trainer = policy.trainer or (policy.dataset and policy.dataset.trainer)
    return " / ".join(str(one) for one in (trainer, policy.dataset) if one is not None) or "nothing"


def _about(policy: RetentionPolicy) -> RunQuerySet:
    runs = Run.objects.active().filter(files_missing=False)
    if policy.trainer_id is not None:
        runs = runs.filter(source__trainer=policy.trainer_id)
    if policy.dataset_id is not None:
        runs = runs.filter(dataset=policy.dataset_id)
    return runs


def _values(policy: RetentionPolicy, runs: RunQuerySet) -> dict[int, float | None] | None:
    """The metric of the runs that have it; None where the policy asks for none."""
    if policy.keep_best is None:
        return None
    found = Series.objects.filter(tag__name=policy.metric, run__in=runs.order_by())
    return dict(found.order_by().values_list("run_id", COLUMNS[policy.metric_of]))


def _fullness(policy: RetentionPolicy, rows: Sequence[Candidate], taken: Collection[int]) -> Fullness:
    """Of the volumes of its runs; nothing where it does not ask for that."""
    if policy.ceiling is None or policy.ceiling_of != RetentionPolicy.Ceiling.VOLUME:
        return Fullness()
    return fullness({row.source_id for row in rows}, taken)


def _busy(runs: RunQuerySet) -> tuple[set[int], dict[int, str]]:
    """The runs that another cleanup takes away, and all that one is at work on, with words."""
    at_work = PlannedRun.objects.filter(plan__state__in=Plan.OPEN, run__in=runs.order_by())
    rows = list(at_work.exclude(step__in=PlannedRun.SETTLED).values_list("run_id", "plan_id", "plan__keeps"))
    return {run for run, _, keeps in rows if not keeps}, {run: f"is in cleanup {number} already" for run, number, _ in rows}


def _restored(policy: RetentionPolicy, runs: RunQuerySet, at: datetime) -> dict[int, str]:
    """Runs that somebody brought back lately: else the same policy would bury them within the hour."""
    since = at - max(policy.grace, RESPITE)
    tombs = Tombstone.objects.filter(run__in=runs.order_by(), restored_at__gt=since).order_by()
    return {
        run: f"was restored {duration(max(0.0, (at - when).total_seconds()))} ago: pin or hold it if it is to stay for longer"
        for run, when in tombs.values_list("run_id").annotate(when=Max("restored_at"))
    }


def options(policy: RetentionPolicy) -> plan.Options:
    """How it cleans up."""
    return plan.Options(
        policy.archive, policy.grace, not policy.keep_pinned, forget_metrics=policy.forget_metrics)


def due(policy: RetentionPolicy, at: datetime, taken: Collection[int] = (), looking: plan.Look | None = None) -> Due:
    """What it would do now; the guards see what the disk says, too."""
    evaluated = evaluate(policy, at, taken)
    how = options(policy)
    trouble = place.there if looking else place.here
    draft = plan.draft(evaluated.going, how, at, looking=place.looking(how, looking or plan.look, trouble))
    refused = rules.guarded(policy, len(draft.going), draft.total("size"))
    if refused and not evaluated.refused:
        evaluated = replace(evaluated, going=(), wanted=evaluated.going, refused=refused)
        draft = plan.Draft(draft.options, [])
    return Due(policy, evaluated, draft)


def due_of(
    policies: Sequence[RetentionPolicy], at: datetime, looking: plan.Look | None = None
) -> Iterator[Due]:
    """What each would do, one after the other: no run goes by two of them."""
    taken: set[int] = set()
    for policy in policies:
        one = due(policy, at, taken, looking)
        taken.update(row.id for row, _ in one.evaluated.going)
        yield one


def order_all(at: datetime) -> list[str]:
    """Have the janitor clean up what the policies that are on say, each in its name; what came of each, in words."""
    return [order(one) for one in due_of(enabled(), at, Patient())]


def order(one: Due) -> str:
    """Have the janitor do exactly that."""
    if words := _idle(one):
        return words
    try:
        orders.clean(one.draft, _author(one), one.draft.token)
    except plan.Changed as changed:
        return _note(one, f"nothing was done: {changed}")
    except orders.Away:
        pass  # it is confirmed: the janitor finds it when it is back
    return _note(one, f"{counted(len(one.draft.going))} ({size(one.draft.total('size'))}) on the way to the trash")


def apply(one: Due, held: Held, report: work.Report = work.silent, *, origin: str = "console", why: str = "") -> Plan | None:
    """Do exactly that here and now; None where nothing was to be done."""
    if _idle(one):
        return None
    try:
        made = plan.confirm(one.draft, _author(one, origin, why), one.draft.token)
    except plan.Changed as changed:
        _note(one, f"nothing was done: {changed}")
        return None
    work.carry_out(made, held, report)
    gone = list(made.runs.filter(step=PlannedRun.Step.BURIED).values_list("size", flat=True))
    left = made.runs.count() - len(gone)
    _note(one, f"{counted(len(gone))} ({size(sum(gone))}) to the trash" + (f", {counted(left)} stayed" if left else ""))
    return made


def _author(one: Due, origin: str = "policy", why: str = "") -> plan.Author:
    """The policy itself: nobody looked at what it does."""
    said = "; ".join(rules.in_words(one.policy))
    return plan.Author(f"policy {one.policy.name}", origin, why or said, said, policy=one.policy)


def _idle(one: Due) -> str:
    """What is written down where there is nothing to do."""
    if one.refused:
        return _note(one, f"refused: {one.refused}")
    if not one.draft.going:
        why = {each.refusal for each in one.draft.staying}
        stay = f": {counted(len(one.draft.staying))} cannot go now" if why else ""
        stay += f", each {min(why)}" if len(why) == 1 else ""
        return _note(one, f"nothing to do{stay}")
    return ""


def _note(one: Due, outcome: str) -> str:
    """What came of it; a refusal is told to the audit trail once, not every hour."""
    if one.refused and one.policy.outcome != outcome:
        audit.record(None, "refuse policy", one.policy, by=f"policy {one.policy.name}", reason=one.refused)
    RetentionPolicy.objects.filter(pk=one.policy.pk).update(ran_at=now(), outcome=outcome)
    return outcome


def enabled() -> list[RetentionPolicy]:
    """The policies that are switched on, in the order in which they have their turn."""
    return list(RetentionPolicy.objects.filter(enabled=True).select_related("trainer", "dataset__trainer"))
