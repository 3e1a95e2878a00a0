"""A job's debug bundle, for whoever may see the job; the page's button leads here, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema

from runs import audit, bundle
from runs.api.base import ApiView
from runs.api.jobs import NAME, find
from runs.api.schema import Problem
from runs.streamed import Download

if TYPE_CHECKING:
    from django.http import HttpResponseBase
    from rest_framework.request import Request


class JobBundle(ApiView):
    """All that one needs to find out what went wrong."""

    conditional = False

    @extend_schema(operation_id="job_bundle", parameters=[NAME],
                   responses={(200, "application/zip"): OpenApiTypes.BINARY, 409: Problem})
    def get(self, request: Request, job: str) -> HttpResponseBase:
        """A zip of its log, state, samples and trainmon's own lines about it, without secrets; made while it is read."""
        found = find(request, job)
        if request.method == "GET":  # a HEAD takes nothing away
            audit.record(request, "download debug bundle", found, run=found.run_id)
        return Download(bundle.pieces(found), f"{bundle.name(found)}_debug.zip", "application/zip")
