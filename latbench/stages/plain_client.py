"""A WebSocket client on a plain socket: the protocol is `websockets`', without its I/O."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Final, Self

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from latbench.errors import LatbenchError
from latbench.plan import MAX_REPLAYED_BYTES, Connection
from latbench.stages.connecting import headers, refused, ssl_context
from latbench.stages.websocket import set_nodelay

_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 1 << 16


class PlainClient:
    """An open connection; its socket does not block."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        self.sock = sock
        self.protocol = protocol

    @classmethod
    def connect(cls, url: str, connection: Connection) -> Self:
        """Open one, within 5 s; raises `OSError`, or `LatbenchError` where the server says no."""
        try:
            uri = parse_uri(url)
        except InvalidURI as error:
            raise LatbenchError(f"{error}", "write ws://HOST:PORT/ticks") from None
        sock = socket.create_connection((uri.host, uri.port), _TIMEOUT_S)
        try:
            set_nodelay(sock)
            if uri.secure:
                sock = ssl_context(connection).wrap_socket(sock, server_hostname=uri.host)
            protocol = ClientProtocol(uri, max_size=MAX_REPLAYED_BYTES)
            _shake_hands(sock, protocol, url, connection)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return cls(sock, protocol)

    def take(self, frames: bytes) -> list[Frame]:
        """Take whole frames; what has to be answered (a ping, the end) is."""
        self.protocol.receive_data(frames)
        found = [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        self._send()
        return found

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # it is gone, or has no room for a pong: so be it
            for data in self.protocol.data_to_send():
                if data:
                    self.sock.send(data)

    def say_goodbye(self) -> None:
        """Send a close frame with code 1000."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(1000)
            self._send()

    def end(self) -> str:
        """Close the socket; why the connection ended, as far as it was told."""
        with contextlib.suppress(OSError):
            self.sock.close()
        received = self.protocol.close_rcvd
        if received is None:
            return "without a close frame"
        return f"{received.code} {received.reason}".rstrip()


def _shake_hands(
    sock: socket.socket, protocol: ClientProtocol, url: str, connection: Connection
) -> None:
    request = protocol.connect()
    for name, value in headers(connection).items():
        request.headers[name] = value
    protocol.send_request(request)
    for data in protocol.data_to_send():
        sock.sendall(data)
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        if data := _read_head(sock):
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
            break
    protocol.events_received()  # the answer itself, which is no frame
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        raise refused(url, error.response.status_code, bytes(error.response.body))
    if error is not None or protocol.state is not State.OPEN:
        told = f"{error}" if error else "it closes the connection"
        raise LatbenchError(f"{url} is no WebSocket server: {told}", "latbench relay is one")


def _read_head(sock: socket.socket) -> bytes:
    """Read up to the end of the answer's head and no further: what follows are frames."""
    if isinstance(sock, ssl.SSLSocket):
        return sock.recv(1)  # TLS can't be looked into
    peeked = sock.recv(_READ_BYTES, socket.MSG_PEEK)
    end = peeked.find(b"\r\n\r\n")
    return sock.recv(len(peeked) if end < 0 else end + 4)
