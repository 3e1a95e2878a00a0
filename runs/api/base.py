"""What every view of the API does alike: refuse by problems, slow down strangers, answer 304 where nothing changed."""

from __future__ import annotations

import os
from functools import partial
from hashlib import blake2b
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

KEPT_BY_304 = ("Cache-Control", "ETag", "Vary", "WWW-Authenticate")


class ApiView(APIView):
    """The base of all views under /api/."""

    #: The permission that a method needs beside being signed in (authentication.Closed).
    needs: dict[str, str] = {}
    #: Whether the answer may be kept by its reader and asked for again with If-None-Match.
    conditional = True

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """REST framework takes a body that came in chunks, without a length, for none."""
        stored: Any = getattr(request, "_stream", None)
        if "CONTENT_LENGTH" not in request.META and "HTTP_TRANSFER_ENCODING" in request.META and hasattr(stored, "seek"):
            request.META["CONTENT_LENGTH"] = str(stored.seek(0, os.SEEK_END))
            stored.seek(0)
        return super().initialize_request(request, *args, **kwargs)

    def perform_authentication(self, request: Request) -> None:
        """Who calls; wrong tokens count as calls by nobody."""
        try:
            super().perform_authentication(request)
        except AuthenticationFailed:
            self.check_throttles(request)
            raise

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> Any:
        """Refuse; who is not signed in is slowed down, too."""
        if not request.user.is_authenticated:
            self.check_throttles(request)
        super().permission_denied(request, message, code)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:  # type: ignore[override]
        """Which methods there are: in the header Allow."""
        return Response(status=204)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Nothing is kept by shared caches; what may be asked again gets a weak ETag of its bytes."""
        response = super().finalize_response(request, response, *args, **kwargs)
        patch_vary_headers(response, ["Authorization", "Cookie"])
        if "Cache-Control" in response.headers:
            return response
        if self.conditional and request.method in {"GET", "HEAD"} and response.status_code == 200:
            response.headers["Cache-Control"] = "private, no-cache"
            if isinstance(response, Response):
                response.add_post_render_callback(partial(unless_known, request._request))
        else:
            response.headers["Cache-Control"] = "private, no-store"
        return response


def unless_known(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The answer with an ETag; 304 where the caller has it already."""
    if "ETag" not in response.headers:
        response.headers["ETag"] = f'W/"{blake2b(response.content, digest_size=12).hexdigest()}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" not in known and response.headers["ETag"].removeprefix("W/") not in {tag.removeprefix("W/") for tag in known}:
        return response
    unchanged = HttpResponseNotModified()
    for name in KEPT_BY_304:
        if name in response.headers:
            unchanged.headers[name] = response.headers[name]
    return unchanged
