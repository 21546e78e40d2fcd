"""The relay: takes ticks from WebSocket clients and produces each to Kafka, never dropping one.

When the producer's queue is full the relay stops reading from its sockets, keeps what it has
already been handed, and goes on in order when there is room; it counts how often and how long.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import uvloop

from latbench.batch.ticks import WAITING, RelayBatch
from latbench.client_statistics import producer_row
from latbench.clock import monotonic_ns
from latbench.control import Done, Ready, Said
from latbench.errors import LatbenchError, reason
from latbench.plan import RelayPlan, StagePlan
from latbench.recording import ACKS, PRODUCER_STATISTICS, RELAY, AckCounter, RelayCounter
from latbench.ring import RingWriter
from latbench.stages import own_cost
from latbench.stages.kafka import (
    NO_SEQ,
    BatchProducing,
    Delivery,
    Producing,
    QueueFullError,
    RefusedError,
    open_batch_producer,
    open_producer,
)
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import Broadcast, Server, serve, set_nodelay
from latbench.tick import SentTick, Stamps, decode_sent, splice_relayed
from latbench.tickmatrix import StampReader, read_symbol_at_front, sent_end

_RETRY_S: Final = 0.001
_ERRORS_SHOWN: Final = 3
_MIN_QUEUE_MESSAGES: Final = 1_000_000


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Listen, relay until told to stop, deliver what is left."""
    assert isinstance(plan, RelayPlan)
    uvloop.run(_relay(plan, supervisor, rings))


async def _relay(plan: RelayPlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    push_statistics = rings[PRODUCER_STATISTICS].push

    def on_statistics(document: str) -> None:  # once a second
        push_statistics(*producer_row(document, monotonic_ns()))

    listener = _listen(plan.host, plan.port)
    own_cost_ns = _own_cost_ns(plan, supervisor)
    queue_messages = _queue_messages(plan)
    batch = _open_batch(plan) if queue_messages <= WAITING // 2 else None
    acks = Acknowledgements(rings[ACKS], supervisor, queue_messages=queue_messages, batch=batch)
    to_topic = plan.producer, plan.topic, plan.partitions, acks.on_delivery, on_statistics
    if batch is None:
        producer = open_producer(plan.kafka_client, *to_topic)
        forwarder = Forwarder(plan.run_id, producer, rings[RELAY], acks, supervisor)
    else:
        bulk = open_batch_producer(*to_topic, batch, acks.on_answers)
        producer = bulk
        forwarder = Forwarder(plan.run_id, bulk, rings[RELAY], acks, supervisor, batch, bulk)
    counters = rings[RELAY].counters
    server = await serve(plan.ws_engine, listener, forwarder, batch, plan.server, counters)
    forwarder.attach(server)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    supervisor.on_stop(lambda: loop.call_soon_threadsafe(stopping.set))
    if plan.spin:

        def look_again() -> None:  # with something to do the loop never sleeps in epoll_wait
            loop.call_soon(look_again)

        look_again()
    supervisor.send(Ready(port=server.port, own_cost_ns=own_cost_ns))
    await stopping.wait()
    await server.close()
    await producer.close()
    supervisor.send(Done())


def _open_batch(plan: RelayPlan) -> RelayBatch | None:
    """What handles many ticks at once, where all that they pass through can do so."""
    if not (plan.run_id and plan.compiled):
        return None
    if plan.kafka_client != "librdkafka" or plan.ws_engine != "picows":
        return None
    return RelayBatch(plan.run_id, plan.partitions or 0)


def _queue_messages(plan: RelayPlan) -> int:
    """How many messages the producer may hold, and so be waiting for answers of."""
    return max(int(plan.producer.get("queue.buffering.max.messages", 0)), _MIN_QUEUE_MESSAGES)


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


class Acknowledgements:
    """The broker's answers."""

    def __init__(
        self,
        ring: RingWriter,
        supervisor: Supervisor,
        *,
        queue_messages: int,
        batch: RelayBatch | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._ring = ring
        self._counters = ring.counters
        self._errors_shown = 0
        self._batch = batch
        # of each tick that waits for its answer, at its seq modulo a power of two
        places = WAITING if batch else 1 << (queue_messages - 1).bit_length() + 1
        self._mask = places - 1
        waiting = batch.waiting if batch else memoryview(bytearray(8 * places)).cast("q")
        self.relay_out_ns = waiting

    def expect(self, seq: int, relay_out_ns: int) -> None:  # hot path
        """A tick is about to be handed over."""
        self.relay_out_ns[seq & self._mask] = relay_out_ns

    def on_answers(self, count: int) -> int:  # hot path
        """Record the answers that are the batch's messages now; how many, from the first on."""
        assert self._batch is not None
        done = self._batch.answer(count, monotonic_ns())
        self._ring.push_packed(self._batch.rows, done)
        return done

    def on_delivery(self, answers: Delivery) -> None:
        """Record the answers to some messages."""
        acked_ns = monotonic_ns()
        errors = answers.errors or itertools.repeat(None)
        for seq, error, partition, offset in zip(
            answers.seqs, errors, answers.partitions, answers.offsets, strict=False
        ):
            if seq == NO_SEQ:
                continue
            if error is not None:
                self._give_up(seq, error)
            elif offset < 0:
                self._counters[AckCounter.UNANSWERED] += 1
            else:
                relay_out_ns = self.relay_out_ns[seq & self._mask]
                self._ring.push(seq, relay_out_ns, acked_ns, partition, offset)

    def _give_up(self, seq: int, error: str) -> None:
        self._counters[AckCounter.DELIVERY_ERRORS] += 1
        if self._errors_shown < _ERRORS_SHOWN:
            self._errors_shown += 1
            sys.stderr.write(f"tick {seq} was not delivered: {error}\n")
            self._supervisor.send(Said(f"tick {seq} was not delivered: {error}"))


class Forwarder:
    """From WebSocket messages to the producer's queue.

    `batch`, `bulk`: what reads messages and takes them where they come as the batch's texts.
    """

    def __init__(
        self,
        run_id: str,
        producer: Producing,
        ring: RingWriter,
        acks: Acknowledgements,
        supervisor: Supervisor,
        batch: RelayBatch | None = None,
        bulk: BatchProducing | None = None,
    ) -> None:
        self._run_id = run_id
        self._stamps = StampReader(sent_end(run_id)) if run_id else None
        self._taken = 0
        """Ticks of any run, where there is none of its own: their `seq` may be the same."""
        self._producer = producer
        self._batch = batch
        self._bulk = bulk
        self._ring = ring
        self._counters = ring.counters
        self._acks = acks
        self._supervisor = supervisor
        self._server: Server | None = None
        self._subscribers: Broadcast | None = None
        self._waiting: deque[tuple[bytes, SentTick, int]] = deque()
        self._waiting_since_ns = 0
        self._refusals_shown = 0

    def attach(self, server: Server) -> None:
        """The server whose reading is stopped under back-pressure, and its subscribers."""
        self._server = server
        self._subscribers = server.fanout

    def on_message(  # hot path
        self, relay_in_ns: int, message: bytes, *, alone: bool = True
    ) -> None:
        """Take one; `alone`: nothing else was in the socket."""
        try:
            tick = decode_sent(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            known = self._read_ends(message)
            if known is None:
                self._counters[RelayCounter.MALFORMED] += 1
                return
            tick = known
        if self._waiting or not self._forward(message, tick, relay_in_ns, alone=alone):
            self._wait_with(message, tick, relay_in_ns)

    def on_messages(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:
        """Take what a socket had, all of it arrived at `relay_in_ns`."""
        for message in messages:
            self.on_message(relay_in_ns, message, alone=False)

    def on_texts(self, relay_in_ns: int, count: int) -> None:  # hot path
        """The same of so many that are the batch's texts now."""
        batch, bulk = self._batch, self._bulk
        assert batch is not None
        assert bulk is not None
        first = 0
        while first < count and not self._waiting:
            done = batch.relay(first, count, relay_in_ns, monotonic_ns())
            if done:
                taken, refused = bulk.produce_batch(done)
                self._ring.push_packed(batch.rows, taken)
                if self._subscribers:
                    for i in range(taken):
                        self._subscribers.publish(batch.value(i), batch.key(i))
                for i, why in refused:
                    self._refuse(batch.seq_of(i), batch.value_bytes(i), why)
                first += taken
                if taken == done:
                    continue
            # one that is no such tick, or finds the queue full
            self.on_messages(relay_in_ns, batch.texts(first, first + 1))
            first += 1
        if first < count:
            self.on_messages(relay_in_ns, batch.texts(first, count))

    def _read_ends(self, message: bytes) -> SentTick | None:
        """A tick of this run whose document is no JSON: known by where it has its stamps."""
        if self._stamps is None:
            return None
        symbol, stamps = read_symbol_at_front(message), self._stamps.read_one(message)
        if symbol is None or stamps is None:
            return None
        return SentTick(Stamps(self._run_id, *stamps), symbol)

    def _forward(  # hot path
        self, message: bytes, tick: SentTick, relay_in_ns: int, *, alone: bool = False
    ) -> bool:
        """Produce one tick; False when the producer's queue is full."""
        stamps = tick.latbench
        seq = stamps.seq
        relay_out_ns = monotonic_ns()
        ours = stamps.run == self._run_id
        if not self._run_id:
            ours, seq = True, self._taken
            self._taken += 1
        if ours:
            self._acks.expect(seq, relay_out_ns)
        value = splice_relayed(message, stamps.sent_ns, relay_in_ns, relay_out_ns)
        try:
            self._producer.produce(value, tick.symbol or tick.product_id, seq if ours else NO_SEQ)
        except QueueFullError:
            return False
        except RefusedError as error:
            if ours:
                self._refuse(seq, len(value), str(error))
        if alone:
            # librdkafka's thread may wait for this CPU: T3's p50 was 30 µs more without that
            os.sched_yield()
        if ours:  # another client's tick is relayed as well, but is no tick of this run
            self._ring.push(seq, relay_in_ns, relay_out_ns)
        if self._subscribers:
            self._subscribers.publish(value, tick.symbol or tick.product_id)
        return True

    def _refuse(self, seq: int, size_bytes: int, why: str) -> None:
        """The producer won't ever take this one (larger than `message.max.bytes`, for one)."""
        self._counters[RelayCounter.REFUSED] += 1
        if self._refusals_shown < _ERRORS_SHOWN:
            self._refusals_shown += 1
            sys.stderr.write(f"tick {seq} ({size_bytes} bytes) was refused: {why}\n")
            self._supervisor.send(Said(f"the producer refused tick {seq}: {why}"))

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
    """What the relay does with a tick but hand it to a producer and a socket, in ns.

    With one tick that comes by itself; of many together it is less. Handing the CPU over after it
    is no work, so it is measured as one of several.
    """
    plan = msgspec.structs.replace(plan, run_id=plan.run_id or own_cost.RUN_ID)
    batch = _open_batch(plan)
    queue_messages = 1024
    acks = Acknowledgements(
        own_cost.scratch_ring(ACKS), supervisor, queue_messages=queue_messages, batch=batch
    )
    message = own_cost.sent_message(plan.run_id)
    if batch is not None:  # the message of the answer
        frame = own_cost.framed(message)
        batch.frames[: len(frame)] = frame
        now_ns = monotonic_ns()
        batch.relay(0, batch.take_frames(0, len(frame), 1), now_ns, now_ns)

    def answer_by_batch(_: Delivery) -> None:
        acks.on_answers(1)

    producer = own_cost.NullProducer(acks.on_delivery if batch is None else answer_by_batch)
    forwarder = Forwarder(plan.run_id, producer, own_cost.scratch_ring(RELAY), acks, supervisor)
    return own_cost.time_per_call(lambda: forwarder.on_messages(monotonic_ns(), [message]))
