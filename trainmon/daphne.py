"""daphne that waits for a slow reader: `python -m trainmon.daphne` takes what `daphne` takes.

daphne itself writes as fast as the application sends: a download of 10 GB by a client that
does not read would lie in our memory.  Here ``send`` returns once the client has taken what
was sent before, and one that takes nothing for PATIENCE seconds is cut off.
"""

from __future__ import annotations

import asyncio
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import WebRequest
from daphne.server import Server

PATIENCE = 60.0


class Gate:
    """Twisted closes it while more than 64 KiB wait to be sent on a connection (its IPushProducer)."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def pauseProducing(self) -> None:
        """The client is behind."""
        self.open.clear()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self.open.set()

    #: The connection is gone: nobody need wait any longer.
    stopProducing = resumeProducing


class PatientServer(Server):
    """A server whose responses in pieces go no faster than they are read."""

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Send one piece, then wait until the client is ready for the next."""
        if not isinstance(protocol, WebRequest) or message["type"] != "http.response.body":
            await super().handle_reply(protocol, message)
            return
        connection = self.connections.get(protocol, {})
        gate: Gate | None = connection.get("gate")
        more = message.get("more_body", False)
        if more and gate is None and protocol.channel is not None:
            gate = connection["gate"] = Gate()
            protocol.registerProducer(gate, True)
        elif gate is not None and not more and protocol.producer is gate:
            protocol.unregisterProducer()
        await super().handle_reply(protocol, message)
        if more and gate is not None:
            await self._caught_up(protocol, gate)

    async def _caught_up(self, protocol: Any, gate: Gate) -> None:
        try:
            await asyncio.wait_for(gate.open.wait(), PATIENCE)
        except TimeoutError:
            protocol.channel.forceAbortClient()


class CommandLine(CommandLineInterface):
    """daphne's own command line."""

    server_class = PatientServer


if __name__ == "__main__":
    CommandLine.entrypoint()
