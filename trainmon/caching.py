"""What caches may keep of us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.deprecation import MiddlewareMixin

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class NothingKept(MiddlewareMixin):
    """Answers are kept nowhere, so that the back button shows nothing after signing out.

    Those with an ETag may stay in the browser and are asked for again each time; a view that
    knows better says so itself.  Static files do not come along here.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add Cache-Control where the view has set none."""
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "private, no-cache" if response.has_header("ETag") else "private, no-store"
        return response
