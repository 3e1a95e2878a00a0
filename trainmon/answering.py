"""Django as an ASGI application that lets go of what it has sent."""

from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIHandler


class Answering(ASGIHandler):
    """Django's own handler; the bytes of an answer are gone with it.

    The tasks of a request and the error that ends the second of them hold one another, and the answer, until
    Python next searches for garbage: ten megabytes after a dozen charts.
    """

    async def send_response(self, response: Any, send: Any) -> None:
        """Send it, then empty it."""
        try:
            await super().send_response(response, send)
        finally:
            if not response.streaming:
                response.content = b""
