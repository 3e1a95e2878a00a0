"""What trainers deliver that cannot share a volume: events in batches, and whole files a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from runs import pushed, redact, uploads
from runs.api.authentication import token_of
from runs.api.base import ApiView
from runs.api.problems import TooLarge, Unavailable
from runs.api.rates import IngestRate
from runs.api.rendering import JSONWithNaN
from runs.api.schema import Problem
from runs.api.shapes import Strict, Whole
from runs.models import ApiToken, Source, Trainer
from runs.readers import pushed as events
from runs.readers.naming import PUSHED
from runs.streamed import let_go

if TYPE_CHECKING:
    from rest_framework.request import Request

#: Bytes of a piece of a file.
MAX_PIECE = 8 * 1024 * 1024
#: Errors that an answer names; the rest is a number.
MAX_TOLD = 100


class NoRoom(APIException):
    """The trainer's quota is used up, or the disk is full."""

    status_code = 507
    default_code = "no_room"
    wait = 300


class Conflict(APIException):
    """As things are here, this cannot be taken."""

    status_code = 409
    default_code = "conflict"


class Elsewhere(APIException):
    """A piece that does not join what is here."""

    status_code = 409
    default_code = "wrong_offset"


class OtherContent(APIException):
    """A whole file that is not what was sent."""

    status_code = 422
    default_code = "other_content"


class Octets(BaseParser):
    """Bytes: the view reads them itself."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """All of the body."""
        return stream.read()


class IngestView(ApiView):
    """The base of what a token with the scope ingest, and nothing else, may call."""

    for_ingest = True
    conditional = False
    throttle_classes = [IngestRate]

    def trainer(self, request: Request) -> Trainer:
        """The trainer that the token is bound to, while its user may still deliver for it."""
        token = token_of(request)
        if token is None or token.scope != ApiToken.Scope.INGEST or token.trainer is None:
            raise PermissionDenied("Deliveries need a token with the scope ingest, which is bound to one trainer.")
        allowed = request.user.has_perm("runs.change_trainer")
        if not allowed or not Trainer.objects.visible_to(request.user).filter(pk=token.trainer.pk).exists():
            raise PermissionDenied("The user of this token may no longer deliver events of its trainer.")
        return token.trainer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """The token is looked at before anything that was sent."""
        super().initial(request, *args, **kwargs)
        self.source_of = self.trainer(request)


@contextmanager
def told() -> Iterator[None]:
    """What the registry refuses, in the words of HTTP."""
    try:
        yield
    except pushed.Full as refused:
        raise NoRoom(str(refused)) from None
    except pushed.Refused as refused:
        raise Conflict(str(refused)) from None


def path_of(path: str, field: str) -> list[bytes]:
    """A path as names that may be on our disk."""
    try:
        names = pushed.parts_of(path)
    except ValueError as why:
        raise ValidationError({field: [f"{path[:100]!r} is no path here. {why}"]}) from None
    if PUSHED in names:  # a folder of this name would be in the way of all other events of its run
        raise ValidationError({field: ["pushed.jsonl is taken: choose another name."]})
    return names


@extend_schema_field(OpenApiTypes.OBJECT)
class Record(serializers.Field):  # type: ignore[type-arg]
    """A record as it came: it is looked at one by one."""

    def to_internal_value(self, data: Any) -> Any:
        """As it is."""
        return data


class BatchOfEvents(Strict):
    """Events of one trainer, and what it wants to know."""

    run = serializers.CharField(
        max_length=500, required=False, trim_whitespace=False,
        help_text="The run, as name or dataset/name. Without it each job is a run.")
    events = serializers.ListField(
        child=Record(allow_null=True), max_length=events.MAX_RECORDS, required=False, default=list,
        help_text="Records as /api/ingest/schema/ describes them, at most 1,000 in 2 MiB.")
    jobs = serializers.ListField(
        child=serializers.RegexField(r"\A[a-zA-Z0-9_-]{1,200}\Z"), max_length=100, required=False, default=list,
        help_text="Jobs to ask about besides those of the events: shall they stop?")


class WrongRecord(serializers.Serializer):
    """A record that was not taken; the others were."""

    index = serializers.IntegerField(help_text="Its place in `events`, from 0.")
    event_id = serializers.CharField(allow_null=True)
    field = serializers.CharField(help_text="Empty for the record as a whole.")
    error = serializers.CharField()
    hint = serializers.CharField(help_text="The way out.")


class Taken(serializers.Serializer):
    """What became of a batch."""

    accepted = serializers.IntegerField(help_text="Records that are on disk here; each event_id counts once.")
    rejected = serializers.IntegerField()
    errors = WrongRecord(many=True, help_text="The first hundred that were not taken.")  # type: ignore[assignment]
    cancel = serializers.ListField(
        child=serializers.CharField(), help_text="Jobs that are asked to end: say `job.cancelled` once they have.")


class IngestEvents(IngestView):
    """Events."""

    parser_classes = [JSONWithNaN]

    @extend_schema(operation_id="ingest_events", request=BatchOfEvents, responses={202: Taken, 409: Problem, 507: Problem})
    def post(self, request: Request) -> Response:
        """Deliver events: they are on disk with the answer, and an event_id that came before is not counted again."""
        said = _few(BatchOfEvents.body(request))
        run = said.get("run")
        wrong, lines, jobs = _sorted(said["events"], None if run is None else path_of(run, "run"))
        with told():
            source = pushed.source_of(self.source_of)
            let_go()  # a disk may be slow, and another writer may hold the file
            for folder, some in lines.items():
                pushed.append(source, list(folder), some)
            cancel = pushed.asked(self.source_of, run or "", jobs | set(said["jobs"]))
        return Response(status=202, data={
            "accepted": sum(map(len, lines.values())), "rejected": len(wrong), "errors": wrong[:MAX_TOLD], "cancel": cancel,
        })


def _few(said: dict[str, Any]) -> dict[str, Any]:
    if not said["events"] and not said["jobs"]:
        raise ValidationError({"events": ["There is no event here, and no job is asked about."]})
    return said


def _sorted(
    records: list[Any], run: list[bytes] | None
) -> tuple[list[dict[str, Any]], dict[tuple[bytes, ...], list[bytes]], set[str]]:
    """What is wrong with records, the lines of the others by the folder that they belong to, and their jobs."""
    wrong: list[dict[str, Any]] = []
    lines: dict[tuple[bytes, ...], list[bytes]] = {}
    places: dict[str, int] = {}
    for index, record in enumerate(records):
        why = events.wrong_with(record) or _again(record["event_id"], places)
        if why is not None:
            wrong.append(_told(index, record, why))
            continue
        places[record["event_id"]] = index
        folder = tuple(run or [record["job_id"].encode()])
        lines.setdefault(folder, []).append(_line(record))
    return wrong, lines, {records[index]["job_id"] for index in places.values()}


def _again(event_id: str, places: dict[str, int]) -> events.Wrong | None:
    if event_id not in places:
        return None
    return events.Wrong("event_id", f"Record {places[event_id]} of this batch has the same.", "Give each event an id of its own.")


def _told(index: int, record: Any, why: events.Wrong) -> dict[str, Any]:
    name = record.get("event_id") if isinstance(record, dict) else None
    return {
        "index": index, "event_id": redact.text(name[:128]) if isinstance(name, str) else None,
        "field": why.field, "error": redact.text(why.error), "hint": why.hint,
    }


def _line(record: dict[str, Any]) -> bytes:
    """A record as it is kept: without secrets, on one line."""
    names = {name: record[name] for name in ("event_id", "job_id")}
    return json.dumps(redact.value(record) | names, separators=(",", ":")).encode() + b"\n"


class FileQuery(Strict):
    """Which file."""

    path = serializers.CharField(
        max_length=pushed.MAX_PATH, trim_whitespace=False,
        help_text="Below the trainer's folder: run/file or dataset/run/file.")

    def validate_path(self, path: str) -> list[bytes]:
        """A file in a run's folder, and not the one that is ours."""
        try:
            names = pushed.parts_of(path)
        except ValueError as why:
            raise serializers.ValidationError(f"{path[:100]!r} is no path here. {why}") from None
        if len(names) < 2 or PUSHED in names:
            raise serializers.ValidationError("Name a file in a run's folder, as run/file; pushed.jsonl is taken.")
        return names


class PieceQuery(FileQuery):
    """Which piece of which file."""

    offset = Whole(min_value=0, help_text="The place of the piece's first byte in the file.")
    anew = serializers.BooleanField(default=False, help_text="At offset 0: this replaces what is here.")
    sha256 = serializers.RegexField(
        r"\A[0-9a-fA-F]{64}\Z", required=False,
        help_text="Of the whole file, with its last piece (which may be empty): is it here as it was sent?")


class Piece(serializers.Serializer):
    """How much is here."""

    offset = serializers.IntegerField(help_text="Bytes that are here, on disk: where the next piece begins.")


class HeldFile(Piece):
    """What is here of a file."""

    tail = serializers.CharField(help_text="SHA-256 of its last 64 KiB: is it the beginning of yours?")


class IngestFiles(IngestView):
    """Whole files."""

    parser_classes = [Octets]

    @extend_schema(operation_id="ingest_file", parameters=[FileQuery], responses=HeldFile)
    def get(self, request: Request) -> Response:
        """How much of a file is here: also by HEAD, in the headers Upload-Offset and Upload-Tail."""
        names = FileQuery.query(request)["path"]
        with told():
            here = uploads.held(pushed.source_of(self.source_of), names) or uploads.Held(0, "")
        headers = {"Upload-Offset": str(here.size), "Upload-Tail": here.tail}
        return Response({"offset": here.size, "tail": here.tail}, headers=headers)

    @extend_schema(
        operation_id="ingest_file_piece", parameters=[PieceQuery], request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: Piece, 409: Problem, 422: Problem, 503: Problem, 507: Problem},
    )
    def put(self, request: Request) -> Response:
        """Append a piece of at most 8 MiB to a file."""
        asked = PieceQuery.query(request)
        data = _body(request)
        with told():
            source = pushed.source_of(self.source_of)
            let_go()
            return self._taken(source, asked, data)

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        """The same, for clients that cannot PUT."""
        return self.put(request)

    def _taken(self, source: Source, asked: dict[str, Any], data: bytes) -> Response:
        names = asked["path"]
        try:
            size = uploads.put(source, names, asked["offset"], data, anew=asked["anew"])
        except uploads.WrongOffset as wrong:
            refusal = Elsewhere(str(wrong))
            refusal.headers = {"Upload-Offset": str(wrong.offset)}  # type: ignore[attr-defined]
            raise refusal from None
        if (wanted := asked.get("sha256")) and _digest(source, names) != wanted.lower():
            raise OtherContent("What is here is not what was sent: send the file again, its first piece with offset=0&anew=true.")
        return Response({"offset": size}, headers={"Upload-Offset": str(size)})


def _digest(source: Source, names: list[bytes]) -> str:
    try:
        return uploads.digest(source, names)
    except uploads.Busy:
        raise Unavailable("Other files are being hashed here: send this empty piece again.") from None


def _body(request: Request) -> bytes:
    """The piece, never more than one of memory."""
    announced = request.META.get("CONTENT_LENGTH") or "0"
    data = b"" if announced.isdigit() and int(announced) > MAX_PIECE else request._request.read(MAX_PIECE + 1)
    if len(data) > MAX_PIECE or (announced.isdigit() and int(announced) > MAX_PIECE):
        raise TooLarge("A piece is 8 MiB at most: send the file in several.")
    return bytes(data)


SCHEMA = {"type": "object", "additionalProperties": True}


class IngestSchema(ApiView):
    """What an event holds."""

    any_scope = True

    @extend_schema(operation_id="ingest_schema", responses={(200, "application/schema+json"): SCHEMA})
    def get(self, request: Request) -> Response:
        """The JSON Schema (2020-12) of a batch of events."""
        return Response(events.schema(), content_type="application/schema+json")
