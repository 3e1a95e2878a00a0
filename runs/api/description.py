"""The OpenAPI document, and the page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView

from runs.api.base import ApiView

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@extend_schema(exclude=True)
class Description(ApiView, SpectacularAPIView):
    """The OpenAPI document, in JSON or YAML by the header Accept."""

    permission_classes = ApiView.permission_classes
    authentication_classes = ApiView.authentication_classes


@csp_update({"style-src": [UNSAFE_INLINE]})
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """The description for people, where each call can be tried with one's own session.

    Swagger UI writes style attributes: this page alone allows them.
    """
    return render(request, "api_docs.html")
