"""Finding a job by what people and scripts call it: our number, or the id that its trainer gave it.

A number is ours first: else whoever calls a job "7" would shut the addresses of job 7, our own links too.
Only what cannot be taken back (``certain``) is refused where a number is also somebody's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q
from django.http import Http404

from runs import masks
from runs.models import Job

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: Jobs that are named where several have the id.
NAMED = 20
LONGEST = 200


class Several(Exception):
    """More than one job that the user may see is called so; ``jobs`` are the first of them."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__(f"{len(jobs)} jobs are called so")
        self.jobs = jobs


def find(user: User | AnonymousUser, name: str, *, certain: bool = False) -> Job:
    """The job that this user may see of our id ``name``, or of this id of its trainer's, with its run and trainer.

    Http404 where there is none, Several where there are more.  Nothing is made by asking.
    """
    jobs = Job.objects.visible_to(user).active().select_related("run", "source__trainer")
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else None
    if not certain and number is not None and (ours := jobs.filter(pk=number).first()):
        return ours
    found = list(jobs.filter(_called(name, number)).order_by("pk")[:NAMED])
    if not found:
        raise Http404("There is no such job, or none that you may see.")
    if len(found) > 1:
        raise Several(found)
    return found[0]


def _called(name: str, number: int | None) -> Q:
    if len(name) > LONGEST or "\0" in name or any("\ud800" <= sign <= "\udfff" for sign in name):
        return Q(pk__in=[])
    # it may hold what looks like a secret: it is known without
    called = Q(external_id__in={name, masks.name(name)[:200]})
    return called if number is None else called | Q(pk=number)
