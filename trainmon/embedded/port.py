"""The site's listening socket: opened by the supervisor, so that a restart of the site loses no connection."""

from __future__ import annotations

import errno
import http.client
import socket

import psutil

# How far to look for a free port.
NEXT_PORTS = 50


class PortTaken(Exception):
    """Somebody listens there already."""

    def __init__(self, host: str, port: int, free: int | None) -> None:
        self.host, self.port, self.free = host, port, free
        super().__init__(f"Port {port} on {host} is taken{holder(port)}.")


class NoAddress(Exception):
    """The host and port cannot be listened on at all."""


def open_listener(host: str, port: int) -> socket.socket:
    """Bind and listen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
    except (socket.gaierror, OverflowError) as error:
        raise NoAddress(f"HOST={host} PORT={port} is not an address of this machine: {error}") from None
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, next_free(host, port)) from None
        raise NoAddress(f"HOST={host} PORT={port} cannot be listened on: {error}") from None
    return listener


def next_free(host: str, port: int) -> int | None:
    """The next port that can be bound."""
    for candidate in range(port + 1, min(port + NEXT_PORTS, 65536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return None


def holder(port: int) -> str:
    """` by pid 12 (python x.py)`, where we may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listening and connection.pid:
                words = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f" by pid {connection.pid} ({words})"
    except psutil.Error:
        pass
    return ""


def address(listener: socket.socket) -> str:
    """The URL to open; for a socket on every interface, one of this machine's names."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def site_answers(listener: socket.socket) -> bool:
    """Whether a page comes back, whatever it says short of an error of the server's."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    client = http.client.HTTPConnection(host, port, timeout=10)
    try:
        client.request("GET", "/", headers={"User-Agent": "trainmon-up"})
        return client.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
