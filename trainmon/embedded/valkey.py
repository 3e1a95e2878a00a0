"""The embedded Valkey: the bus and Celery's broker, in memory only, on a socket in a 0700 folder."""

from __future__ import annotations

import socket
from pathlib import Path

from trainmon.embedded.places import Places

# Beyond this a publisher is told so instead of the machine running out of memory.
MEMORY = "256mb"


def command(program: Path, places: Places) -> list[str]:
    """Valkey's command line. Nothing is saved: a notice is a hint, and beat asks for each sync again."""
    settings = {
        "port": "0",
        "unixsocket": str(places.valkey_socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "maxmemory": MEMORY,
        "maxmemory-policy": "noeviction",
    }
    return [str(program), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def answers(places: Places) -> bool:
    """Whether it says PONG."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        try:
            client.connect(str(places.valkey_socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
