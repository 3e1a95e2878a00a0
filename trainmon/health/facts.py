"""What the database says of the services beside the site: one connection, a few small queries, each with a limit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils.timezone import now

from runs.models import Heartbeat, Source, Trainer
from runs.models.heartbeat import LATE
from runs.models.trainer import FOLLOWING
from streaming.models import TensorBoard
from streaming.tensorboard.wishes import wished
from trainmon.health.standing import Part, Standing, State

T = TypeVar("T")

#: Milliseconds of one query, and how long a TensorBoard may take to wake and start, or go unseen by its supervisor.
STATEMENT = 1_000
WAKING, STARTING, UNSEEN = timedelta(seconds=10), timedelta(seconds=90), timedelta(seconds=30)


def in_time(question: Callable[[], T], milliseconds: int = STATEMENT) -> T:
    """What a function finds, each of its queries bounded."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
        return question()


def look() -> dict[str, Standing]:
    """The database, and what it knows of worker, janitor, follower and TensorBoards; raises where it does not answer."""
    in_time(_is_there)
    found = {"database": Standing(State.OK)}
    for name, question in (("worker", worker), ("janitor", janitor), ("follower", follower), ("tensorboards", tensorboards)):
        try:
            found[name] = in_time(question)
        except (OperationalError, InterfaceError) as error:  # also: it took too long
            if connection.connection is None or connection.connection.closed:
                raise
            found[name] = Standing(State.UNKNOWN, str(error).strip())
        except DatabaseError as error:
            found[name] = Standing(State.UNKNOWN, str(error).strip())
    return found


def _is_there() -> None:
    """A table of ours, read: a database that is empty or half migrated serves no page."""
    Trainer.objects.order_by().values_list("pk").first()


def worker() -> Standing:
    """The clock gives the worker a heartbeat to do each half minute, through the broker."""
    return _beats("worker")


def janitor() -> Standing:
    """So it does to the janitor."""
    return _beats("janitor")


def _beats(service: str) -> Standing:
    beat = Heartbeat.objects.filter(service=service).first()
    if beat is None:
        return Standing(State.DOWN, f"it has never done anything: clock, broker and {service} must run")
    if now() - beat.at < LATE:
        return Standing(State.OK)
    why = f"its last heartbeat is old: the clock, the broker or the {service} does not run, or all its threads are busy"
    return Standing(State.DOWN, why, beat.at)


def follower() -> Standing:
    """Each enabled source is followed, or at least read by the clock in time."""
    sources = list(Source.objects.filter(enabled=True).select_related("trainer").defer("verdicts", "fingerprint"))
    behind = [source for source in sources if not source.is_followed]
    if not behind:
        return Standing(State.OK, "" if sources else "no source is enabled")
    parts = tuple(
        Part(source.trainer_id, f"{source.trainer.slug}/{source.pk}", source.state, source.last_error, source.as_of)
        for source in behind
    )
    all_of_them = len(behind) == len(sources)
    why = f"{len(behind)} of {len(sources)} sources are not followed: what grows in them is read late"
    since = max((source.followed for source in behind if source.followed), default=None) if all_of_them else None
    return Standing(State.DOWN if all_of_them else State.DEGRADED, why, since and since + FOLLOWING, parts)


def tensorboards() -> Standing:
    """Each that should run does, and its supervisor looks after it."""
    frozen_now = now()
    sources: dict[Trainer, list[Source]] = {}
    enabled = Source.objects.filter(enabled=True).select_related("trainer").only("trainer__slug")
    for source in enabled.order_by("trainer__slug"):
        sources.setdefault(source.trainer, []).append(source)
    rows = list(TensorBoard.objects.select_related("trainer").defer("log_tail"))
    kept = {one.trainer for one in rows}
    parts = [Part(one.pk, one.slug, "missing", "its supervisor has not begun") for one in sources if one not in kept]
    count = len(parts)
    for one in rows:
        should_run = wished(one, sources.get(one.trainer, ()), frozen_now).runs
        count += should_run
        wrong = trouble(one, frozen_now) if should_run else None
        parts.append(Part(one.trainer_id, one.trainer.slug, *(wrong or (one.state, one.reason)), one.since, ok=wrong is None))
    missing = sum(not part.ok for part in parts)
    if not missing:
        return Standing(State.OK, parts=tuple(parts))
    why = f"{missing} of {count} TensorBoards that should run do not"
    return Standing(State.DOWN if missing == count else State.DEGRADED, why, parts=tuple(parts))


def trouble(one: TensorBoard, at: datetime) -> tuple[str, str] | None:
    """What is wrong with one that should run, as a state and a reason."""
    if one.seen is None or at - one.seen > UNSEEN:
        return "unseen", "its supervisor does not look after it"
    if one.state == TensorBoard.State.RUNNING:
        return None
    if one.state == TensorBoard.State.ASLEEP and one.visited and at - one.visited < WAKING:
        return None
    if one.state == TensorBoard.State.STARTING and (one.since is None or at - one.since < STARTING):
        return None
    return one.state, one.reason
