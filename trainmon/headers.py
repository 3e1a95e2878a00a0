"""The headers of every answer, static files included, set where the request is and not in a thread.

Django runs the parts of a middleware, which may wait for a database, in a thread: four changes of
thread a request that take as long as two queries.  These wait for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from csp.middleware import CSPMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

if TYPE_CHECKING:
    from django.http import HttpRequest


class AtOnce(MiddlewareMixin):
    """A middleware whose two parts only look at the request and the answer."""

    async def __acall__(self, request: HttpRequest) -> Any:
        """What MiddlewareMixin does, without its threads."""
        answer = self.process_request(request)  # type: ignore[attr-defined]
        return self.process_response(request, answer or await self.get_response(request))  # type: ignore[attr-defined, misc]


class Security(AtOnce, SecurityMiddleware):
    """Nothing is guessed, told to or opened by other sites."""


class Policy(AtOnce, CSPMiddleware):
    """What a page may load and run (settings.CONTENT_SECURITY_POLICY)."""
