"""What the list of jobs and the page of a job show while jobs live."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.template.loader import render_to_string

from runs import jobcards


def drawn(template: str, ids: Sequence[int], spec: str) -> dict[int, Any]:
    """A part of a page for each of these jobs."""
    return {pk: render_to_string(template, {"job": job}) for pk, job in jobcards.load(ids).items()}


job_rows = partial(drawn, "_job_row.html")
job_heads = partial(drawn, "_job_head.html")
job_figures = partial(drawn, "_job_live.html")
