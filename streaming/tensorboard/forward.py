"""From a unix socket to a port of this network namespace: bytes as they come, no more in hand than one buffer a direction.

Threads that wait in the kernel: a slow reader holds up the writer behind it, and nobody else.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

#: Connections at a time; more wait to be accepted.
MOST = 256
BUFFER = 256 * 1024


class Forwarder:
    """Passes each connection of a listening socket on to 127.0.0.1:``port()``."""

    def __init__(self, listener: socket.socket, port: Callable[[], int | None]) -> None:
        self.listener, self.port = listener, port
        self.room = threading.BoundedSemaphore(MOST)

    def serve(self) -> None:
        """For ever."""
        threading.stack_size(256 * 1024)
        while True:
            self.room.acquire()
            near, _ = self.listener.accept()
            threading.Thread(target=self.carry, args=(near,), daemon=True).start()

    def carry(self, near: socket.socket) -> None:
        """One connection, until both sides have ended."""
        try:
            with near, self.connected() as far:
                back = threading.Thread(target=pump, args=(far, near), daemon=True)
                back.start()
                pump(near, far)
                back.join()
        except OSError:
            pass  # nobody listens there (yet): to who asked, the connection ends
        finally:
            self.room.release()

    def connected(self) -> socket.socket:
        """A connection to the port."""
        port = self.port()
        if port is None:
            raise ConnectionRefusedError
        far = socket.create_connection(("127.0.0.1", port), timeout=5)
        far.settimeout(None)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return far


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, and tell the target; where either fails both are over."""
    buffer = memoryview(bytearray(BUFFER))
    try:
        while size := source.recv_into(buffer):
            target.sendall(buffer[:size])
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
