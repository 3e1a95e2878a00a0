"""The peer of fanout.py: the same daphne and Valkey, with Channels' own groups, one message a change and socket."""

from __future__ import annotations

import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
django.setup()


class Grouped(AsyncWebsocketConsumer):
    """Passes on what comes to its group."""

    groups = ["fanout"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A page that has opened; the first one gets something to show."""
        if text_data and "watch" in text_data:
            await self.send('{"version":0}')

    async def changed(self, event: dict[str, Any]) -> None:
        """A change."""
        await self.send(event["text"])


application = Grouped.as_asgi()
