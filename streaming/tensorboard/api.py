"""A trainer's TensorBoard, for scripts: how it stands, and starting and stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from runs.api.base import ApiView
from runs.api.shapes import Strict
from runs.models import Trainer
from streaming.models import TensorBoard
from streaming.tensorboard import shortfalls
from streaming.tensorboard.asking import MOST_MINUTES, Wish, ask
from streaming.tensorboard.panel import CHANGE, Panel, panel_of

if TYPE_CHECKING:
    from rest_framework.request import Request


class Change(serializers.Serializer):
    """A change of state."""

    old = serializers.ChoiceField(TensorBoard.State.choices)
    new = serializers.ChoiceField(TensorBoard.State.choices)
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class Less(serializers.Serializer):
    """A run of which TensorBoard is known to show less, or something else, than trainmon."""

    run = serializers.IntegerField(help_text="Its id.")
    name = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField())


class BoardStatus(serializers.Serializer):
    """How a trainer's TensorBoard stands."""

    trainer = serializers.CharField(help_text="The trainer's slug.")
    address = serializers.CharField(help_text="Where it is opened; empty where the caller may not.")
    state = serializers.ChoiceField(TensorBoard.State.choices)
    since = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    kept = serializers.BooleanField(help_text="Whether the supervisor looked at it in the last 30 s; else all of this is old.")
    seen = serializers.DateTimeField(allow_null=True, help_text="When the supervisor last looked at it.")
    mode = serializers.ChoiceField(TensorBoard.Mode.choices, help_text="What is wanted of it.")
    until = serializers.DateTimeField(allow_null=True, help_text="It runs until then, whatever its mode; then as the mode says.")
    version = serializers.CharField()
    pid = serializers.IntegerField(allow_null=True)
    memory_bytes = serializers.IntegerField(allow_null=True)
    memory_limit_bytes = serializers.IntegerField()
    started = serializers.DateTimeField(allow_null=True)
    restarts = serializers.IntegerField()
    next_try = serializers.DateTimeField(allow_null=True)
    runs_served = serializers.IntegerField(allow_null=True)
    runs_on_disk = serializers.IntegerField(allow_null=True)
    counted = serializers.DateTimeField(allow_null=True, help_text="When these two were counted.")
    transitions = Change(many=True, help_text="The last changes of state, newest first.")
    shows_less = Less(many=True, help_text="Runs that trainmon tells more of, up to 20.")


class BoardWish(Strict):
    """What is asked of a TensorBoard."""

    wish = serializers.ChoiceField(
        Wish.choices, help_text="`always`: always on; `demand`: asleep while nobody looks. Both start one that was stopped.")
    minutes = serializers.IntegerField(
        min_value=1, max_value=MOST_MINUTES, required=False, help_text="With `start`: stop, or sleep, after so many.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Minutes are for starting."""
        if "minutes" in attrs and attrs["wish"] != Wish.START:
            raise ValidationError({"minutes": ["Only a start can be for some minutes."]})
        return attrs


class OneTensorBoard(ApiView):
    """The TensorBoard of one trainer."""

    needs = {"POST": CHANGE}

    @extend_schema(operation_id="tensorboard", responses=BoardStatus)
    def get(self, request: Request, slug: str) -> Response:
        """How it stands."""
        return Response(told(panel_of(_trainer(request, slug), request.user)))

    @extend_schema(operation_id="tensorboard_ask", request=BoardWish, responses={202: BoardStatus})
    def post(self, request: Request, slug: str) -> Response:
        """Ask something of it: the supervisor does it within a second, GET tells when it is done."""
        trainer = _trainer(request, slug)
        said = BoardWish.body(request)
        ask(request._request, trainer, said["wish"], said.get("minutes"))
        return Response(told(panel_of(trainer, request.user)), status=202)


def _trainer(request: Request, slug: str) -> Trainer:
    return get_object_or_404(Trainer.objects.visible_to(request.user).prefetch_related("sources"), slug=slug)


def told(panel: Panel) -> dict[str, Any]:
    """A TensorBoard as it is told to scripts."""
    board, sources = panel.board, [source.pk for source in panel.trainer.sources.all() if source.enabled]
    return {
        "trainer": panel.trainer.slug, "address": panel.url, "reason": panel.reason, "kept": panel.is_kept,
        "memory_bytes": board.memory, "memory_limit_bytes": panel.memory_limit,
        "transitions": [{"old": one.old, "new": one.new, "reason": one.reason, "at": one.at} for one in panel.transitions],
        "shows_less": [{"run": row.run.pk, "name": row.run.name, "reasons": row.reasons}
                       for row in shortfalls.of_sources(sources).rows],
        **{name: getattr(board, name) for name in (
            "state", "since", "seen", "mode", "until", "version", "pid", "started", "restarts", "next_try",
            "runs_served", "runs_on_disk", "counted")},
    }
