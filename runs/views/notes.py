"""The Notes tab: what people wrote on a run, and the forms to write more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from runs import annotate
from runs.models import Note
from runs.views.page import find, page_number, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models import Run

NOTES_PER_PAGE = 50


def run_notes(request: HttpRequest, pk: int) -> HttpResponse:
    """The notes of a run, newest first; a POST adds one."""
    run = find(request, pk)
    if request.method != "POST":
        return _shown(request, run)
    said = request.POST.get("text", "")
    try:
        note = annotate.add_note(request, run, said)
    except ValidationError as error:
        return _shown(request, run, status=400, said=said, error=error.messages[0])
    return redirect(note)


@require_POST
def run_note_edit(request: HttpRequest, pk: int, note: int) -> HttpResponse:
    """Another text for a note of this run."""
    run = find(request, pk)
    found = get_object_or_404(Note.objects.select_related("run"), pk=note, run=run)
    said = request.POST.get("text", "")
    try:
        annotate.edit_note(request, found, said)
    except ValidationError as error:
        return _shown(request, run, status=400, editing=found, edited=said, edit_error=error.messages[0])
    return redirect(found)


@require_POST
def run_note_delete(request: HttpRequest, pk: int, note: int) -> HttpResponse:
    """Take a note away."""
    run = find(request, pk)
    found = get_object_or_404(Note.objects.select_related("run"), pk=note, run=run)
    with contextlib.suppress(ValidationError):  # somebody else was quicker
        annotate.delete_note(request, found)
    return redirect("run-notes", pk)


def _shown(request: HttpRequest, run: Run, *, status: int = 200, **typed: Any) -> HttpResponse:
    notes = Paginator(run.notes.select_related("author").order_by("-created", "-id"), NOTES_PER_PAGE)
    page = notes.get_page(page_number(request))
    for note in page:
        note.mine = annotate.may_change(request.user, note)
    numbers = notes.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    return show(request, run, "notes", {"page": page, "numbers": numbers, **typed}, status=status)
