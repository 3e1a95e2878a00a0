"""The Samples and Checkpoints tabs of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.paginator import Paginator
from django.views.decorators.http import require_safe

from runs.roles import sees_raw
from runs.samples import unreadable
from runs.views.jobs import find, samples_of, show
from runs.views.page import page_number

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

SAMPLES_PER_PAGE, CHECKPOINTS_PER_PAGE = 120, 100


@require_safe
def job_samples(request: HttpRequest, pk: int) -> HttpResponse:
    """The images that a job made, in the order of their steps."""
    job = find(request, pk)
    pages = Paginator(samples_of(job).filter(kind="image").select_related("log_file"), SAMPLES_PER_PAGE)
    page = pages.get_page(page_number(request))
    for sample in page:
        sample.gone = unreadable(sample)
    context = {"page": page, "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1)}
    return show(request, job, "samples", context)


@require_safe
def job_checkpoints(request: HttpRequest, pk: int) -> HttpResponse:
    """What a job saved."""
    job = find(request, pk)
    pages = Paginator(job.checkpoints.order_by("step", "id"), CHECKPOINTS_PER_PAGE)
    page = pages.get_page(page_number(request))
    context = {"page": page, "numbers": pages.get_elided_page_range(page.number, on_each_side=2, on_ends=1),
               "raw": sees_raw(request.user)}
    return show(request, job, "checkpoints", context)
