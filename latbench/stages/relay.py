"""The relay: takes ticks from WebSocket clients and produces each to Kafka, never dropping one.

When the producer's queue is full the relay stops reading from its sockets, keeps what it has
already been handed, and goes on in order when there is room; it counts how often and how long.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec
import uvloop
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from latbench.client_statistics import producer_row
from latbench.clock import monotonic_ns
from latbench.control import Done, Ready, Said
from latbench.errors import LatbenchError, reason
from latbench.plan import RelayPlan, StagePlan
from latbench.recording import ACKS, PRODUCER_STATISTICS, RELAY, AckCounter, RelayCounter
from latbench.ring import RingWriter
from latbench.stages import own_cost
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import Server, serve, set_nodelay
from latbench.tick import SentTick, decode_sent, splice_relayed

_ACK_POLL_S: Final = 0.1
_RETRY_S: Final = 0.001
_ERRORS_SHOWN: Final = 3
_FLUSH_TIMEOUT_S: Final = 1.0
"""The supervisor has waited for what was on its way before it says stop."""


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Listen, relay until told to stop, deliver what is left."""
    assert isinstance(plan, RelayPlan)
    uvloop.run(_relay(plan, supervisor, rings))


async def _relay(plan: RelayPlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    ring, ack_ring = rings[RELAY], rings[ACKS]
    listener = _listen(plan.host, plan.port)
    push_statistics = rings[PRODUCER_STATISTICS].push

    def on_statistics(document: str) -> None:  # once a second, by the thread that polls
        push_statistics(*producer_row(document, monotonic_ns()))

    own_cost_ns = _own_cost_ns(plan, supervisor)
    producer = Producer({**plan.producer, "stats_cb": on_statistics})
    acks = Acknowledgements(producer, ack_ring, supervisor)
    forwarder = Forwarder(plan, producer, ring, acks.on_delivery, supervisor)
    server = await serve(plan.ws_engine, listener, forwarder.on_message)
    forwarder.attach(server)
    acks.start()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    supervisor.on_stop(lambda: loop.call_soon_threadsafe(stopping.set))
    supervisor.send(Ready(port=server.port, own_cost_ns=own_cost_ns))
    await stopping.wait()
    await server.close()
    # flushing hands answers and statistics over as well: a ring has one writer at a time
    await asyncio.to_thread(acks.stop)
    await asyncio.to_thread(producer.flush, _FLUSH_TIMEOUT_S)
    supervisor.send(Done())


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, or the plain reason why there is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_nodelay(listener)  # inherited by what it accepts
        listener.bind(address)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = f"--ws-port 0 takes a free one, or stop what listens on {port}"
        elif error.errno == errno.EACCES:
            hint = "ports below 1024 need root: --ws-port 0 takes a free one"
        else:
            hint = "--ws-host must be an address of this machine, such as 127.0.0.1"
        raise LatbenchError(
            f"the relay can't listen on {host}:{port}: {reason(error)}", hint
        ) from None
    return listener


OnDelivery = Callable[[int, int, KafkaError | None, Message], None]


class Forwarder:
    """From a WebSocket message to the producer's queue."""

    def __init__(
        self,
        plan: RelayPlan,
        producer: Producer,
        ring: RingWriter,
        on_delivery: OnDelivery,
        supervisor: Supervisor,
    ) -> None:
        self._run_id = plan.run_id
        self._topic = plan.topic
        self._partitions = plan.partitions
        self._produce = producer.produce
        self._push = ring.push
        self._counters = ring.counters
        self._on_delivery = on_delivery
        self._supervisor = supervisor
        self._server: Server | None = None
        self._waiting: deque[tuple[bytes, SentTick, int]] = deque()
        self._waiting_since_ns = 0
        self._refusals_shown = 0

    def attach(self, server: Server) -> None:
        """The server whose reading is stopped under back-pressure."""
        self._server = server

    def on_message(self, message: bytes) -> None:  # hot path
        """Take one message off a socket."""
        relay_in_ns = monotonic_ns()
        try:
            tick = decode_sent(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._counters[RelayCounter.MALFORMED] += 1
            return
        if self._waiting or not self._forward(message, tick, relay_in_ns):
            self._wait_with(message, tick, relay_in_ns)

    def _forward(self, message: bytes, tick: SentTick, relay_in_ns: int) -> bool:  # hot path
        """Produce one tick; False when the producer's queue is full."""
        stamps = tick.latbench
        key = tick.symbol or tick.product_id
        seq = stamps.seq
        relay_out_ns = monotonic_ns()
        ours = stamps.run == self._run_id
        on_delivery = functools.partial(self._on_delivery, seq, relay_out_ns) if ours else None
        value = splice_relayed(message, stamps.sent_ns, relay_in_ns, relay_out_ns)
        try:
            if self._partitions is None:
                self._produce(self._topic, value, key or None, on_delivery=on_delivery)
            else:
                partition = crc32(key.encode()) % self._partitions
                self._produce(self._topic, value, key or None, partition, on_delivery=on_delivery)
        except BufferError:
            return False
        except KafkaException as error:
            if ours:
                self._refuse(seq, len(value), error)
        if ours:  # another client's tick is relayed as well, but is no tick of this run
            self._push(seq, relay_in_ns, relay_out_ns)
        # a broadcast to subscribers goes here: after the producer has the tick
        return True

    def _refuse(self, seq: int, size_bytes: int, error: KafkaException) -> None:
        """The producer won't ever take this one (larger than `message.max.bytes`, for one)."""
        self._counters[RelayCounter.REFUSED] += 1
        if self._refusals_shown < _ERRORS_SHOWN:
            self._refusals_shown += 1
            sys.stderr.write(f"tick {seq} ({size_bytes} bytes) was refused: {error}\n")
            self._supervisor.send(Said(f"the producer refused tick {seq}: {error.args[0].str()}"))

    def _wait_with(self, message: bytes, tick: SentTick, relay_in_ns: int) -> None:
        self._waiting.append((message, tick, relay_in_ns))
        if len(self._waiting) == 1:
            self._waiting_since_ns = monotonic_ns()
            self._counters[RelayCounter.BACKPRESSURE] += 1
            if self._server is not None:
                self._server.pause()
            asyncio.get_running_loop().call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        while self._waiting:
            if not self._forward(*self._waiting[0]):
                asyncio.get_running_loop().call_later(_RETRY_S, self._retry)
                return
            self._waiting.popleft()
        self._counters[RelayCounter.BACKPRESSURE_NS] += monotonic_ns() - self._waiting_since_ns
        if self._server is not None:
            self._server.resume()


def _own_cost_ns(plan: RelayPlan, supervisor: Supervisor) -> int:
    """What the relay does with a tick but hand it to a producer and a socket, in ns."""
    ring, ack_ring = own_cost.scratch_ring(RELAY), own_cost.scratch_ring(ACKS)
    producer = own_cost.NullProducer()
    acks = Acknowledgements(producer, ack_ring, supervisor)  # type: ignore[arg-type]
    forwarder = Forwarder(plan, producer, ring, acks.on_delivery, supervisor)  # type: ignore[arg-type]
    message = own_cost.sent_message(plan.run_id)
    return own_cost.time_per_call(lambda: forwarder.on_message(message))


class Acknowledgements:
    """The broker's answers, taken by a thread of their own so that their moment is true."""

    def __init__(self, producer: Producer, ring: RingWriter, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._poll = producer.poll
        self._push = ring.push
        self._counters = ring.counters
        self._errors_shown = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="acks", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Poll no more."""
        self._stopped.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            self._poll(_ACK_POLL_S)

    def on_delivery(  # hot path
        self, seq: int, relay_out_ns: int, error: KafkaError | None, message: Message
    ) -> None:
        """Record one answer."""
        acked_ns = monotonic_ns()
        if error is not None:
            self._give_up(seq, error)
            return
        offset = message.offset()
        if offset is None:
            self._counters[AckCounter.UNANSWERED] += 1
            return
        self._push(seq, relay_out_ns, acked_ns, message.partition(), offset)

    def _give_up(self, seq: int, error: KafkaError) -> None:
        self._counters[AckCounter.DELIVERY_ERRORS] += 1
        if self._errors_shown < _ERRORS_SHOWN:
            self._errors_shown += 1
            sys.stderr.write(f"tick {seq} was not delivered: {error}\n")
            self._supervisor.send(Said(f"tick {seq} was not delivered: {error.str()}"))
