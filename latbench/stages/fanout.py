"""Ticks from the relay to any number of subscribers: framed once, written to each.

All that want the same ticks share one list of frames, of bounded length, and each has a place in
it. One that can't take more (its socket is full) keeps its place while the others go on; when the
list's oldest frame, which it has not had yet, has to go, it loses that one, or its connection. So a
slow subscriber costs nobody else anything, and this process no memory.

Subscribers are written to in rounds, each of them once, and a round takes turns with everything
else that the relay does: after `_WRITES_IN_A_TURN` writes the event loop looks at its sockets, so
that a tick for Kafka does not wait until a thousand subscribers have theirs. After a round comes a
rest: fan-out gets two thirds of the relay's time at most, whatever is asked of it, and ticks that
came meanwhile go together in one write. A write is 10 to 15 µs on two shared CPUs, nearly all of it
the kernel's, so that 100 subscribers at 1,000 ticks/s would take more than a CPU by themselves.
With a few subscribers a round is over before the next tick.
"""

from __future__ import annotations

import asyncio
import dataclasses
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from websockets.frames import CloseCode

from latbench.config import DISCONNECT
from latbench.recording import RelayCounter
from latbench.stages.visits import DEFLATE_WINDOW_BITS

_WRITES_IN_A_TURN: Final = 32
"""About 0.15 ms."""
_FRAMES_IN_A_WRITE: Final = 64

_REST: Final = 2
"""A round is followed by a rest of half its length. With none, of 100 subscribers at 1,000/s,
fanout's p50 was 2.9 ms instead of 4.2 and the CPUs 94 % busy, so that end_to_end's p99 was three
times as high; with a rest as long as the round p50 was 6 ms."""
_TEXT: Final = 0x81
_COMPRESSED_TEXT: Final = 0xC1


class Client(Protocol):
    """A subscriber's connection."""

    @property
    def transport(self) -> asyncio.Transport:
        """What whole frames can be written to."""

    @property
    def clogged(self) -> bool:
        """Whether its socket has not taken all that was written."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, then disconnect."""


class Pace(Protocol):
    """How rounds come to their time."""

    def now_ns(self) -> int:
        """Monotonic."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call when the event loop has looked at its sockets."""

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        """Call at a moment; one call at a time is waited for."""


class Subscriber:
    """One client's place in its channel."""

    __slots__ = ("_dropped", "channel", "client", "next", "ready", "write")

    def __init__(self, client: Client, channel: Channel) -> None:
        self.client = client
        self.channel = channel
        self.next = channel.end
        """The number of the frame that it gets next."""
        self.ready = not client.clogged
        """Whether it is there and its socket takes more."""
        self.write: Callable[[bytes], object] = client.transport.write
        self._dropped = 0

    @property
    def behind(self) -> int:
        """So many frames it has not been sent yet, lost ones included."""
        return self.channel.end - self.next

    @property
    def dropped(self) -> int:
        """So many frames it has lost."""
        return self._dropped + max(self.channel.begin - self.next, 0)

    def skip_lost(self) -> int:
        """Go on with the oldest frame that is still there; how many are lost with that."""
        lost = max(self.channel.begin - self.next, 0)
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
        """Those whose sockets have room and whose turn it is not."""
        self.slow: set[Subscriber] = set()
        """Those whose sockets are full."""
        self.members = 0
        self.end = 0
        self._frames = [b""] * most
        self._most = most

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

    def frames(self, begin: int, end: int) -> bytes:  # hot path
        """Frames in a row as they go over the wire."""
        most, frames = self._most, self._frames
        if end - begin == 1:
            return frames[begin % most]
        return b"".join([frames[number % most] for number in range(begin, end)])


@dataclasses.dataclass(slots=True)
class _Batch:
    """What a channel's subscribers get in a round, all but those that are further behind."""

    begin: int
    end: int
    frames: bytes


class Fanout:
    """All subscribers of a relay."""

    def __init__(
        self,
        queue_messages: int,
        slow_client: str,
        pace: Pace,
        counters: memoryview,
    ) -> None:
        self._most = queue_messages
        self._disconnects = slow_client == DISCONNECT
        self._pace = pace
        self._counters = counters
        self._channels: dict[tuple[frozenset[str] | None, bool], Channel] = {}
        self._for_all: list[Channel] = []
        self._for_symbol: dict[str, list[Channel]] = {}
        self._subscribers: dict[Client, Subscriber] = {}
        self._queue: deque[tuple[Subscriber, _Batch]] = deque()
        """Those that this round has not come to yet."""
        self._fresh: dict[Channel, None] = {}
        """Channels with something that idle subscribers have not had."""
        self._is_under_way = False
        """Whether a round is, or is sure to come."""
        self._began_ns = 0
        self._not_before_ns = 0

    def __len__(self) -> int:
        return len(self._subscribers)

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._subscribers.values())

    @property
    def is_busy(self) -> bool:
        """Whether something is to be written that sockets have room for."""
        return bool(self._queue or self._fresh)

    def join(
        self, client: Client, symbols: frozenset[str] | None, *, deflates: bool = False
    ) -> None:
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
        subscriber = self._subscribers[client] = Subscriber(client, channel)
        if subscriber.ready:
            channel.idle.append(subscriber)
        else:
            channel.slow.add(subscriber)
        self._counters[RelayCounter.SUBSCRIBERS] = len(self._subscribers)

    def leave(self, client: Client) -> None:
        """It is gone, or wants no more; one that never joined is no error."""
        subscriber = self._subscribers.pop(client, None)
        if subscriber is None:
            return
        channel = subscriber.channel
        subscriber.ready = False
        channel.slow.discard(subscriber)
        if subscriber in channel.idle:
            channel.idle.remove(subscriber)
        channel.members -= 1
        if not channel.members:
            self._fresh.pop(channel, None)
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
            self._fresh[channel] = None
            if not self._is_under_way:
                self._arrange()
        if channel.slow:
            self._look_at_slow(channel)

    def _arrange(self) -> None:
        """See to it that a round comes."""
        self._is_under_way = True
        if self._pace.now_ns() >= self._not_before_ns:
            self._pace.soon(self._begin)
        else:
            self._pace.at(self._not_before_ns, self._begin)

    def _begin(self) -> None:  # hot path
        """Begin a round with all who have not had everything."""
        self._began_ns = self._pace.now_ns()
        for channel in self._fresh:
            # who has had all there was before is where the first of the others is
            begin = max(channel.idle[-1].next, channel.begin) if channel.idle else channel.end
            end = min(channel.end, begin + _FRAMES_IN_A_WRITE)
            batch = _Batch(begin, end, channel.frames(begin, end))
            self._queue.extend([(subscriber, batch) for subscriber in channel.idle])
            channel.idle.clear()
        self._fresh.clear()
        self._turn()

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
                CloseCode.POLICY_VIOLATION, f"too slow: {self._most} ticks behind (--slow-client)"
            )

    def pause(self, client: Client) -> None:
        """Its socket has no more room."""
        subscriber = self._subscribers.get(client)
        if subscriber is not None:
            subscriber.ready = False

    def resume(self, client: Client) -> None:
        """Its socket has room again."""
        subscriber = self._subscribers.get(client)
        if subscriber is None:
            return
        subscriber.ready = True
        channel = subscriber.channel
        if subscriber not in channel.slow:  # its turn has not come since
            return
        channel.slow.discard(subscriber)
        channel.idle.insert(0, subscriber)
        if subscriber.behind:
            self._fresh[channel] = None
            if not self._is_under_way:
                self._arrange()

    def _turn(self) -> None:  # hot path
        """Write to some of those whose turn it is in this round."""
        queue = self._queue
        for _ in range(min(len(queue), _WRITES_IN_A_TURN)):
            subscriber, batch = queue.popleft()
            if subscriber.ready and subscriber.next == batch.begin:
                subscriber.next = batch.end
                subscriber.write(batch.frames)
                if subscriber.ready:
                    subscriber.channel.idle.append(subscriber)
                    continue
            self._look_after(subscriber)
        if queue:
            self._pace.soon(self._turn)
        else:
            self._end_round()

    def _look_after(self, subscriber: Subscriber) -> None:
        """One that has gone, or can't take more, or is further behind than the others."""
        channel = subscriber.channel
        if subscriber.client not in self._subscribers:
            return
        if subscriber.ready and subscriber.behind:
            if subscriber.next < channel.begin:  # no time for all of them
                self._lose(subscriber)
                if not subscriber.ready:
                    return
            begin = subscriber.next
            end = subscriber.next = min(channel.end, begin + _FRAMES_IN_A_WRITE)
            subscriber.write(channel.frames(begin, end))
        if subscriber.ready:
            channel.idle.append(subscriber)
        else:
            channel.slow.add(subscriber)

    def _end_round(self) -> None:
        now_ns = self._pace.now_ns()
        self._not_before_ns = now_ns + (now_ns - self._began_ns) // _REST
        self._is_under_way = False
        for channel in self._channels.values():
            if channel.idle and any(each.next < channel.end for each in channel.idle):
                self._fresh[channel] = None
        if self._fresh:
            self._arrange()


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
