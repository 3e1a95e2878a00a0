"""A file's own bytes as an answer: in pieces, by ranges, each download written down (P18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

from runs import audit, raw
from runs.streamed import let_go

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest

Answer = HttpResponse | StreamingHttpResponse


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
        audit.record(request, "download raw", subject, run=run, first=start, bytes=stop - start, size=there.size)
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
