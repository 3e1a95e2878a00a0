"""Pages of the policies: what each would do now, and what came of its last turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Count, Q, Sum
from django.shortcuts import get_object_or_404, render
from django.utils.timezone import now

from retention import policies, rules
from retention.looking import Patient
from retention.models import PlannedRun
from retention.rights import closed
from retention.turns import before, turn_of, turns

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: Runs of each list, and cleanups, that the page of a policy shows.
ROWS, CLEANUPS = 200, 20


@closed
def policy_list(request: HttpRequest) -> HttpResponse:
    """The policies about trainers that the user may see, by what the registry knows."""
    return render(request, "policies.html", {"turns": turns(request.user)})


@closed
def policy_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One of them, by what the disk says, too: the list is that of ``prune --dry-run``."""
    policy, at = get_object_or_404(policies.visible_to(request.user), pk=pk), now()
    due = policies.due(policy, at, before(policy), Patient())
    staying = [*((one.candidate, one.refusal) for one in due.draft.staying), *due.evaluated.staying]
    gone = Q(runs__step__in=PlannedRun.SETTLED) & ~Q(runs__step__in=[PlannedRun.Step.SKIPPED, PlannedRun.Step.FAILED])
    plans = policy.plans.annotate(
        all=Count("runs"), gone=Count("runs", filter=gone), bytes=Sum("runs__size", filter=gone)).order_by("-pk")
    context = {
        "turn": turn_of(policy, at), "due": due, "policy": policy,
        "going": due.draft.going[:ROWS],
        "held_back": due.evaluated.wanted[:ROWS], "held_bytes": rules.weight(due.evaluated.wanted),
        "size": due.draft.total("size"), "frees": due.draft.total("frees"), "files": due.draft.total("files"),
        "staying": staying[:ROWS], "stay": len(staying), "plans": plans[:CLEANUPS], "rows": ROWS,
    }
    return render(request, "policy.html", context)
