"""Storage for scripts: how full the volumes are, what runs, trash and database take, as far as one may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from retention import usage, vacuum
from retention.models import Vacuum
from retention.rights import may_clean
from retention.space import volumes
from retention.turns import Turn, turns
from runs.api.base import ApiView
from runs.models import Source

if TYPE_CHECKING:
    from rest_framework.request import Request


class VolumeRow(serializers.Serializer):
    """A file system with the sources on it that one may see; its figures are null where it has never answered."""

    name = serializers.CharField(help_text="Where it is mounted.")
    room = serializers.IntegerField(allow_null=True, help_text="Bytes in all.")
    used = serializers.IntegerField(allow_null=True)
    free = serializers.IntegerField(allow_null=True)
    runs = serializers.IntegerField(help_text="Bytes of runs, as the last sync found them.")
    trash = serializers.IntegerField(help_text="Bytes of runs in the trash.")
    asked_at = serializers.DateTimeField(allow_null=True, help_text="Of when these figures are.")
    error = serializers.CharField(help_text="What is wrong with it.")
    full_at = serializers.DateTimeField(allow_null=True, help_text="If it goes on to grow as it did.")
    sources = serializers.ListField(child=serializers.IntegerField())


class TrashSum(serializers.Serializer):
    """What lies in the trash."""

    runs = serializers.IntegerField()
    size = serializers.IntegerField()
    frees = serializers.IntegerField(help_text="Bytes of the disk that are free when it is purged.")
    due = serializers.IntegerField(help_text="Runs that are purged in the next round.")
    first_purge = serializers.DateTimeField(allow_null=True)


class VacuumRow(serializers.Serializer):
    """What became of the room of dropped points."""

    begun_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True, help_text="null: not vacuumed yet.")
    points_dropped = serializers.IntegerField()
    dropped = serializers.IntegerField(help_text="Bytes of the rows that were deleted.")
    before = serializers.IntegerField(help_text="Bytes of all points before that, indexes included.")
    after = serializers.IntegerField(allow_null=True)
    reusable = serializers.IntegerField(allow_null=True, help_text="Bytes of these that are free for new points.")
    by = serializers.ChoiceField(["free space map", "estimate"], allow_null=True, help_text="How that is known.")


class DatabaseSum(serializers.Serializer):
    """What points take in the database."""

    size = serializers.IntegerField(help_text="Bytes, indexes included.")
    vacuumed = VacuumRow(allow_null=True)


class PolicyRow(serializers.Serializer):
    """What a policy does next, if nothing changes until then."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    about = serializers.CharField()
    runs = serializers.IntegerField(help_text="Runs that it takes.")
    size = serializers.IntegerField()
    refused = serializers.CharField(help_text="Why it takes none.")
    next_turn = serializers.DateTimeField()
    as_of = serializers.DateTimeField(allow_null=True, help_text="When this was worked out: once a minute, by the registry.")


class StorageSum(serializers.Serializer):
    """All of it."""

    runs = serializers.IntegerField(help_text="On disk.")
    size = serializers.IntegerField()
    volumes = VolumeRow(many=True)
    trash = TrashSum()
    database = DatabaseSum(allow_null=True, help_text="null for whoever does not see every trainer.")
    policies = PolicyRow(many=True, help_text="Those that are on; none for whoever may not clean up.")


class Storage(ApiView):
    """What lies on the volumes."""

    @extend_schema(operation_id="storage", responses=StorageSum)
    def get(self, request: Request) -> Response:
        """How full the volumes are; none is waited for longer than a moment."""
        at = now()
        sources = list(Source.objects.visible_to(request.user).defer("verdicts", "fingerprint"))
        ids = [source.pk for source in sources]
        held = usage.summed(usage.held_by(ids, at), lambda source, _: source)
        total = usage.Held()
        for one in held.values():
            total.add(one)
        standings = volumes.standing([source.root for source in sources])
        found, known = usage.volumes(sources, standings, held, usage.came_to(ids, at), at), usage.database(request.user, ids)
        return Response({
            "runs": total.runs, "size": total.size, "volumes": [_volume(one) for one in found],
            "trash": _trash(usage.trash(ids, at)),
            "database": known and {"size": known.size, "vacuumed": known.vacuumed and _vacuum(known.vacuumed)},
            "policies": [_policy(one) for one in turns(request.user, on=True)] if may_clean(request.user) else []})


def _volume(volume: usage.Volume) -> dict[str, Any]:
    space, standing = volume.standing.space, volume.standing
    figures = dict.fromkeys(("room", "used", "free")) if space is None else {
        "room": space.room, "used": space.used, "free": space.free}
    return {
        "name": volume.name, **figures, "runs": volume.held.size, "trash": volume.held.buried_size, "asked_at": standing.at,
        "error": "does not answer" if standing.silent else standing.error,
        "full_at": volume.forecast and volume.forecast.at, "sources": [source.pk for source in volume.sources]}


def _trash(found: usage.Trash) -> dict[str, Any]:
    return {"first_purge": found.first, **{name: getattr(found, name) for name in ("runs", "size", "frees", "due")}}


def _vacuum(row: Vacuum) -> dict[str, Any]:
    return {"begun_at": row.begun_at, "done_at": row.done_at, **vacuum.as_json(row)}


def _policy(turn: Turn) -> dict[str, Any]:
    outlook = turn.outlook
    return {
        "id": turn.policy.pk, "name": turn.policy.name, "about": turn.about, "next_turn": turn.when,
        "as_of": outlook and outlook.at, "runs": outlook.runs if outlook else 0, "size": outlook.size if outlook else 0,
        "refused": outlook.refused if outlook else ""}
