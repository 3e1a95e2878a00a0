"""The Samples tab: texts, images and sounds that the trainer logged, and the door to their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import BadRequest
from django.core.paginator import Paginator
from django.db.models import F, Model, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from runs import disk
from runs.forms import SampleQuestion
from runs.models import Run, Sample, TextSummary
from runs.raw import part
from runs.samples import Gone, Media, read, unreadable
from runs.views.page import find, show

if TYPE_CHECKING:
    from django.http import HttpRequest

SAMPLES_PER_PAGE = 60
#: Steps that the step field suggests.
STEPS = 500
#: Nothing in a served file may run, load or frame anything.
LOCKED = "sandbox; default-src 'none'"


@dataclass(frozen=True, slots=True)
class Steps:
    """Where the page stands among the steps at which something was logged."""

    at: int
    known: list[int]

    @property
    def older(self) -> int | None:
        """The next step down."""
        return next((step for step in self.known if step < self.at), None)

    @property
    def newer(self) -> int | None:
        """The next step up."""
        return next((step for step in reversed(self.known) if step > self.at), None)


def run_samples(request: HttpRequest, pk: int) -> HttpResponse:
    """The newest text, image and sound of each tag up to a step; of one tag all of them."""
    run = find(request, pk)
    form = SampleQuestion(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    tag, step = asked.get("tag") or "", asked.get("step")
    texts, samples = (_chosen(rows, tag, step) for rows in _current(run))
    pages = Paginator([("text", pk) for pk in texts] + [("sample", pk) for pk in samples], SAMPLES_PER_PAGE)
    page = pages.get_page(asked.get("page") or 1)
    steps = _steps(run, tag)
    context = {
        "form": form,
        "tag": tag,
        "steps": Steps(steps[0] if step is None else step, steps) if steps else None,
        "page": page,
        "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
        "texts": _rows(TextSummary, [pk for kind, pk in page if kind == "text"]),
        **_by_kind([pk for kind, pk in page if kind == "sample"]),
    }
    return show(request, run, "samples", context, status=200 if form.is_valid() else 400)


@require_safe
def run_sample(request: HttpRequest, pk: int, sample: int) -> HttpResponse:
    """The bytes of an image or sound of a run that the user may see."""
    run = get_object_or_404(Run.objects.visible_to(request.user).only("pk"), pk=pk)
    return deliver(request, get_object_or_404(readable(), pk=sample, run=run))


def readable() -> QuerySet[Sample]:
    """Samples with all that reading them needs."""
    return Sample.objects.select_related("log_file__source").defer("log_file__state", "log_file__damages")


def deliver(request: HttpRequest, found: Sample) -> HttpResponse:
    """The bytes of a sample that the user may see; a picture that says why where there are none."""
    number = request.GET.get("n", "0")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise BadRequest("n is the number of an image in its record, from 0.")
    tag = "" if found.is_file else _etag(found, number)
    if tag and request.headers.get("If-None-Match") == tag:
        return _guarded(HttpResponse(status=304), tag)
    try:
        said = disk.ask(lambda: read(found, int(number)))
    except disk.Silent as error:
        return _guarded(HttpResponse(f"{error}\n", status=503, content_type="text/plain", headers={"Retry-After": "10"}))
    if isinstance(said, Gone):
        return _placeholder(said.why, 410)
    if not said.media_type and _is_drawn(request):
        return _placeholder("it is no PNG, JPEG, GIF or WebP", 200)
    if said.vast and _is_drawn(request):
        return _placeholder(f"it has {said.pixels / 1e6:,.0f} megapixels: open it to download", 200)
    if found.is_file:  # nobody vouches that it stays as it is: told by what it holds
        tag = f'"{hashlib.sha256(said.data).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == tag:
            return _guarded(HttpResponse(status=304), tag)
    return _guarded(_served(request, found, said, tag), tag)


def _current(run: Run) -> tuple[QuerySet[Any], QuerySet[Any]]:
    """Texts, and images and sounds, of the shown generations of the run's files."""
    shown = {"generation": F("log_file__generation")}
    return run.texts.filter(**shown), run.samples.filter(**shown)


def _chosen(rows: QuerySet[Any], tag: str, step: int | None) -> list[int]:
    """Ids of what to show: of each tag its newest up to the step, or of one tag all, newest first."""
    rows = rows if step is None else rows.filter(step__lte=step)
    if tag:
        return list(rows.filter(tag=tag).order_by("-step", "-id").values_list("pk", flat=True))
    return list(rows.order_by("tag", "-step", "-id").distinct("tag").values_list("pk", flat=True))


def _steps(run: Run, tag: str) -> list[int]:
    """The newest steps at which there is something, downwards."""
    texts, samples = (
        (rows.filter(tag=tag) if tag else rows).order_by().values_list("step", flat=True)
        for rows in _current(run)
    )
    return list(texts.union(samples).order_by("-step")[:STEPS])


def _rows(model: type[Model], ids: list[int], *related: str) -> list[Any]:
    """The rows with these ids, in their order."""
    rows = {row.pk: row for row in model._default_manager.filter(pk__in=ids).select_related(*related)} if ids else {}
    return [rows[pk] for pk in ids if pk in rows]


def _by_kind(ids: list[int]) -> dict[str, list[Sample]]:
    samples = _rows(Sample, ids, "log_file")
    for sample in samples:
        sample.gone = unreadable(sample)
    return {f"{kind}s": [sample for sample in samples if sample.kind == kind] for kind in ("image", "audio")}


def _etag(sample: Sample, number: str) -> str:
    """The same while the file begins as it did: what was appended is never rewritten."""
    file = sample.log_file
    said = f"{sample.pk} {sample.generation} {sample.offset} {sample.length} {number} {unreadable(sample)}"
    return f'"{hashlib.sha256(said.encode() + bytes(file.head_hash)).hexdigest()[:32]}"'


def _served(request: HttpRequest, sample: Sample, found: Media, tag: str) -> HttpResponse:
    """The bytes, or a range of them; inline only what is known to be harmless to show."""
    size = len(found.data)
    asked = request.headers.get("Range", "") if request.headers.get("If-Range", tag) == tag else ""
    span = part(asked, size)
    start, stop = span or (0, 0)
    status = 416 if span is None else 206 if stop - start < size else 200
    answer = HttpResponse(found.data[start:stop], status=status, content_type=found.media_type or "application/octet-stream")
    answer["Accept-Ranges"] = "bytes"
    if status != 200:
        answer["Content-Range"] = f"bytes {start}-{stop - 1}/{size}" if span else f"bytes */{size}"
    if not found.media_type or found.vast:
        kind = found.media_type.partition("/")[2] or "bin"
        answer["Content-Disposition"] = f'attachment; filename="sample-{sample.pk}.{kind}"'
    answer["X-Sample-Total"] = str(found.total)
    return answer


def _is_drawn(request: HttpRequest) -> bool:
    """Whether a page asks for it as an image of its own; without HTTPS browsers say so only by what they accept."""
    return request.headers.get("Sec-Fetch-Dest") == "image" or request.headers.get("Accept", "").startswith("image/")


def _placeholder(why: str, status: int) -> HttpResponse:
    """A picture of our own that says why there is no other: browsers draw it in the image's place."""
    picture = render_to_string("sample_gone.svg", {"why": why})
    return _guarded(HttpResponse(picture, status=status, content_type="image/svg+xml"))


def _guarded(answer: HttpResponse, etag: str = "") -> HttpResponse:
    answer["Content-Security-Policy"] = LOCKED
    answer["Cross-Origin-Resource-Policy"] = "same-origin"
    answer["Vary"] = "Cookie, Sec-Fetch-Dest, Accept"
    answer["Cache-Control"] = "private, no-cache" if etag else "private, no-store"
    if etag:
        answer["ETag"] = etag
    return answer
