"""The Files tab: every log file of a run, how far it was read, and what of it could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from runs import disk, raw
from runs.models import LogFile, Run
from runs.roles import sees_raw
from runs.sending import sent
from runs.views.page import find, page_number, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

FILES_PER_PAGE = 100


def run_files(request: HttpRequest, pk: int) -> HttpResponse:
    """The log files of a run in the order of their records."""
    return _shown(request, find(request, pk))


@require_safe
def run_raw(request: HttpRequest, pk: int, file: int) -> HttpResponse | StreamingHttpResponse:
    """A log file's own bytes, for those who may have them; each download leaves an audit entry (P18)."""
    run = find(request, pk)
    found = get_object_or_404(LogFile.objects.select_related("source").defer("state", "damages"), pk=file, run=run)
    if not sees_raw(request.user):
        raise PermissionDenied("Raw files need the permission to download them.")
    try:
        there = disk.ask(lambda: raw.open_file(found))
    except disk.Silent:
        return _shown(request, run, status=503, trouble="The disk of this file does not answer. Try again in a while.")
    except (OSError, ValueError):
        trouble = f"{found.path_text} is gone from disk, or is no regular file any more. What was read of it is kept."
        return _shown(request, run, status=410, trouble=trouble)
    return sent(request, there, found, found.path_text, found.run_id)


def _shown(request: HttpRequest, run: Run, *, status: int = 200, trouble: str = "") -> HttpResponse:
    files = Paginator(run.log_files.defer("state", "head_hash", "tail_hash").order_by("first_wall", "id"), FILES_PER_PAGE)
    page = files.get_page(page_number(request))
    numbers = files.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    context = {"page": page, "numbers": numbers, "trouble": trouble, "raw": sees_raw(request.user)}
    return show(request, run, "files", context, status=status)
