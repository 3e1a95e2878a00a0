"""What people add to a run: notes, tags, bookmarks (runs/annotate.py does it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from runs import annotate
from runs.api.base import ApiView
from runs.api.details import BookmarkOfRun, bookmark_of, visible_run
from runs.api.paging import PageQuery, page, page_of
from runs.api.shapes import Choices, Strict, named
from runs.models import Note, Run

if TYPE_CHECKING:
    from rest_framework.request import Request

GONE = OpenApiResponse(description="It is gone.")


class NoteRow(serializers.Serializer):
    """A remark on a run."""

    id = serializers.IntegerField()
    author = serializers.CharField(allow_null=True, help_text="Null where the user was deleted.")
    text = serializers.CharField()
    created = serializers.DateTimeField()
    edited = serializers.DateTimeField(allow_null=True)


class NoteText(Strict):
    """What a note says: plain text; what looks like a secret in it is masked."""

    text = serializers.CharField(max_length=annotate.NOTE_LENGTH)


class Notes(ApiView):
    """The notes of a run."""

    needs = {"POST": "runs.add_note"}

    @extend_schema(operation_id="run_notes", parameters=[PageQuery], responses=page_of(NoteRow))
    def get(self, request: Request, pk: int) -> Response:
        """A page of notes, the oldest first."""
        asked, run = PageQuery.query(request), visible_run(request, pk)
        notes = Note.objects.filter(run=run).values("id", "text", "created", "edited", "author__username")
        found = page(request, asked, notes)
        return Response(found | {"results": [_told(row) for row in found["results"]]})

    @extend_schema(operation_id="run_note_add", request=NoteText, responses={201: NoteRow})
    def post(self, request: Request, pk: int) -> Response:
        """Write a note."""
        said, run = NoteText.body(request), visible_run(request, pk)
        with named("text"):
            note = annotate.add_note(request._request, run, said["text"])
        where = reverse("api:run-note", args=[pk, note.pk])
        return Response(_of(note), status=201, headers={"Location": where})


class OneNote(ApiView):
    """One note."""

    needs = {"PATCH": "runs.change_note", "DELETE": "runs.delete_note"}

    @extend_schema(operation_id="run_note", responses=NoteRow)
    def get(self, request: Request, pk: int, note: int) -> Response:
        """A note by its id."""
        return Response(_of(self._find(request, pk, note)))

    @extend_schema(operation_id="run_note_change", request=NoteText, responses=NoteRow)
    def patch(self, request: Request, pk: int, note: int) -> Response:
        """Change a note's text: its author, or an admin."""
        said, found = NoteText.body(request), self._find(request, pk, note)
        with named("text"):
            annotate.edit_note(request._request, found, said["text"])
        return Response(_of(found))

    @extend_schema(operation_id="run_note_delete", responses={204: GONE})
    def delete(self, request: Request, pk: int, note: int) -> Response:
        """Delete a note: its author, or an admin."""
        annotate.delete_note(request._request, self._find(request, pk, note))
        return Response(status=204)

    def _find(self, request: Request, pk: int, note: int) -> Note:
        notes = Note.objects.filter(run__in=Run.objects.visible_to(request.user), run=pk)
        return get_object_or_404(notes.select_related("run", "author").only("text", "created", "edited", "run__name",
                                                                            "author__username"), pk=note)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    author = row.pop("author__username")
    return row | {"author": author}


def _of(note: Note) -> dict[str, Any]:
    author = note.author.get_username() if note.author else None
    return {"id": note.pk, "author": author, "text": note.text, "created": note.created, "edited": note.edited}


class TagsOfRun(Strict):
    """The tags that people gave a run."""

    tags = serializers.ListField(
        child=serializers.CharField(max_length=annotate.TAG_LENGTH), max_length=annotate.MOST_TAGS
    )


class TagQuery(Strict):
    """Which tags to take away."""

    tag = Choices(child=serializers.CharField(), help_text="May be given several times.")


class Tags(ApiView):
    """The tags of a run."""

    needs = dict.fromkeys(("PUT", "POST", "DELETE"), "runs.change_run")

    @extend_schema(operation_id="run_tags", responses=TagsOfRun)
    def get(self, request: Request, pk: int) -> Response:
        """The tags, in their order."""
        return Response({"tags": visible_run(request, pk, "tags").tags})

    @extend_schema(operation_id="run_tags_set", request=TagsOfRun, responses=TagsOfRun)
    def put(self, request: Request, pk: int) -> Response:
        """Make these the tags."""
        return self._write(request, pk, annotate.set_tags, TagsOfRun.body(request)["tags"])

    @extend_schema(operation_id="run_tags_add", request=TagsOfRun, responses=TagsOfRun)
    def post(self, request: Request, pk: int) -> Response:
        """Put these behind the others; one that is there already stays where it is."""
        return self._write(request, pk, annotate.add_tags, TagsOfRun.body(request)["tags"])

    @extend_schema(operation_id="run_tags_remove", parameters=[TagQuery], responses={200: TagsOfRun})
    def delete(self, request: Request, pk: int) -> Response:
        """Take these away; one that is not there is no error."""
        return self._write(request, pk, annotate.remove_tags, TagQuery.query(request)["tag"])

    def _write(self, request: Request, pk: int, deed: Any, tags: list[str]) -> Response:
        run = visible_run(request, pk, "tags")
        with named("tags"):
            deed(request._request, run, tags)
        return Response({"tags": run.tags})


class BookmarkChoice(Strict):
    """How to bookmark."""

    shared = serializers.BooleanField(default=False, help_text="Shown to all who see the run; needs runs.change_run.")


class OneBookmark(ApiView):
    """The caller's own bookmark of a run."""

    @extend_schema(operation_id="run_bookmark", responses=BookmarkOfRun)
    def get(self, request: Request, pk: int) -> Response:
        """Whether the caller has bookmarked the run."""
        return Response(bookmark_of(request, visible_run(request, pk)))

    @extend_schema(operation_id="run_bookmark_set", request=BookmarkChoice, responses=BookmarkOfRun)
    def put(self, request: Request, pk: int) -> Response:
        """Bookmark the run, for oneself or shared."""
        said, run = BookmarkChoice.body(request), visible_run(request, pk)
        annotate.bookmark(request._request, run, True, said["shared"])
        return Response(bookmark_of(request, run))

    @extend_schema(operation_id="run_bookmark_remove", responses={204: GONE})
    def delete(self, request: Request, pk: int) -> Response:
        """Drop the bookmark; none is no error."""
        annotate.bookmark(request._request, visible_run(request, pk), False)
        return Response(status=204)
