"""A file's own bytes as an answer: in pieces, by ranges, each download written down (P18)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.timezone import now

from runs import audit, raw
from runs.models import AuditEntry
from runs.streamed import let_go

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

Answer = HttpResponse | StreamingHttpResponse
#: What a download is called in the audit trail, and how long the entry of one in parts stands for all its parts.
RAW, PARTS_FOR = "download raw", timedelta(hours=1)


def sent(request: HttpRequest, there: raw.Opened, subject: Model, path: str, run: int) -> Answer:
    """The file, or the range of it that is asked for; ``subject`` is what the audit entry names."""
    asked = request.headers.get("Range", "")
    if request.method == "HEAD" or request.headers.get("If-Range", there.etag) != there.etag:
        asked = ""
    span = raw.part(asked, there.size)
    start, stop = span or (0, 0)
    pieces = raw.Pieces(there.file, start, stop)
    answer: Answer
    if span is None or request.method == "HEAD":
        pieces.close()
        answer = HttpResponse(status=416 if span is None else 200)
    else:
        _write_down(request, subject, run, start, stop, there.size)
        let_go()
        answer = StreamingHttpResponse(pieces, status=206 if stop - start < there.size else 200)
    if answer.status_code in (206, 416):
        answer["Content-Range"] = f"bytes {start}-{stop - 1}/{there.size}" if span else f"bytes */{there.size}"
    answer["Content-Type"] = "application/octet-stream"
    answer["Content-Length"] = str(stop - start)
    answer["Content-Disposition"] = content_disposition_header(True, raw.plain_name(path)) or "attachment"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'"
    answer["Accept-Ranges"], answer["ETag"], answer["Cache-Control"] = "bytes", there.etag, "private, no-store"
    return answer


def _write_down(request: HttpRequest, subject: Model, run: int, start: int, stop: int, size: int) -> None:
    """An entry for each download; one that comes in parts has one an hour, whichever parts they are.

    So that it never says less than what was taken, the first part's entry says that others may have followed.
    """
    if stop - start == size:
        audit.record(request, RAW, subject, run=run, first=0, bytes=size, size=size)
        return
    user_id = request.user.pk
    assert user_id is not None  # the anonymous download nothing
    with transaction.atomic():
        with connection.cursor() as cursor:  # a download manager asks for several parts at once
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", [RAW, user_id])
        lately = AuditEntry.objects.filter(
            kind=subject._meta.model_name, object_id=subject.pk, action=RAW, user_id=user_id,
            address=audit.address_of(request), details__in_parts=True, at__gt=now() - PARTS_FOR)
        if not lately.exists():
            audit.record(request, RAW, subject, run=run, first=start, bytes=stop - start, size=size, in_parts=True)
