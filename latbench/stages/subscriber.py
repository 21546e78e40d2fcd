"""Subscribers of a relay, any number of them in one process: each tick, as each of them gets it.

No event loop, and no library between a socket and a row: 100 subscribers of 1,000 ticks/s are
100,000 messages a second, and what measures must not need the CPU that the relay is measured on.
Sockets that have something are read one after the other into one memory, each with its moment, and
what they brought is then recorded by compiled code. Whatever is no whole frame with a tick of this
run in it goes to `websockets`' protocol without I/O.
"""

from __future__ import annotations

import os
import select
import ssl
from typing import Final

import msgspec
from websockets.frames import Opcode
from websockets.protocol import State

from latbench.batch.ticks import MOST, SEGMENT, SubscriberBatch
from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.control import Done, Ready, Said
from latbench.errors import LatbenchError, reason
from latbench.plan import StagePlan, SubscriberPlan
from latbench.recording import SUBSCRIBER, SubscriberCounter
from latbench.ring import RingWriter
from latbench.stages.descriptors import allow_descriptors
from latbench.stages.frames import whole_frames
from latbench.stages.plain_client import PlainClient
from latbench.stages.supervised import Supervisor
from latbench.tick import decode_relayed

_POLL_S: Final = 0.1
_READ_BYTES: Final = 1 << 15
_ENDS_SHOWN: Final = 3
_QUIET_S: Final = 0.05
_LAST_NS: Final = 500 * NS_PER_MS
"""After a stop: until nothing has come for the first, but no longer than the second."""

_MEMORY_BYTES: Final = 1 << 18
"""Where there is no compiled code to share its own."""


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Connect all, record what comes until told to stop, close all."""
    assert isinstance(plan, SubscriberPlan)
    allow_descriptors(plan.clients)
    # what measures does not take the CPU away from who writes (sched(7)): p99 was a quarter higher
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    subscribers = Subscribers(plan, supervisor, rings[SUBSCRIBER])
    try:
        if subscribers.connect():
            supervisor.send(Ready())
            subscribers.receive_until_stopped()
    finally:
        subscribers.close()
    supervisor.send(Done())


class Subscribers:
    """All of them."""

    def __init__(self, plan: SubscriberPlan, supervisor: Supervisor, ring: RingWriter) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._stopping = supervisor.stopping
        self._counters = ring.counters
        self._ring = ring
        self._recorder = Recorder(plan.run_id, ring)
        self._batch: SubscriberBatch | None = None
        self._memory = memoryview(bytearray(_MEMORY_BYTES))
        self._segments = memoryview(bytearray(MOST * SEGMENT.size))
        if plan.compiled and plan.run_id:
            self._use_batch(plan.run_id)
        self._clients: dict[int, Subscription] = {}
        self._poller = select.epoll()
        self._read: list[Subscription] = []
        self._read_bytes = 0
        self._ends_shown = 0

    def _use_batch(self, run_id: str) -> None:
        batch = self._batch = SubscriberBatch(run_id)
        self._memory, self._segments = batch.frames, batch.segments

    def connect(self) -> bool:
        """Open all connections, one after the other; False when told to stop meanwhile."""
        plan = self._plan
        for number in range(plan.clients):
            if self._stopping.is_set():
                return False
            try:
                client = PlainClient.connect(plan.url, plan.connection)
            except OSError as error:
                raise LatbenchError(
                    f"{number:,} of {plan.clients:,} subscribers could connect to {plan.url}: "
                    f"{reason(error)}",
                    "latbench relay serves them; its --max-clients says how many",
                ) from None
            subscription = Subscription(number, client)
            descriptor = client.sock.fileno()
            self._clients[descriptor] = subscription
            self._poller.register(descriptor, select.EPOLLIN)
            self._counters[SubscriberCounter.CONNECTED] += 1
        return True

    def receive_until_stopped(self) -> None:
        """Record what comes, until told to stop or until no connection is left."""
        poll, clients, stopping = self._poller.poll, self._clients, self._stopping
        wait_s = 0.0 if self._plan.spin else _POLL_S
        pending: list[int] = []
        ends_ns = 0
        while True:  # hot path
            if stopping.is_set():
                # what is on its way is taken, too, as long as it does not go on and on
                ends_ns = ends_ns or monotonic_ns() + _LAST_NS
                wait_s = _QUIET_S
            ready = [descriptor for descriptor, _ in poll(0.0 if pending else wait_s)]
            for descriptor in {*ready, *pending} if pending else ready:
                self._take_from(clients[descriptor])
            if self._read:
                self._record()
            if ends_ns and (not ready or monotonic_ns() > ends_ns):
                return
            pending = [each for each in ready if each in clients and clients[each].has_more]
            if not clients:
                stopping.wait()
                return

    def _take_from(self, client: Subscription) -> None:  # hot path
        """Read once, into the memory that all share."""
        memory, begin = self._memory, self._read_bytes
        if begin + len(client.rest) + _READ_BYTES > len(memory) or len(self._read) >= MOST:
            self._record()
            begin = 0
        end = begin
        if client.rest:
            end += len(client.rest)
            if end + _READ_BYTES > len(memory):  # one message of more than a quarter of a megabyte
                self._take_large(client)
                return
            memory[begin:end] = client.rest
        count = self._receive(client, memory[end : end + _READ_BYTES])
        received_ns = monotonic_ns()
        if not count:
            return
        client.rest = b""
        end += count
        SEGMENT.pack_into(
            self._segments, len(self._read) * SEGMENT.size, begin, end, client.number, received_ns
        )
        self._read.append(client)
        self._read_bytes = end

    def _receive(self, client: Subscription, room: memoryview) -> int:  # hot path
        """Read once; how many bytes came. 0: none are there, or the connection has ended."""
        try:
            count = client.sock.recv_into(room)
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0
        except OSError:
            count = 0
        if not count:
            self._end(client)
        return count

    def _take_large(self, client: Subscription) -> None:
        data = bytearray(_READ_BYTES)
        count = self._receive(client, memoryview(data))
        if not count:
            return
        rest, client.rest = client.rest, b""
        self._take_plainly(client, rest + data[:count], monotonic_ns())

    def _record(self) -> None:  # hot path
        """Record all that was read."""
        read, count = self._read, len(self._read)
        batch, memory = self._batch, self._memory
        self._read, self._read_bytes = [], 0
        is_left = True
        if batch is not None:
            while rows := batch.receive(count):
                self._ring.push_packed(batch.rows, rows)
            is_left = batch.left > 0
        if is_left:
            for i, client in enumerate(read):
                begin, end, _, received_ns = SEGMENT.unpack_from(self._segments, i * SEGMENT.size)
                if begin < end:
                    self._take_plainly(client, memory[begin:end].tobytes(), received_ns)
        if batch is None and self._plan.compiled and self._recorder.run_id:
            # not before all of `read` is taken: the memory is another from here on
            self._use_batch(self._recorder.run_id)

    def _take_plainly(self, client: Subscription, data: bytes, received_ns: int) -> None:
        """Take what begins where a frame does."""
        whole = whole_frames(data)
        client.rest = data[whole:]
        if not whole:
            return
        for message in client.messages(data[:whole]):
            self._recorder.take(client.number, message, received_ns)
        if client.client.protocol.state is not State.OPEN:
            self._end(client)

    def _end(self, client: Subscription) -> None:
        """The relay has closed the connection."""
        descriptor = client.sock.fileno()
        if self._clients.pop(descriptor, None) is None:
            return
        self._poller.unregister(descriptor)
        why = client.client.end()
        self._counters[SubscriberCounter.ENDED] += 1
        if self._ends_shown < _ENDS_SHOWN:
            self._ends_shown += 1
            self._supervisor.send(Said(f"the relay sent subscriber {client.number} away: {why}"))

    def close(self) -> None:
        """Close all with code 1000."""
        for subscription in self._clients.values():
            subscription.client.say_goodbye()
        for subscription in self._clients.values():
            subscription.client.end()
        self._poller.close()


class Subscription:
    """One subscriber."""

    __slots__ = ("_fragments", "client", "number", "rest", "sock")

    def __init__(self, number: int, client: PlainClient) -> None:
        self.number = number
        self.client = client
        self.sock = client.sock
        self.rest = b""
        """What was read of a frame that is not whole yet."""
        self._fragments: list[bytes] = []

    @property
    def has_more(self) -> bool:
        """Whether something was received that the socket does not show: TLS opens whole records."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def messages(self, frames: bytes) -> list[bytes]:
        """The messages that end in some whole frames; what they ask for is answered."""
        found = []
        for frame in self.client.take(frames):
            if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
                continue
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                found.append(b"".join(self._fragments))
                self._fragments = []
        return found


class Recorder:
    """Tells ticks of this run from everything else and records each, for each subscriber.

    `run_id` "": ticks of the first run that comes.
    """

    def __init__(self, run_id: str, ring: RingWriter) -> None:
        self.run_id = run_id
        self._push = ring.push
        self._counters = ring.counters

    def take(self, number: int, message: bytes, received_ns: int) -> None:
        """Record a message that a subscriber got."""
        try:
            stamps = decode_relayed(message).latbench
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._counters[SubscriberCounter.UNKNOWN] += 1
            return
        if not self.run_id:
            self.run_id = stamps.run
        if stamps.run != self.run_id or stamps.relay_in_ns < 0:
            self._counters[SubscriberCounter.UNKNOWN] += 1
            return
        self._push(stamps.seq, number, stamps.due_ns, stamps.relay_in_ns, received_ns)
