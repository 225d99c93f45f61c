"""A proxy in front of a server that can be shut: connections are cut and refused while the server keeps running."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Gate:
    """Forwards every connection on its own loopback port to another port.

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
        """Accept connections."""
        self._server = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def shut(self) -> None:
        """Cut open connections and refuse new ones."""
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # or the accepting thread keeps the port
            self._server.close()
            self._server = None
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, upstream}
            ends = [
                threading.Thread(target=self._forward, args=pair, daemon=True)
                for pair in ((client, upstream), (upstream, client))
            ]
            for end in ends:
                end.start()
            threading.Thread(target=self._close, args=(ends, (client, upstream)), daemon=True).start()

    def _close(self, ends: list[threading.Thread], pair: tuple[socket.socket, socket.socket]) -> None:
        for end in ends:
            end.join()
        with self._lock:
            self._open -= set(pair)
        for connection in pair:
            connection.close()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(1 << 16):
                target.sendall(chunk)
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
