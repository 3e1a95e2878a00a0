"""Who is at the other end of a socket or stream, whether they still are, and what they may see."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q
from django.utils.crypto import constant_time_compare
from django.utils.timezone import now

from runs.compiled import Compiled
from runs.models import ApiToken, Job, Run, Source
from runs.query.conditions import among
from runs.roles import with_role
from runs.signing import Accounts

BACKEND = f"{Accounts.__module__}.{Accounts.__name__}"
#: A run or a job, by its id.
Subject = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and the session or token that they came with."""

    user: int
    session: str = ""
    auth_hash: str = ""
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """The sources that a user may see."""

    user: int
    sources: frozenset[int]


class Known(NamedTuple):
    """What is known of a run or job: its version, its source, and whether a job moves it (then at most twice a second)."""

    version: int
    source: int
    paced: bool


def signed_in(key: str) -> Account | None:
    """The account of a session cookie; None where the session is over or its password has changed."""
    session = Session.objects.filter(session_key=key, expire_date__gt=now()).first() if key else None
    said: dict[str, Any] = session.get_decoded() if session else {}
    if said.get(BACKEND_SESSION_KEY) != BACKEND or not str(said.get(SESSION_KEY, "")).isdigit():
        return None
    account = Account(int(said[SESSION_KEY]), key, str(said.get(HASH_SESSION_KEY, "")))
    return account if _is_still(account, Accounts().get_user(account.user)) else None


def _is_still(account: Account, user: User | None) -> bool:
    if user is None:
        return False
    return not account.session or constant_time_compare(account.auth_hash, user.get_session_auth_hash())


def person(user: User) -> Person:
    """What a user may see now."""
    return Person(user.pk, frozenset(Source.objects.visible_to(user).order_by().values_list("pk", flat=True)))


def standing(accounts: Collection[Account]) -> tuple[set[Account], dict[int, Person]]:
    """Those of these accounts that are still signed in, and what their users may see: asked anew."""
    sessions = [one.session for one in accounts if one.session]
    open_sessions = set(
        Session.objects.filter(session_key__in=sessions, expire_date__gt=now()).values_list("session_key", flat=True)
    )
    tokens = [one.token for one in accounts if one.token]
    valid = ApiToken.objects.filter(Q(expires=None) | Q(expires__gt=now()), pk__in=tokens).exclude(scope=ApiToken.Scope.INGEST)
    open_tokens = set(valid.values_list("pk", flat=True)) if tokens else set()
    active = with_role(User.objects.filter(pk__in={one.user for one in accounts}, is_active=True))
    users: dict[int, User] = {user.pk: user for user in active}
    there = {
        one for one in accounts
        if (one.session in open_sessions or one.token in open_tokens) and _is_still(one, users.get(one.user))
    }  # fmt: skip
    return there, {pk: person(users[pk]) for pk in {one.user for one in there}}


def look_up(user: int, runs: Collection[int], jobs: Collection[int]) -> tuple[Person | None, dict[Subject, Known]]:
    """What the user, fetched anew, may see, and what is known of those of these runs and jobs that they may."""
    account = Accounts().get_user(user)
    if account is None:
        return None, {}
    seen = person(account)
    return seen, {subject: known for subject, known in versions(runs, jobs).items() if known.source in seen.sources}


def versions(runs: Collection[int], jobs: Collection[int]) -> dict[Subject, Known]:
    """What is known of these runs and jobs, whoever may see them."""
    found: dict[Subject, Known] = {}
    if runs:
        rows = _of_runs().rows(runs=list(runs))
        found |= {("run", pk): Known(version, source, paced) for pk, version, source, paced in rows}
    if jobs:
        found |= {("job", pk): Known(version, source, True) for pk, version, source in _of_jobs().rows(jobs=list(jobs))}
    return found


@cache
def _of_runs() -> Compiled[Run]:
    moved = Exists(Job.objects.filter(run=OuterRef("pk")))
    return Compiled(Run.objects.filter(among("pk", "runs")).order_by().values_list("pk", "version", "source_id", moved))


@cache
def _of_jobs() -> Compiled[Job]:
    return Compiled(Job.objects.filter(among("pk", "jobs")).order_by().values_list("pk", "version", "source_id"))


def newest_runs(after: int | None) -> tuple[int, set[int]]:
    """The highest id of a run, and the sources of those above ``after``."""
    rows = Run.objects.order_by("-pk")
    if after is None:
        return rows.values_list("pk", flat=True).first() or 0, set()
    new: Mapping[int, int] = dict(rows.filter(pk__gt=after)[:10_000].values_list("pk", "source_id"))
    return max(new, default=after), set(new.values())
