"""The relay: takes ticks from WebSocket clients and produces each to Kafka, never dropping one.

When the producer's queue is full the relay stops reading from its sockets, keeps what it has
already been handed, and goes on in order when there is room; it counts how often and how long.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import uvloop

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
    Delivery,
    Producing,
    QueueFullError,
    RefusedError,
    open_producer,
)
from latbench.stages.supervised import Supervisor
from latbench.stages.websocket import Server, serve, set_nodelay
from latbench.tick import SentTick, Stamps, decode_sent, splice_relayed
from latbench.tickmatrix import Chars, Ints, StampReader, SymbolReader, rows_of, sent_end, splice

_RETRY_S: Final = 0.001
_ERRORS_SHOWN: Final = 3
BULK_FROM: Final = 24
"""So many messages at once are quicker handled as a matrix (120 µs and 0.8 µs each, not 6)."""
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
    acks = Acknowledgements(rings[ACKS], supervisor, queue_messages=_queue_messages(plan))
    producer = open_producer(
        plan.kafka_client,
        plan.producer,
        plan.topic,
        plan.partitions,
        acks.on_delivery,
        on_statistics,
    )
    forwarder = Forwarder(plan.run_id, producer, rings[RELAY], acks, supervisor)
    server = await serve(plan.ws_engine, listener, forwarder.on_messages, forwarder.on_rows)
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

    def __init__(self, ring: RingWriter, supervisor: Supervisor, *, queue_messages: int) -> None:
        self._supervisor = supervisor
        self._ring = ring
        self._counters = ring.counters
        self._errors_shown = 0
        # of each tick that waits for its answer, at its seq modulo a power of two
        self._mask = (1 << (queue_messages - 1).bit_length() + 1) - 1
        self.relay_out_ns = np.zeros(self._mask + 1, dtype=np.int64)

    def expect(self, seq: int, relay_out_ns: int) -> None:  # hot path
        """A tick is about to be handed over."""
        self.relay_out_ns[seq & self._mask] = relay_out_ns

    def expect_many(self, seqs: Ints, relay_out_ns: int) -> None:  # hot path
        """Some ticks are."""
        self.relay_out_ns[seqs & self._mask] = relay_out_ns

    def on_delivery(self, answers: Delivery) -> None:  # hot path
        """Record the answers to some messages."""
        acked_ns = monotonic_ns()
        if isinstance(answers.seqs, list):
            for i, seq in enumerate(answers.seqs):
                error = answers.errors[i] if answers.errors else None
                offset = int(answers.offsets[i])
                self._record(seq, error, int(answers.partitions[i]), offset, acked_ns)
            return
        seqs = answers.seqs
        partitions, offsets = np.asarray(answers.partitions), np.asarray(answers.offsets)
        if answers.errors or int(seqs.min()) < 0 or int(offsets.min()) < 0:
            wanted = self._set_aside(seqs, answers.errors, offsets)
            seqs, partitions, offsets = seqs[wanted], partitions[wanted], offsets[wanted]
        rows = np.empty((len(seqs), 5), dtype=np.int64)
        rows[:, 0] = seqs
        rows[:, 1] = self.relay_out_ns[seqs & self._mask]
        rows[:, 2] = acked_ns
        rows[:, 3] = partitions
        rows[:, 4] = offsets
        self._ring.push_rows(rows)

    def _record(  # hot path
        self, seq: int, error: str | None, partition: int, offset: int, acked_ns: int
    ) -> None:
        if seq == NO_SEQ:
            return
        if error is not None:
            self._give_up(seq, error)
        elif offset < 0:
            self._counters[AckCounter.UNANSWERED] += 1
        else:
            relay_out_ns = int(self.relay_out_ns[seq & self._mask])
            self._ring.push(seq, relay_out_ns, acked_ns, partition, offset)

    def _set_aside(
        self, seqs: Ints, errors: Sequence[str | None], offsets: Ints
    ) -> npt.NDArray[np.bool_]:
        """Which answers are to be recorded; the others are counted here."""
        ours = seqs != NO_SEQ
        delivered = np.ones(len(ours), dtype=bool)
        for i, error in enumerate(errors):
            if error is not None:
                delivered[i] = False
                if ours[i]:
                    self._give_up(int(seqs[i]), error)
        answered = offsets >= 0
        wanted: npt.NDArray[np.bool_] = ours & delivered
        self._counters[AckCounter.UNANSWERED] += int(np.count_nonzero(wanted & ~answered))
        wanted &= answered
        return wanted

    def _give_up(self, seq: int, error: str) -> None:
        self._counters[AckCounter.DELIVERY_ERRORS] += 1
        if self._errors_shown < _ERRORS_SHOWN:
            self._errors_shown += 1
            sys.stderr.write(f"tick {seq} was not delivered: {error}\n")
            self._supervisor.send(Said(f"tick {seq} was not delivered: {error}"))


class Forwarder:
    """From WebSocket messages to the producer's queue."""

    def __init__(
        self,
        run_id: str,
        producer: Producing,
        ring: RingWriter,
        acks: Acknowledgements,
        supervisor: Supervisor,
    ) -> None:
        self._run_id = run_id
        self._stamps = StampReader(sent_end(run_id))
        self._symbols = SymbolReader()
        self._producer = producer
        self._ring = ring
        self._counters = ring.counters
        self._acks = acks
        self._supervisor = supervisor
        self._server: Server | None = None
        self._waiting: deque[tuple[bytes, SentTick, int]] = deque()
        self._waiting_since_ns = 0
        self._refusals_shown = 0

    def attach(self, server: Server) -> None:
        """The server whose reading is stopped under back-pressure."""
        self._server = server

    def on_messages(self, relay_in_ns: int, messages: list[bytes]) -> None:  # hot path
        """Take what a socket had, all of it arrived at `relay_in_ns`."""
        if len(messages) >= BULK_FROM:
            rows = rows_of(messages)
            if rows is not None:
                self.on_rows(relay_in_ns, rows)
                return
        self._forward_each(relay_in_ns, messages)

    def on_rows(self, relay_in_ns: int, rows: Chars) -> None:  # hot path
        """The same of messages of one length, n × length."""
        taken = 0 if self._waiting else self._forward_rows(rows, relay_in_ns)
        if taken < len(rows):
            self._forward_each(relay_in_ns, [row.tobytes() for row in rows[taken:]])

    def _forward_each(self, relay_in_ns: int, messages: Sequence[bytes]) -> None:  # hot path
        for message in messages:
            try:
                tick = decode_sent(message)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                known = self._read_ends(message)
                if known is None:
                    self._counters[RelayCounter.MALFORMED] += 1
                    continue
                tick = known
            if self._waiting or not self._forward(message, tick, relay_in_ns):
                self._wait_with(message, tick, relay_in_ns)

    def _read_ends(self, message: bytes) -> SentTick | None:
        """A tick of this run whose document is no JSON: known by where it has its stamps."""
        symbol, stamps = SymbolReader.read_one(message), self._stamps.read_one(message)
        if symbol is None or stamps is None:
            return None
        return SentTick(Stamps(self._run_id, *stamps), symbol)

    def _forward(self, message: bytes, tick: SentTick, relay_in_ns: int) -> bool:  # hot path
        """Produce one tick; False when the producer's queue is full."""
        stamps = tick.latbench
        seq = stamps.seq
        relay_out_ns = monotonic_ns()
        ours = stamps.run == self._run_id
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
        if ours:  # another client's tick is relayed as well, but is no tick of this run
            self._ring.push(seq, relay_in_ns, relay_out_ns)
        # a broadcast to subscribers goes here: after the producer has the tick
        return True

    def _forward_rows(self, rows: Chars, relay_in_ns: int) -> int:  # hot path
        """Produce ticks of this run all at once; how many, from the first on, are done with."""
        stamps = self._stamps.read(rows)
        keys = None if stamps is None else self._symbols.read(rows)
        if stamps is None or keys is None:
            return 0
        seqs, sent_ns = stamps[:, 0], stamps[:, 2]
        relay_out_ns = monotonic_ns()
        values = splice(rows, sent_ns, relay_in_ns, relay_out_ns)
        if values is None:
            return 0
        self._acks.expect_many(seqs, relay_out_ns)
        taken, refused = self._producer.produce_rows(values, keys, seqs)
        for i, why in refused:
            self._refuse(int(seqs[i]), values.shape[1], why)
        recorded = np.empty((taken, 3), dtype=np.int64)
        recorded[:, 0] = seqs[:taken]
        recorded[:, 1] = relay_in_ns
        recorded[:, 2] = relay_out_ns
        self._ring.push_rows(recorded)
        return taken

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
    """What the relay does with a tick but hand it to a producer and a socket, in ns."""
    acks = Acknowledgements(own_cost.scratch_ring(ACKS), supervisor, queue_messages=1024)
    producer = own_cost.NullProducer(acks.on_delivery)
    ring = own_cost.scratch_ring(RELAY)
    forwarder = Forwarder(plan.run_id, producer, ring, acks, supervisor)
    message = own_cost.sent_message(plan.run_id)
    return own_cost.time_per_call(lambda: forwarder.on_messages(monotonic_ns(), [message]))
