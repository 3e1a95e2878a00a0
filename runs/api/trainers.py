"""Trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from runs.api.base import ApiView
from runs.api.paging import PageQuery, page, page_of
from runs.models import Run, Trainer
from runs.models.run import Status

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet
    from rest_framework.request import Request

FIELDS = ("id", "slug", "name", "description", "gpu_type", "gpu_count", "demo")


class TrainerRow(serializers.Serializer):
    """A training programme or team whose runs belong together."""

    id = serializers.IntegerField()
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    gpu_type = serializers.CharField()
    gpu_count = serializers.IntegerField(allow_null=True)
    demo = serializers.BooleanField(help_text="Whether its data was made to show trainmon.")
    runs = serializers.IntegerField(help_text="Its runs, without those in the trash.")
    running = serializers.IntegerField(help_text="Those of them that run now.")


def trainers(user: User | AnonymousUser) -> QuerySet[Trainer, Any]:
    """The visible ones, with how many runs each has."""
    runs = Run.objects.active().filter(source__trainer=OuterRef("pk")).order_by().values("source__trainer")

    def number(of: Q | None = None) -> Coalesce:
        return Coalesce(Subquery(runs.annotate(n=Count("pk", filter=of)).values("n")), 0)

    rows = Trainer.objects.visible_to(user).annotate(runs=number(), running=number(Q(status=Status.RUNNING)))
    return rows.values(*FIELDS, "runs", "running")


class Trainers(ApiView):
    """The trainers that the caller may see."""

    @extend_schema(operation_id="trainers", parameters=[PageQuery], responses=page_of(TrainerRow))
    def get(self, request: Request) -> Response:
        """A page of trainers."""
        return Response(page(request, PageQuery.query(request), trainers(request.user)))


class OneTrainer(ApiView):
    """One trainer."""

    @extend_schema(operation_id="trainer", responses=TrainerRow)
    def get(self, request: Request, slug: str) -> Response:
        """A trainer by its slug."""
        found: dict[str, Any] = get_object_or_404(trainers(request.user), slug=slug)
        return Response(found)
