"""What may be thrown at a relay's socket, as a hypothesis strategy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from tests.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    RawClient,
    frame,
    handshake,
)

ANOTHER_RUN: Final = "0badcafe"
WILD: Final = (2**62, 2**63 - 1, 10**9)


def forged_tick(run_id: str, seq: int, **members: Any) -> bytes:
    """A message that the relay takes for a tick."""
    stamps = {"run": run_id, "seq": seq, "due_ns": 1, "sent_ns": 2}
    return json.dumps({"symbol": "FORGED", "latbench": stamps, **members}).encode()


@dataclasses.dataclass(frozen=True)
class Attack:
    """Bytes on a connection of their own, and what the relay makes of them."""

    name: str
    data: bytes
    malformed: int = 0
    """Messages in it that are no ticks, all of which the relay is sure to see."""
    relayed: int = 0
    """Ticks of another run in it."""
    perhaps: int = 0
    """Messages that one engine takes and the other doesn't, or that an RST may overtake."""
    shakes_hands: bool = True
    ending: str = "close"
    """`close`, `reset`, `half-close` or `stay`."""

    def throw(self, port: int) -> RawClient | None:
        """Do it; a connection that stays open is given back."""
        client = RawClient.upgraded(port) if self.shakes_hands else RawClient(port)
        client.send(self.data)
        if self.malformed or self.relayed or self.ending == "close":
            # closing at once might take back what the relay has not read yet
            heard = client.was_heard() if self.shakes_hands else False
            assert heard or not (self.malformed or self.relayed), self
        if self.ending in {"half-close", "stay"}:
            if self.ending == "half-close":
                client.shut_writing()
            return client
        if self.ending == "reset":
            client.reset()
        else:
            client.close()
        return None


_stamps: Final = st.fixed_dictionaries(
    {"run": st.just(ANOTHER_RUN)},
    optional={
        name: st.integers(-(2**64), -1) | st.integers(2**63, 2**70) | st.text() | st.none()
        for name in ("seq", "due_ns", "sent_ns")
    },
)
_json: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
no_ticks: Final = st.one_of(
    st.binary(max_size=200),
    st.binary(min_size=1, max_size=50).map(lambda data: b'{"symbol":"\xff' + data + b'"}'),
    st.text(max_size=200).map(str.encode),
    _json.map(lambda value: json.dumps(value).encode()),
    # no stamp is right, and often one is missing
    _stamps.map(lambda stamps: json.dumps({"latbench": stamps}).encode()),
    st.integers(300, 13_000).map(lambda depth: b'{"a":' * depth),
    st.integers(1_000, 65_536).map(lambda size: b" " * size),
)
ticks: Final = st.builds(
    forged_tick,
    st.text(max_size=8).filter(lambda run: "\0" not in run) | st.just(ANOTHER_RUN),
    st.integers(0, 2**63 - 1),
    text=st.text(max_size=100),
)


def _fragmented(message: bytes, parts: int) -> bytes:
    """A message in fragments with pings between."""
    size = len(message) // parts + 1
    pieces = [message[number * size : (number + 1) * size] for number in range(parts)]
    frames = [
        frame(TEXT if number == 0 else CONTINUATION, piece, fin=number == parts - 1)
        for number, piece in enumerate(pieces)
    ]
    return frame(PING, b"between").join(frames)


def _blanks(size: int) -> bytes:
    return frame(TEXT, b" " * size)


def _text(message: bytes) -> bytes:
    """What is UTF-8 of a message: all else ends its connection."""
    return message.decode(errors="replace").encode()


def _one(name: str, make: Callable[[bytes], bytes], **more: Any) -> st.SearchStrategy[Attack]:
    """A frame or more around a message that is no tick."""
    return no_ticks.map(lambda message: Attack(name, make(message), **more))


def _bytes(name: str, data: st.SearchStrategy[bytes], **more: Any) -> st.SearchStrategy[Attack]:
    return data.map(lambda sent: Attack(name, sent, **more))


KINDS: Final[tuple[st.SearchStrategy[Attack], ...]] = (
    _one("text that is no tick", lambda message: frame(TEXT, _text(message)), malformed=1),
    _one("text that is no UTF-8", lambda message: frame(TEXT, message + b"\xff"), perhaps=1),
    _one("binary that is no tick", lambda message: frame(BINARY, message), malformed=1),
    ticks.map(lambda tick: Attack("another run's tick", frame(TEXT, tick), relayed=1)),
    ticks.map(lambda tick: Attack("the same as binary", frame(BINARY, tick), relayed=1)),
    st.builds(_fragmented, no_ticks.map(_text), st.integers(2, 9)).map(
        lambda data: Attack("fragments that make no tick", data, malformed=1)
    ),
    st.builds(_fragmented, ticks, st.integers(2, 9)).map(
        lambda data: Attack("fragments that make a tick", data, relayed=1)
    ),
    _one("fragments without an end", lambda message: frame(TEXT, message, fin=False)),
    _one("an end without a beginning", lambda message: frame(CONTINUATION, message), perhaps=1),
    _one("not masked", lambda message: frame(TEXT, message, masked=False), perhaps=1),
    st.builds(
        lambda message, bits: Attack(
            "reserved bits", frame(TEXT, message, reserved=bits), perhaps=1
        ),
        no_ticks,
        st.integers(1, 7),
    ),
    st.builds(
        lambda message, opcode: Attack("reserved opcode", frame(opcode, message), perhaps=1),
        no_ticks,
        st.sampled_from([3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF]),
    ),
    _bytes("a long ping", st.binary(min_size=126, max_size=300).map(lambda b: frame(PING, b))),
    _bytes("a strange close", st.binary(max_size=125).map(lambda data: frame(CLOSE, data))),
    st.integers(2**16 + 1, 2**64 - 1).map(
        lambda length: Attack("too large", frame(TEXT, b"x" * 99, length=length))
    ),
    _bytes("too large, and whole", st.integers(65_537, 2_000_000).map(_blanks)),
    _one(
        "reset within a frame",
        lambda message: frame(TEXT, message, length=len(message) + 9),
        ending="reset",
    ),
    _one("reset after a frame", lambda data: frame(TEXT, data), perhaps=1, ending="reset"),
    _one("half-closed", lambda data: frame(TEXT, _text(data)), malformed=1, ending="half-close"),
    _one(
        "half-closed within a frame",
        lambda message: frame(TEXT, message, length=len(message) + 9),
        ending="half-close",
    ),
    _bytes("noise", st.binary(max_size=400), perhaps=200, ending="reset"),
    _bytes("noise for a handshake", st.binary(max_size=400), shakes_hands=False, ending="reset"),
    _bytes("no handshake", st.just(b"GET / HTTP/1.1\r\n\r\n"), shakes_hands=False, ending="reset"),
    st.integers(0, 150).map(
        lambda size: Attack(
            "half a handshake", handshake()[:size], shakes_hands=False, ending="stay"
        )
    ),
)
