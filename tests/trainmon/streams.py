"""An ASGI application for test_pacing: / streams 200 MB, /sent says how far it came, /open how many streams go on."""

from __future__ import annotations

import os
from typing import Any

from trainmon import pacing

pacing.PATIENCE = float(os.environ.get("PATIENCE", pacing.PATIENCE))
PIECE, PIECES = bytes(1024 * 1024), 200
sent = running = 0


async def stream(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global sent, running
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] != "/":
        said = sent if scope["path"] == "/sent" else running
        await send({"type": "http.response.body", "body": str(said).encode()})
        return
    sent, running = 0, running + 1
    try:
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})
    finally:
        running -= 1


application = pacing.Paced(stream)
