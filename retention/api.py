"""Cleanup for scripts: a dry run, its confirmation, and how cleanups stand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.timezone import now
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError
from rest_framework.response import Response

from retention import changes, orders, place, plan, selection, standing
from retention.choosing import Question, chosen
from retention.forms import LONGEST_AGE, LONGEST_GRACE, REASON
from retention.looking import Patient
from retention.models import Plan, PlannedRun
from retention.rights import CLEAN, cleanable, may_force
from retention.telling import outline
from runs import audit
from runs.api.base import ApiView
from runs.api.paging import PageQuery, page, page_of
from runs.api.shapes import INT64, Strict
from runs.models import Dataset, Trainer
from runs.models.run import Status
from runs.readers.plain import plain

if TYPE_CHECKING:
    from rest_framework.request import Request

#: Runs that one call names.
MOST = 10_000


class Age(serializers.CharField):
    """30m, 12h, 7d, 2w as a duration."""

    def __init__(self, *, longest: timedelta, **options: Any) -> None:
        super().__init__(**options)
        self.longest = longest

    def to_internal_value(self, data: Any) -> Any:
        """The duration."""
        try:
            found = selection.age(super().to_internal_value(data))
        except selection.Invalid as wrong:
            raise ValidationError(f"{wrong}.") from None
        if found > self.longest:
            raise ValidationError(f"At most {self.longest.days:,}d.")
        return found


class CleanupQuestion(Strict):
    """Which runs, and how: named ones, or all that fit a filter; of those the oldest, at most so many."""

    runs = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=INT64), required=False, max_length=MOST, help_text="Ids.")
    trainer = serializers.CharField(max_length=200, required=False, help_text="Its slug.")
    dataset = serializers.IntegerField(min_value=1, max_value=INT64, required=False, help_text="Its id.")
    status = serializers.ChoiceField(Status.choices, required=False)
    older_than = Age(longest=LONGEST_AGE, required=False, help_text="Nothing came of it for so long: `12h`, `7d`, `2w`.")
    most = serializers.IntegerField(min_value=1, max_value=INT64, required=False)
    archive = serializers.BooleanField(default=True, help_text="Archive each and check it before it is touched.")
    grace = Age(longest=LONGEST_GRACE, required=False, help_text="Time in the trash before it is purged: `7d`.")
    force = serializers.BooleanField(default=False, help_text="Pinned and bookmarked ones, too: role admin.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Named runs or a filter; neither would mean all, and is refused."""
        asked = question(attrs)
        if not asked.ids and not asked.filters:
            raise ValidationError("Name runs, or give a filter: an empty one never means all.")
        if asked.ids and asked.filters:
            raise ValidationError("Either runs are named, or all that fit a filter are meant: leave one of them out.")
        return attrs


class CleanupOrder(CleanupQuestion):
    """The question of a dry run, and the token that it gave."""

    token = serializers.CharField(max_length=64)
    seen = serializers.CharField(
        max_length=500_000, default="", allow_blank=True, help_text="As the dry run told it: a 409 then names what changed.")
    why = serializers.CharField(max_length=REASON, default="", allow_blank=True, help_text="For the audit trail.")


class StayingRun(serializers.Serializer):
    """A run, and why it must stay."""

    id = serializers.IntegerField()
    trainer = serializers.CharField()
    dataset = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    path = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes, as the registry knows them.")
    event_files = serializers.IntegerField()
    points = serializers.IntegerField()
    modified = serializers.DateTimeField(allow_null=True)
    age_seconds = serializers.FloatField(allow_null=True)
    status = serializers.CharField()
    reason = serializers.CharField()


class GoingRun(StayingRun):
    """A run that would go, what lies on disk of it, and why it was chosen."""

    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    frees = serializers.IntegerField(help_text="Bytes of the disk that are free when it is purged.")


class CleanupTotal(serializers.Serializer):
    """What those that would go come to."""

    runs = serializers.IntegerField()
    files = serializers.IntegerField()
    size = serializers.IntegerField()
    frees = serializers.IntegerField()


class DryRun(serializers.Serializer):
    """What a cleanup would do."""

    token = serializers.CharField(help_text="Good for exactly these runs with exactly these files, done in this way.")
    seen = serializers.CharField(help_text="How each run that would go stands, in short.")
    going = GoingRun(many=True)
    staying = StayingRun(many=True)
    total = CleanupTotal()
    archive = serializers.BooleanField()
    archive_trouble = serializers.CharField(help_text="Why no archive can be made now, so that none goes that needs one.")
    grace_seconds = serializers.FloatField()
    saved_a_month = serializers.CharField()


class CleanupRow(serializers.Serializer):
    """A cleanup and how it stands, as far as its runs may be seen."""

    id = serializers.IntegerField()
    url = serializers.CharField()
    state = serializers.ChoiceField(Plan.State.choices)
    who = serializers.CharField()
    origin = serializers.CharField(help_text="console, web, api, policy ...")
    why = serializers.CharField()
    selected = serializers.CharField(help_text="Empty where it is also about runs that one may not see.")
    archive = serializers.BooleanField()
    grace_seconds = serializers.FloatField()
    forced = serializers.BooleanField()
    confirmed_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    share = serializers.FloatField(help_text="How much of its bytes is done: 0 to 1.")
    runs = serializers.IntegerField()
    moved = serializers.IntegerField(help_text="Those that went to the trash.")
    left_alone = serializers.IntegerField()


class RunOfCleanup(serializers.Serializer):
    """A run of a cleanup, and how far it is."""

    id = serializers.IntegerField(help_text="The run's.")
    name = serializers.CharField()
    path = serializers.CharField()
    step = serializers.ChoiceField(PlannedRun.Step.choices)
    selected_because = serializers.CharField()
    error = serializers.CharField(help_text="Why it was left alone, or what went wrong.")
    size = serializers.IntegerField()
    files = serializers.IntegerField()
    frees = serializers.IntegerField()


class CleanupDetail(CleanupRow):
    """A cleanup with its runs."""

    results = RunOfCleanup(many=True)


class Changed(APIException):
    """What would go is not what the token was given for."""

    status_code = 409
    default_code = "changed"
    default_detail = "What would go is not what this token was given for; nothing was done. Look at a new dry run."

    def __init__(self, made: plan.Draft, seen: str) -> None:
        super().__init__()
        words = changes.since(seen, changes.shown(made)) if seen else []
        self.errors = {"runs": words} if words else None


class Nothing(Changed):
    """A confirmation by which nothing would go."""

    default_code = "nothing-to-do"
    default_detail = "None of these runs may go; nothing was done. A dry run tells why each stays."


PROBLEM = OpenApiResponse(description="A problem document: nothing was done.")


class Cleanups(ApiView):
    """Cleanups, and looking at what one would do."""

    needs = dict.fromkeys(("GET", "HEAD", "POST"), CLEAN)

    @extend_schema(operation_id="cleanups", parameters=[PageQuery], responses=page_of(CleanupRow))
    def get(self, request: Request) -> Response:
        """A page of cleanups, the oldest first."""
        found = page(request, PageQuery.query(request), standing.plans(request.user).values("id"))
        some = list(standing.plans(request.user).filter(pk__in=[row["id"] for row in found["results"]]).order_by("pk"))
        return Response(found | {"results": [_row(one) for one in standing.standings(some, request.user)]})

    @extend_schema(operation_id="cleanup_dry_run", request=CleanupQuestion, responses=DryRun)
    def post(self, request: Request) -> Response:
        """A dry run: what would go, what must stay and why, and the token that confirms exactly this."""
        said, at = CleanupQuestion.body(request), now()
        made = _draft(request, said, at)
        return Response(outline(made, at) | {"seen": changes.seen(changes.shown(made))})


class ConfirmCleanup(ApiView):
    """Carrying out what a dry run told."""

    needs = {"POST": CLEAN}

    @extend_schema(operation_id="cleanup_confirm", request=CleanupOrder, responses={201: CleanupDetail, 409: PROBLEM})
    def post(self, request: Request) -> Response:
        """Clean up, if every file is still as it was when the dry run gave its token."""
        said = CleanupOrder.body(request)
        made, user = _draft(request, said, now()), request.user
        if not made.going:
            raise Nothing(made, said["seen"])
        assert user.is_authenticated
        author = plan.Author(user.get_username(), "api", plain(said["why"]), str(question(said)), user, audit.address_of(request))
        try:
            done = orders.clean(made, author, said["token"])
        except plan.Changed:
            raise Changed(made, said["seen"]) from None
        except orders.Away as away:
            # it is confirmed, and the janitor finds it
            assert away.plan is not None
            done = away.plan
        told = _detail(request, done.pk)
        return Response(told, status=201, headers={"Location": told["url"]})


class OneCleanup(ApiView):
    """One cleanup."""

    needs = dict.fromkeys(("GET", "HEAD"), CLEAN)

    @extend_schema(operation_id="cleanup", responses=CleanupDetail)
    def get(self, request: Request, pk: int) -> Response:
        """How it stands, run by run."""
        return Response(_detail(request, pk))


def question(said: dict[str, Any]) -> Question:
    """What a body asks about."""
    return Question(
        tuple(dict.fromkeys(said.get("runs", ()))), said.get("trainer", ""), said.get("dataset"), said.get("status", ""),
        said.get("older_than"), said.get("most"))


def _draft(request: Request, said: dict[str, Any], at: datetime) -> plan.Draft:
    if said["force"] and not may_force(request.user):
        raise PermissionDenied("Cleaning up what somebody pinned or bookmarked needs the role admin.")
    _known(request, said)
    grace = said.get("grace", timedelta(days=settings.TRAINMON_CLEANUP_GRACE))
    wanted = chosen(cleanable(request.user), question(said), at)
    if missing := set(said.get("runs", ())) - {row.id for row, _ in wanted}:
        raise ValidationError({"runs": [f"There is no run {min(missing)} that you may see."]})
    how = plan.Options(said["archive"], grace, said["force"])
    return plan.draft(wanted, how, at, looking=place.looking(how, Patient(), place.there))


def _known(request: Request, said: dict[str, Any]) -> None:
    """A filter by what the caller does not see names it, as if it were not there."""
    trainers = Trainer.objects.visible_to(request.user)
    if said.get("trainer") and not trainers.filter(slug=said["trainer"]).exists():
        raise ValidationError({"trainer": ["There is no such trainer that you may see."]})
    if said.get("dataset") and not Dataset.objects.filter(trainer__in=trainers, pk=said["dataset"]).exists():
        raise ValidationError({"dataset": ["There is no such dataset that you may see."]})


def _row(one: standing.Standing) -> dict[str, Any]:
    names = ("id", "state", "who", "origin", "why", "archive", "forced", "confirmed_at", "finished_at")
    return {name: getattr(one.plan, name) for name in names} | {
        "url": reverse("api:cleanup", args=[one.plan.pk]), "selected": one.selected, "share": one.share,
        "grace_seconds": one.plan.grace.total_seconds(), "runs": one.runs(), "moved": one.gone, "left_alone": one.left_alone}


def _detail(request: Request, pk: int) -> dict[str, Any]:
    found = get_object_or_404(standing.plans(request.user), pk=pk)
    rows = standing.planned(request.user).filter(plan=found).select_related("run").order_by("pk")
    return _row(standing.standing(found, request.user)) | {"results": [_planned(row) for row in rows]}


def _planned(row: PlannedRun) -> dict[str, Any]:
    return {
        "id": row.run_id, "name": row.run.name, "path": row.path_text, "selected_because": row.reason,
        **{name: getattr(row, name) for name in ("step", "error", "size", "files", "frees")}}
