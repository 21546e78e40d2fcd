"""A delay in a connection, made by the tests themselves: nothing of latbench's is in it.

Plain threads and sleeps instead of an event loop and timers, and no reading of what goes through.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Final, Self

HOST: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 1 << 16


class DelayingProxy:
    """Listens and passes on to one address; what goes towards it, or what comes back, is late."""

    def __init__(self, *, towards: bool = True, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.upstream: tuple[str, int] = ("", 0)
        self._towards = towards
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self.upstream)
                self._sockets += [client, server]
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._join(client, server, late=self._towards)
                self._join(server, client, late=not self._towards)

    def _join(self, source: socket.socket, sink: socket.socket, *, late: bool) -> None:
        """A thread that reads and one that writes, so that a wait holds up no reading."""
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"?"
            while data:
                try:
                    data = source.recv(_CHUNK_BYTES)
                except OSError:
                    data = b""
                waiting.put((time.monotonic() + (self.delay_s if late else 0.0), data))

        def write() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due_s, data = waiting.get()
                    if (left_s := due_s - time.monotonic()) > 0:
                        time.sleep(left_s)
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)

        for work in (read, write):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()


class Detour:
    """A `latbench.launch.Detour` of such proxies; where there is none the way is straight."""

    def __init__(
        self,
        *,
        relay: DelayingProxy | None = None,
        producer: str | None = None,
        consumer: str | None = None,
    ) -> None:
        self._relay = relay
        self._producer = producer
        self._consumer = consumer
        self.start_ns = 0

    def relay(self, host: str, port: int) -> tuple[str, int]:
        if self._relay is None:
            return host, port
        self._relay.upstream = (host, port)
        return HOST, self._relay.port

    def producer(self, bootstrap: str) -> str:
        return self._producer or bootstrap

    def consumer(self, bootstrap: str) -> str:
        return self._consumer or bootstrap

    def begin(self, start_ns: int) -> None:
        self.start_ns = start_ns
