"""A WebSocket client made of bytes, for everything that a library would not let one send."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import struct
from typing import Final, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
TIMEOUT_S: Final = 10.0


def handshake(path: str = "/") -> bytes:
    """A client's opening request."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """One frame; `length` is what its header says, if not the truth."""
    told = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if told < 126:
        head += bytes([mask_bit | told])
    elif told < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, told)
    else:
        head += struct.pack("!BQ", mask_bit | 127, told)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    repeated = mask * (len(payload) // 4 + 1)
    size = len(payload)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[:size], "big")
    return head + mask + mixed.to_bytes(size, "big")


class RawClient:
    """A TCP connection to a relay."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._sock.setblocking(False)

    @classmethod
    def upgraded(cls, port: int, path: str = "/") -> Self:
        """One that has shaken hands."""
        client = cls(port)
        client.send(handshake(path))
        answer = b""
        while b"\r\n\r\n" not in answer:
            client._wait(select.POLLIN)
            data = client._read()
            assert data != b"", f"the relay closed the connection after {answer!r}"
            answer += data or b""
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return client

    def _wait(self, events: int) -> None:
        poller = select.poll()
        poller.register(self._sock, events)
        assert poller.poll(TIMEOUT_S * 1000), f"nothing moved for {TIMEOUT_S:g} s"

    def send(self, data: bytes) -> bool:
        """Send all; False when the relay has closed the connection."""
        try:
            while data := data[self.send_without_waiting(data) :]:
                self._wait(select.POLLOUT)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_without_waiting(self, data: bytes) -> int:
        """Send what the socket takes now; how much it took."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def _read(self) -> bytes | None:
        """What is there; None: nothing yet, b"": nothing ever again."""
        try:
            return self._sock.recv(1 << 20)
        except BlockingIOError:
            return None

    @property
    def has_something_to_read(self) -> bool:
        """Whether the relay has sent something, or closed."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

    def was_heard(self, unsent: bytes = b"") -> bool:
        """Whether the relay has taken all that was sent: it answers a ping, or (False) closes.

        `unsent` goes before the ping. Reads meanwhile: who only sends may have to wait for ever.
        """
        token = os.urandom(8)
        unsent += frame(PING, token)
        # a pong of 8 bytes as a server sends it: not masked
        wanted, received = bytes([0x80 | PONG, 8]) + token, b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while wanted not in received:
                self._wait(select.POLLIN | (select.POLLOUT if unsent else 0))
                if unsent:
                    unsent = unsent[self.send_without_waiting(unsent) :]
                data = self._read()
                if data == b"":
                    return False
                received = received[-len(wanted) :] + (data or b"")
            return True
        return False

    def read_to_the_end(self) -> bytes:
        """All that comes until the relay closes the connection."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while (data := self._read()) != b"":
                received += data or b""
                if data is None:
                    self._wait(select.POLLIN)
        return received

    def hold_little(self) -> None:
        """Let the kernel keep no more than a few kilobytes that have not been read."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def shut_writing(self) -> None:
        """Half-close: nothing more comes from here, and it goes on listening."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        """Close the connection as TCP does, without a word to the WebSocket."""
        self._sock.close()
