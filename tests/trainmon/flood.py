"""An ASGI application that sends as much as it can, for tests of pacing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainmon.pacing import Paced

PIECE, PIECES = b"x" * 65_536, 1600  # 100 MiB


async def flood(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Say after each MiB how much was handed over."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        if number % 16 == 15:
            Path(os.environ["FLOOD_TOLD"]).write_text(str((number + 1) * len(PIECE)))
    await send({"type": "http.response.body", "body": b""})


application = Paced(flood)
