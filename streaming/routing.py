"""Where sockets lead: to /ws/live/, and only from pages of this site."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from streaming.consumers import live

PATH = "/ws/live/"


async def sockets(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application of all websockets."""
    headers = {name: value.decode("latin1") for name, value in scope["headers"]}
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    if path != PATH or not may_ask(headers.get(b"origin", ""), headers.get(b"host", "")):
        await receive()
        return await send({"type": "websocket.close"})
    await live(scope, receive, send)


def may_ask(origin: str, host: str) -> bool:
    """Whether a page from this origin may open a socket here.

    Its own site by host and port (cookies do not tell ports apart, and other programs of the same
    machine show pages, too), or one of TRAINMON_ORIGINS.  No origin: no browser page.
    """
    try:
        asking = urlsplit(origin)
        if asking.scheme not in ("http", "https") or not asking.hostname:
            return False
        default = {"http": 80, "https": 443}[asking.scheme]
        asked = urlsplit(f"//{host}")
        same = (asking.hostname, asking.port or default) == (asked.hostname, asked.port or default)
    except ValueError:
        return False
    if same and validate_host((asked.hostname or "") if ":" not in str(asked.hostname) else f"[{asked.hostname}]",
                              settings.ALLOWED_HOSTS):  # fmt: skip
        return True
    return any(_trusted(asking.scheme, asking.netloc, one) for one in settings.CSRF_TRUSTED_ORIGINS)


def _trusted(scheme: str, netloc: str, pattern: str) -> bool:
    """As Django reads them: ``https://example.org``, ``https://*.example.org``."""
    allowed = urlsplit(pattern)
    if allowed.netloc.startswith("*"):
        return scheme == allowed.scheme and netloc.endswith(allowed.netloc[1:])
    return (scheme, netloc) == (allowed.scheme, allowed.netloc)
