"""What can be done to runs from the admin's list: each is looked at first, and only what was looked at is done.

Nothing here touches a file: the janitor does, as it was ordered (retention/orders.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.urls import reverse
from django.utils.timezone import now

from retention import changes, orders, place, plan
from retention.candidates import Candidate, candidates
from retention.looking import Patient
from retention.models import Archive, PlannedRun, Tombstone
from retention.returning import unarchived
from retention.rights import cleanable, may_force
from retention.telling import shown_path
from runs import annotate, audit
from runs.status import duration
from runs.units import counted

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.http import HttpRequest

Step = PlannedRun.Step


@dataclass(frozen=True, slots=True)
class Line:
    """A run in a preview: what there is of it, why it goes or stays, and how it stands."""

    run: Candidate
    because: str
    size: int
    files: int | None = None
    state: str = ""
    news: str = ""

    @property
    def folder(self) -> str:
        """Where it lies, for people: without secrets."""
        return shown_path(self.run)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done, what would not; ``token`` is good for exactly that."""

    going: list[Line]
    staying: list[Line]
    token: str
    draft: plan.Draft | None = None
    tombs: list[Tombstone] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the files of all runs that go."""
        return sum(line.size for line in self.going)

    @property
    def trouble(self) -> str:
        """Why nothing can be archived."""
        return place.trouble_of(self.draft) if self.draft else ""

    @property
    def seen(self) -> str:
        """What is shown, for telling later what has changed since."""
        return changes.seen(self.shown())

    def shown(self) -> Iterator[changes.Shown]:
        """Each run, and how it stands."""
        for line in self.going:
            yield changes.Shown(line.run.id, line.run.name, line.state, news=line.news)
        for line in self.staying:
            yield changes.Shown(line.run.id, line.run.name, "", line.because)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done or ordered, in words, and where to see it."""

    words: str
    page: str


class Deed:
    """One of the things that can be done."""

    name: ClassVar[str]
    #: What the menu, the heading and the button say; ``after`` tells what becomes of the runs.
    title: ClassVar[str]
    after: ClassVar[str]
    #: What may be said about how it is done (fields of the form).
    options: ClassVar[tuple[str, ...]] = ()

    def look(self, user: User | AnonymousUser, ids: Sequence[int], said: dict[str, Any]) -> Preview:
        """What it would come to, of the runs that this user may clean up."""
        raise NotImplementedError

    def order(self, request: HttpRequest, made: Preview, said: dict[str, Any]) -> Done:
        """Do what was looked at, or have it done."""
        raise NotImplementedError


# move to the trash, archive


class Bury(Deed):
    """Into the trash, archived first; the janitor does it."""

    name = "bury"
    title = "Move to the trash"
    after = "The janitor renames their folders into the trash, from where they can be restored until they are purged."
    options: ClassVar[tuple[str, ...]] = ("archive", "grace", "forced", "why")

    def look(self, user: User | AnonymousUser, ids: Sequence[int], said: dict[str, Any]) -> Preview:
        """One stat a file."""
        wanted = [(row, _reason(row)) for row in candidates(cleanable(user).filter(pk__in=ids))]
        how = self.how(user, said)
        made = plan.draft(wanted, how, now(), looking=place.looking(how, Patient(), place.there))
        going = [Line(one.candidate, one.reason, one.seen.size, one.seen.files, changes.lies(one)) for one in made.going]
        staying = [Line(one.candidate, one.refusal, one.candidate.size) for one in made.staying]
        return Preview(going, staying, made.token, draft=made)

    def how(self, user: User | AnonymousUser, said: dict[str, Any]) -> plan.Options:
        """How it is to be done."""
        return plan.Options(
            archive=said["archive"], grace=timedelta(days=said["grace"]),
            forced=bool(said.get("forced")) and may_force(user))

    def order(self, request: HttpRequest, made: Preview, said: dict[str, Any]) -> Done:
        """Write the plan down and tell the janitor."""
        assert made.draft is not None and request.user.is_authenticated
        user, count = request.user, len(made.going)
        author = plan.Author(user.get_username(), "admin", said["why"], f"{counted(len(made.draft.chosen))} by hand", user,
                             audit.address_of(request))
        planned = orders.clean(made.draft, author, made.token)
        return Done(f"{planned} is under way: {counted(count)}.", reverse("admin:retention_plan_change", args=[planned.pk]))


class Pack(Bury):
    """Into an archive; the runs stay where they are."""

    name = "archive"
    title = "Archive"
    after = "The janitor packs each into an archive, reads it again and compares. The runs stay where they are."
    options = ("why",)

    def how(self, user: User | AnonymousUser, said: dict[str, Any]) -> plan.Options:
        """No pin protects from being copied."""
        return plan.Options(keeps=True)


def _reason(row: Candidate) -> str:
    age = row.age(now())
    return "chosen by hand" + (f"; nothing came for {duration(age.total_seconds())}" if age is not None else "")


# restore


class Restore(Deed):
    """Back to their places: from the trash, after a purge from their archives."""

    name = "restore"
    title = "Restore"
    after = "The janitor brings each back to its place, never over something: from the trash, after a purge from its archive."
    options = ("why",)

    def look(self, user: User | AnonymousUser, ids: Sequence[int], said: dict[str, Any]) -> Preview:
        """By the journal; whether something lies at its place, the janitor sees."""
        found = candidates(cleanable(user).filter(pk__in=ids))
        buried = _tombs(row.id for row in found)
        going, staying = [], []
        for row in found:
            tomb = buried.get(row.id)
            why = _stuck(tomb)
            if tomb is None or why:
                staying.append(Line(row, why, tomb.size if tomb is not None else row.size))
            else:
                going.append(_returning(replace(row, path=bytes(tomb.path)), tomb))
        tombs = [buried[line.run.id] for line in going]
        token = _token(self.name, ((tomb.pk, tomb.gone_at, tomb.archive_id) for tomb in tombs))
        return Preview(going, staying, token, tombs=tombs)

    def order(self, request: HttpRequest, made: Preview, said: dict[str, Any]) -> Done:
        """Tell the janitor."""
        assert request.user.is_authenticated
        orders.bring_back(made.tombs, request.user, said["why"], audit.address_of(request))
        return Done(f"{counted(len(made.going))} will be brought back.", reverse("admin:retention_tombstone_changelist"))


def _tombs(ids: Iterable[int]) -> dict[int, Tombstone]:
    """The burial of each of these runs that was not undone."""
    tombs = Tombstone.objects.filter(run__in=list(ids), restored_at=None).select_related("planned", "archive", "run")
    return {tomb.run_id: tomb for tomb in tombs.order_by("pk")}


def _stuck(tomb: Tombstone | None) -> str:
    """Why a run cannot be brought back; empty where it can."""
    if tomb is None:
        return "is in its place: there is nothing to bring back"
    if tomb.wanted_by or tomb.planned.step == Step.RESTORING:
        return "is on its way back already"
    if tomb.planned.step == Step.PURGING:
        return "is being purged"
    if tomb.gone_at is None:
        return ""
    if tomb.archive is None:
        return unarchived(tomb)
    return "" if tomb.archive.state == Archive.State.VERIFIED else f"its archive is {tomb.archive.get_state_display()}"


def _returning(row: Candidate, tomb: Tombstone) -> Line:
    state = "archive" if tomb.gone_at else "trash"
    because = f"from its {state}" if tomb.gone_at else f"from the trash, where it lies since {tomb.buried_at:%Y-%m-%d %H:%M}"
    return Line(row, because, tomb.size, state=state, news=f"{row.name} would come {because} now.")


# pin, unpin


class Pin(Deed):
    """A pin keeps a run from every cleanup that is not an admin's."""

    name = "pin"
    title = "Pin"
    after = "No cleanup takes a pinned run, unless an admin forces it."
    on: ClassVar[bool] = True

    def look(self, user: User | AnonymousUser, ids: Sequence[int], said: dict[str, Any]) -> Preview:
        """Those that are not as they are to be."""
        found = candidates(cleanable(user).filter(pk__in=ids))
        already = "is pinned already" if self.on else "is not pinned"
        going = [Line(row, "", row.size) for row in found if row.pinned != self.on]
        staying = [Line(row, already, row.size) for row in found if row.pinned == self.on]
        return Preview(going, staying, _token(self.name, (line.run.id for line in going)))

    def order(self, request: HttpRequest, made: Preview, said: dict[str, Any]) -> Done:
        """By the door that the run's page uses, with a line in the audit trail for each."""
        assert request.user.is_authenticated
        for run in cleanable(request.user).filter(pk__in=[line.run.id for line in made.going]).only("pk", "pinned", "version"):
            annotate.pin(request, run, self.on)
        words = f"{counted(len(made.going))} {'pinned' if self.on else 'unpinned'}."
        return Done(words, reverse("admin:retention_runstorage_changelist"))


class Unpin(Pin):
    """Without its pin a run may go with the next cleanup."""

    name = "unpin"
    title = "Unpin"
    after = "Without its pin a run may go with a cleanup."
    on = False


DEEDS: dict[str, Deed] = {deed.name: deed for deed in (Bury(), Pack(), Restore(), Pin(), Unpin())}


def _token(name: str, facts: Iterable[object]) -> str:
    """Good for this deed on these runs as they are."""
    return hashlib.sha256(repr((name, list(facts))).encode()).hexdigest()
