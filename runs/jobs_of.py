"""Finding a job by what people and scripts call it: our number, or the id that its trainer gave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q
from django.http import Http404

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


def find(user: User | AnonymousUser, name: str) -> Job:
    """The job that this user may see of our id ``name``, or of this id of its trainer's, with its run and trainer.

    Http404 where there is none, Several where there are more.  Nothing is made by asking.
    """
    jobs = Job.objects.visible_to(user).active().select_related("run", "source__trainer")
    found = list(jobs.filter(_called(name)).order_by("pk")[:NAMED])
    if not found:
        raise Http404("There is no such job, or none that you may see.")
    if len(found) > 1:
        raise Several(found)
    return found[0]


def _called(name: str) -> Q:
    if len(name) > LONGEST or "\0" in name or any("\ud800" <= sign <= "\udfff" for sign in name):
        return Q(pk__in=[])
    number = name.isascii() and name.isdigit() and len(name) < 19
    return Q(external_id=name) | Q(pk=int(name)) if number else Q(external_id=name)
