"""Ticks from the relay to any number of subscribers: framed once, written to each.

All that want the same ticks share one list of frames, of bounded length, and each has a place in
it. One that can't take more (its socket is full) keeps its place while the others go on; when the
list's oldest frame, which it has not had yet, has to go, it loses that one, or its connection. So a
slow subscriber costs nobody else anything, and this process no memory.

Writing takes turns with everything else that the relay does: after `_WRITES_IN_A_TURN` writes the
event loop looks at its sockets, so that a tick for Kafka does not wait until a thousand subscribers
have theirs. What comes while a turn waits goes to the rest of them in the same write.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from latbench.recording import RelayCounter
from latbench.stages.visits import DEFLATE_WINDOW_BITS

DROP_OLDEST: Final = "drop-oldest"
DISCONNECT: Final = "disconnect"
SLOW_CLOSE_CODE: Final = 1008
"""Policy violation (RFC 6455, 7.4.1): what it violates is told in the reason."""

_WRITES_IN_A_TURN: Final = 32
"""About 0.15 ms."""
_FRAMES_IN_A_WRITE: Final = 64
_TEXT: Final = 0x81
_COMPRESSED_TEXT: Final = 0xC1


class Client(Protocol):
    """A subscriber's connection."""

    @property
    def transport(self) -> asyncio.Transport:
        """What it is a connection by."""

    @property
    def clogged(self) -> bool:
        """Whether its socket has not taken all that was written."""

    def write(self, frames: bytes) -> None:
        """Hand whole frames to its socket."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, then disconnect."""


class Subscriber:
    """One client's place in its channel."""

    __slots__ = ("_channel", "_dropped", "client", "gone", "next")

    def __init__(self, client: Client, channel: Channel) -> None:
        self.client = client
        self._channel = channel
        self.next = channel.end
        """The number of the frame that it gets next."""
        self._dropped = 0
        self.gone = False

    @property
    def behind(self) -> int:
        """So many frames it has not been sent yet, lost ones included."""
        return self._channel.end - self.next

    @property
    def dropped(self) -> int:
        """So many frames it has lost."""
        return self._dropped + max(self._channel.begin - self.next, 0)

    def skip_lost(self) -> int:
        """Go on with the oldest frame that is still there; how many are lost with that."""
        lost = max(self._channel.begin - self.next, 0)
        self._dropped += lost
        self.next += lost
        return lost


class Channel:
    """The frames that all subscribers with the same wishes get, the last `most` of them.

    `deflates`: they are compressed (RFC 7692), each by itself.
    """

    def __init__(self, symbols: frozenset[str] | None, most: int, *, deflates: bool) -> None:
        self.symbols = symbols
        self.deflates = deflates
        self.idle: list[Subscriber] = []
        """Those that have had all there is."""
        self.slow: set[Subscriber] = set()
        """Those whose sockets are full."""
        self.members = 0
        self.end = 0
        self._frames = [b""] * most
        self._most = most
        self._joined: dict[tuple[int, int], bytes] = {}

    @property
    def begin(self) -> int:
        """The number of the oldest frame that is there."""
        return max(self.end - self._most, 0)

    def append(self, message: bytes) -> None:  # hot path
        """Add a message as a frame; the oldest has to go."""
        head = _TEXT
        if self.deflates:
            message, head = deflated(message), _COMPRESSED_TEXT
        self._frames[self.end % self._most] = framed(head, message)
        self.end += 1
        if self._joined:
            self._joined.clear()

    def frames(self, begin: int, end: int) -> bytes:  # hot path
        """Frames in a row as they go over the wire; most subscribers ask for the same ones."""
        most, frames = self._most, self._frames
        if end - begin == 1:
            return frames[begin % most]
        joined = self._joined.get((begin, end))
        if joined is None:
            joined = b"".join([frames[number % most] for number in range(begin, end)])
            self._joined[begin, end] = joined
        return joined


class Fanout:
    """All subscribers of a relay.

    `call_soon`: has a function called when the event loop has looked at its sockets.
    """

    def __init__(
        self,
        queue_messages: int,
        slow_client: str,
        call_soon: Callable[[Callable[[], None]], object],
        counters: memoryview,
    ) -> None:
        self._most = queue_messages
        self._disconnects = slow_client == DISCONNECT
        self._call_soon = call_soon
        self._counters = counters
        self._channels: dict[tuple[frozenset[str] | None, bool], Channel] = {}
        self._for_all: list[Channel] = []
        self._for_symbol: dict[str, list[Channel]] = {}
        self._subscribers: dict[Client, tuple[Subscriber, Channel]] = {}
        self._queue: deque[tuple[Subscriber, Channel]] = deque()
        self._is_due = False

    def __len__(self) -> int:
        return len(self._subscribers)

    def __iter__(self) -> Iterator[Subscriber]:
        return (subscriber for subscriber, _ in self._subscribers.values())

    @property
    def is_busy(self) -> bool:
        """Whether something can be written right now."""
        return bool(self._queue)

    def join(
        self, client: Client, symbols: frozenset[str] | None, *, deflates: bool = False
    ) -> Subscriber:
        """From now on `client` gets the ticks of these symbols; None: of all."""
        key = symbols, deflates
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(symbols, self._most, deflates=deflates)
            if symbols is None:
                self._for_all.append(channel)
            else:
                for symbol in symbols:
                    self._for_symbol.setdefault(symbol, []).append(channel)
        channel.members += 1
        subscriber = Subscriber(client, channel)
        self._subscribers[client] = subscriber, channel
        channel.idle.append(subscriber)
        self._counters[RelayCounter.SUBSCRIBERS] = len(self._subscribers)
        return subscriber

    def leave(self, client: Client) -> None:
        """It is gone, or wants no more; one that never joined is no error."""
        found = self._subscribers.pop(client, None)
        if found is None:
            return
        subscriber, channel = found
        subscriber.gone = True
        channel.slow.discard(subscriber)
        if subscriber in channel.idle:
            channel.idle.remove(subscriber)
        channel.members -= 1
        if not channel.members:
            del self._channels[channel.symbols, channel.deflates]
            if channel.symbols is None:
                self._for_all.remove(channel)
            else:
                for symbol in channel.symbols:
                    self._for_symbol[symbol].remove(channel)
                    if not self._for_symbol[symbol]:
                        del self._for_symbol[symbol]
        self._counters[RelayCounter.SUBSCRIBERS] = len(self._subscribers)

    def publish(self, message: bytes, symbol: str) -> None:  # hot path
        """Send one tick to all who want it."""
        for channel in self._for_all:
            self._append(channel, message)
        if self._for_symbol:
            for channel in self._for_symbol.get(symbol, ()):
                self._append(channel, message)

    def _append(self, channel: Channel, message: bytes) -> None:  # hot path
        channel.append(message)
        if channel.idle:
            self._queue.extend([(subscriber, channel) for subscriber in channel.idle])
            channel.idle.clear()
            if not self._is_due:
                self._is_due = True
                self._call_soon(self._turn)
        if channel.slow:
            self._look_at_slow(channel)

    def _look_at_slow(self, channel: Channel) -> None:
        """Count what they lose with the frame that just came."""
        begin = channel.begin
        for subscriber in list(channel.slow):
            if subscriber.next < begin:
                self._lose(subscriber)

    def _lose(self, subscriber: Subscriber) -> None:
        self._counters[RelayCounter.SUBSCRIBER_DROPS] += subscriber.skip_lost()
        if self._disconnects:
            self._counters[RelayCounter.SLOW_DISCONNECTED] += 1
            self.leave(subscriber.client)
            subscriber.client.close(
                SLOW_CLOSE_CODE, f"too slow: {self._most} ticks behind (--slow-client)"
            )

    def resume(self, client: Client) -> None:
        """Its socket has room again."""
        found = self._subscribers.get(client)
        if found is None or found[0] not in found[1].slow:
            return
        subscriber, channel = found
        channel.slow.discard(subscriber)
        if subscriber.behind:
            self._queue.append(found)
            if not self._is_due:
                self._is_due = True
                self._call_soon(self._turn)
        else:
            channel.idle.append(subscriber)

    def _turn(self) -> None:  # hot path
        """Write to some of those that have not had all."""
        queue = self._queue
        for _ in range(min(len(queue), _WRITES_IN_A_TURN)):
            subscriber, channel = queue.popleft()
            if not subscriber.gone:
                self._write(subscriber, channel)
        if queue:
            self._call_soon(self._turn)
        else:
            self._is_due = False

    def _write(self, subscriber: Subscriber, channel: Channel) -> None:  # hot path
        client = subscriber.client
        if client.clogged:
            channel.slow.add(subscriber)
            return
        begin = subscriber.next
        if begin < channel.begin:  # this process has no time for all of its subscribers
            self._lose(subscriber)
            if subscriber.gone:
                return
            begin = subscriber.next
        end = subscriber.next = min(channel.end, begin + _FRAMES_IN_A_WRITE)
        client.write(channel.frames(begin, end))
        if client.clogged:
            channel.slow.add(subscriber)
        elif end < channel.end:
            self._queue.append((subscriber, channel))
        else:
            channel.idle.append(subscriber)


def framed(head: int, payload: bytes) -> bytes:  # hot path
    """A whole, unmasked frame (RFC 6455, 5.2), as a server sends it to all clients alike."""
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def deflated(payload: bytes) -> bytes:
    """A message compressed by itself, the last four bytes cut off (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(wbits=-DEFLATE_WINDOW_BITS)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]
