"""The Files tab: every log file of a run, how far it was read, and what of it could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.paginator import Paginator

from runs.views.page import find, page_number, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

FILES_PER_PAGE = 100


def run_files(request: HttpRequest, pk: int) -> HttpResponse:
    """The log files of a run in the order of their records."""
    run = find(request, pk)
    files = Paginator(run.log_files.defer("state", "head_hash", "tail_hash").order_by("first_wall", "id"), FILES_PER_PAGE)
    page = files.get_page(page_number(request))
    numbers = files.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    return show(request, run, "files", {"page": page, "numbers": numbers})
