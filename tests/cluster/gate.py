"""A door before a server that can be shut: connections are cut and refused, and the server itself lives on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Gate:
    """Hands every connection on its own port of loopback to another one.

    Args:
        target: the port of the server behind it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: socket.socket | None = None
        self.port = 0
        self.unlock()

    def unlock(self) -> None:
        """Take connections."""
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._take, args=(self._server,), daemon=True).start()

    def shut(self) -> None:
        """Cut those that are there, and refuse others."""
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # else the thread that waits for one keeps the port
            self._server.close()
            self._server = None
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _take(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            ends = [
                threading.Thread(target=self._hand_on, args=pair, daemon=True) for pair in ((near, far), (far, near))
            ]
            for end in ends:
                end.start()
            threading.Thread(target=self._tidy, args=(ends, (near, far)), daemon=True).start()

    def _tidy(self, ends: list[threading.Thread], pair: tuple[socket.socket, socket.socket]) -> None:
        for end in ends:
            end.join()
        with self._lock:
            self._open -= set(pair)
        for one in pair:
            one.close()

    @staticmethod
    def _hand_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
