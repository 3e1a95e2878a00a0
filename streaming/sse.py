"""A job, or a run, as a stream of server-sent events, for scripts: docs/api.md, "Live".

Each stored event of a job is told once: its id is ``version.number``, in the order of commits, and a reader
that says the last id it had gets what came after it.  A run has states alone, by its version.  While nothing
happens a stream holds no connection to the database; the hub wakes it, ends it when its token or session is
over, and looks by itself every 2 s.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from django.contrib.auth import HASH_SESSION_KEY
from django.db.models import Q
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.renderers import BaseRenderer

from runs import jobstate
from runs.api.authentication import token_of
from runs.api.base import ApiView
from runs.api.details import Standing, visible_run
from runs.api.jobs import NAME, find
from runs.api.rendering import ExactJSON, encode
from runs.models import Event, Job, Run
from runs.readers.progress import ENDED
from runs.snapshot import snapshot
from runs.streamed import let_go
from streaming import hub
from streaming.access import Account, Subject
from streaming.database import ask

if TYPE_CHECKING:
    from rest_framework.request import Request

    from streaming.rendering import Fragment, Key

TYPE = "text/event-stream"
#: Seconds until a keepalive; events that one look takes from the database; streams of one user in one process.
KEEPALIVE, MOST_EVENTS, MOST_OF_ONE = 15.0, 500, 50
#: What a reader has: all up to this version, and of it up to this event.
Place = tuple[int, float]
_LAST_ID = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?")
_EVERYTHING = float("inf")
#: The names of the last message.
_ENDS = {"finished": "complete", "failed": "failed", "killed": "cancelled"}


class EventStream(BaseRenderer):
    """Named so that ``Accept: text/event-stream`` is understood; the stream writes itself."""

    media_type, format = TYPE, "event-stream"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        """Never asked for."""
        return msgspec.json.encode(data)


class Stream:
    """A reader of one job or run, as the hub sees it."""

    lists = False
    due = 0.0

    def __init__(self, account: Account, subject: Subject) -> None:
        self.account = account
        self.woken = asyncio.Event()
        self.over = False
        self.keys: dict[Subject, list[Key]] = {subject: []}
        self.shown: dict[Key, int] = {}

    def subjects(self) -> set[Subject]:
        """The job or run."""
        return set(self.keys)

    def follow_up(self, subject: Subject) -> None:
        """It has changed."""
        self.woken.set()

    def lose(self, subject: Subject) -> None:
        """It is no longer there."""
        self.leave(0)

    def leave(self, code: int) -> None:
        """Its reader may not see it any more."""
        self.over = True
        self.woken.set()

    def stir(self) -> None:
        """Lists are nothing to it."""

    def offer(self, key: Key, fragment: Fragment) -> None:
        """Neither are fragments."""

    def lose_one(self, key: Key) -> None:
        """Nor these."""


class StreamView(ApiView):
    """The base of what tells as it happens."""

    renderer_classes = [ExactJSON, EventStream]

    def told(self, request: Request, subject: Subject, version: int, *, ended: bool) -> HttpResponseBase:
        """The stream; nothing where the caller has been told the end."""
        account = _account(request)
        if _streams[account.user] >= MOST_OF_ONE:
            raise Throttled(10, f"You read {MOST_OF_ONE} streams already: end one of them.")
        seen = place(request.headers.get("Last-Event-ID") or request.GET.get("since", ""))
        if seen is not None and seen >= (version, _EVERYTHING) and ended:
            return HttpResponse(status=204)  # it has it all: EventSource then asks no more
        let_go()
        headers = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(stream(account, subject, seen), content_type=TYPE, headers=headers)


LAST_ID = [
    OpenApiParameter("Last-Event-ID", str, "header", description="The last id that was read."),
    OpenApiParameter("since", str, description="The same, for whom headers are hard; 0: from the beginning."),
]


class JobStream(StreamView):
    """What happens to a job, as it happens."""

    @extend_schema(operation_id="job_stream", parameters=[NAME, *LAST_ID], responses={(200, TYPE): str, 204: None})
    def get(self, request: Request, job: str) -> HttpResponseBase:
        """Events ``connected``, ``event``, ``progress``, ``complete``, ``failed``, ``cancelled``, ``keepalive``."""
        row = find(request, job)
        return self.told(request, ("job", row.pk), row.version, ended=row.status in ENDED)


class RunStream(StreamView):
    """How a run stands, as it changes."""

    @extend_schema(operation_id="run_stream", parameters=LAST_ID, responses={(200, TYPE): str, 204: None})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Events ``connected``, ``progress``, ``complete``, ``failed``, ``cancelled``, ``keepalive``."""
        run = visible_run(request, pk, "status", "version")
        return self.told(request, ("run", run.pk), run.version, ended=run.status in ENDED)


_streams: Counter[int] = Counter()


def _account(request: Request) -> Account:
    if token := token_of(request):
        return Account(token.user_id, token=token.pk)
    session = request._request.session
    return Account(int(request.user.pk or 0), str(session.session_key or ""), str(session.get(HASH_SESSION_KEY, "")))


def place(said: str) -> Place | None:
    """Where a reader stands by the last id that it had; None: at the end."""
    found = _LAST_ID.fullmatch(said.strip())
    if not found:
        return None
    version, number = int(found[1]), found[2]
    return (version, float(number)) if number else (version or -1, _EVERYTHING)


async def stream(account: Account, subject: Subject, seen: Place | None) -> AsyncIterator[bytes]:
    """The messages, until the job or run has ended or its reader may not see it any more."""
    here = hub.start()
    mine = Stream(account, subject)
    look = look_at_job if subject[0] == "job" else look_at_run
    here.join(mine)
    _streams[account.user] += 1
    try:
        pk = {subject[1]}
        if subject not in await (here.follow(mine, set(), pk) if subject[0] == "job" else here.follow(mine, pk, set())):
            return
        first, shown = True, -1
        while not mine.over:
            mine.woken.clear()
            async with here.turns[account.user]:
                row, events, state = await ask(look, subject[1], seen)
            if row is None:
                return
            if first:
                first = False
                called = {"job_id": row.external_id} if isinstance(row, Job) else {"name": row.name}
                yield b"retry: 2000\n" + message("connected", {"id": row.pk, **called, "version": row.version})
            if events:  # in one piece: each piece costs the event loop as much as a small request
                yield b"".join(told(events))
            if len(events) == MOST_EVENTS:
                seen = (events[-1].version, float(events[-1].pk))
                mine.woken.set()
            else:
                seen = (row.version, _EVERYTHING)
                if row.version != shown:
                    shown = row.version
                    yield state
                if row.status in ENDED:
                    return
            while not mine.woken.is_set():
                try:
                    async with asyncio.timeout(KEEPALIVE):
                        await mine.woken.wait()
                except TimeoutError:
                    yield message("keepalive", {})
    finally:
        _streams[account.user] -= 1
        here.part(mine)


Seen = tuple[Job | Run | None, list[Event], bytes]


def look_at_run(run: int, seen: Place | None) -> Seen:
    """The run as it is, and the message that says so."""
    row = Run.objects.filter(pk=run).select_related("source").first()
    return row, [], message(_ENDS.get(row.status, "progress"), Standing(row).data, str(row.version)) if row else b""


def look_at_job(job: int, seen: Place | None) -> Seen:
    """The job as it is, the message that says so, and what of its stored events a reader has not had; of one moment."""
    row, events = look(job, seen)
    return row, events, standing(row) if row else b""


def look(job: int, seen: Place | None) -> tuple[Job | None, list[Event]]:
    """The job as it is, and what of its stored events a reader has not had."""
    with snapshot():
        row = Job.objects.filter(pk=job).first()
        if row is None or seen is None:
            return row, []
        version, number = min(seen, (row.version, _EVERYTHING))  # a database from a backup is behind its readers
        after = Q(version__gt=version)
        if number != _EVERYTHING:
            after |= Q(version=version, pk__gt=int(number))
        return row, list(Event.objects.filter(after, job=row, version__lte=row.version).order_by("version", "pk")[:MOST_EVENTS])


def told(events: list[Event]) -> Iterator[bytes]:
    """The messages of stored events."""
    for event in events:
        data = {"id": event.pk, "version": event.version, "at": event.at, "level": event.level, "kind": event.kind,
                "message": event.message, "fields": event.fields}  # fmt: skip
        yield message("event", data, f"{event.version}.{event.pk}")


def standing(job: Job) -> bytes:
    """The message of how a job stands; its end has a name of its own."""
    state = jobstate.event(job)
    return message(_ENDS.get(job.status, "progress"), state, str(job.version))


def message(name: str, data: Any, number: str = "") -> bytes:
    """One message; JSON has no line breaks."""
    said = f"id: {number}\n" if number else ""
    return f"event: {name}\n{said}data: ".encode() + encode(data) + b"\n\n"
