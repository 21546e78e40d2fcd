"""The consumer: takes ticks off the topic and records each once.

Duplicates, reordering and messages that are no tick of this run are counted, never fatal.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from latbench.client_statistics import consumer_row
from latbench.clock import monotonic_ns
from latbench.control import Done, Ready, Said
from latbench.errors import LatbenchError
from latbench.plan import ConsumerPlan, StagePlan
from latbench.recording import CONSUMER, CONSUMER_STATISTICS, ConsumerCounter
from latbench.ring import RingWriter
from latbench.stages import own_cost
from latbench.stages.supervised import Supervisor
from latbench.tick import decode_relayed

_POLL_S: Final = 0.1
_BATCH: Final = 1000
_SEEN_TICKS: Final = 1 << 22
"""A tick that comes again is known as a duplicate for the next four million ticks: one byte for
each of them, holding which of 255 rounds of the array it was last seen in."""


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Stand at the partitions' ends, consume until told to stop."""
    assert isinstance(plan, ConsumerPlan)
    push_statistics = rings[CONSUMER_STATISTICS].push

    def on_statistics(document: str) -> None:  # once a second, within a poll
        push_statistics(*consumer_row(document, monotonic_ns()))

    own_cost_ns = _own_cost_ns(plan.run_id, supervisor)
    consumer = Consumer({**plan.consumer, "stats_cb": on_statistics})
    recorder = Recorder(plan.run_id, rings[CONSUMER], supervisor)
    consumer.assign(_ends(consumer, plan.topic, plan.partitions))
    supervisor.send(Ready(own_cost_ns=own_cost_ns))
    poll, consume, stopping = consumer.poll, consumer.consume, supervisor.stopping
    take = recorder.take
    while not stopping.is_set():  # hot path
        # `consume(n, timeout)` would wait for n: poll for the first, then take what else is there
        first = poll(_POLL_S)
        if first is None:
            continue
        take(first, monotonic_ns())
        while rest := consume(_BATCH, 0):
            # a batch is here as a whole when `consume` returns: one moment for all of it
            consumed_ns = monotonic_ns()
            for message in rest:
                take(message, consumed_ns)
    consumer.close()
    supervisor.send(Done())


def _own_cost_ns(run_id: str, supervisor: Supervisor) -> int:
    """What the consumer does with a tick once it has it, in ns."""
    recorder = Recorder(run_id, own_cost.scratch_ring(CONSUMER), supervisor)
    messages = own_cost.relayed_messages(run_id)

    def take() -> None:
        recorder.take(next(messages), monotonic_ns())  # type: ignore[arg-type]

    return own_cost.time_per_call(take)


def _ends(consumer: Consumer, topic: str, partitions: int) -> list[TopicPartition]:
    """Each partition at the offset after its last message, as it stands now."""
    ends = []
    for number in range(partitions):
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)
        except KafkaException as error:
            raise LatbenchError(
                f"the end of partition {number} of {topic} can't be read: {error.args[0].str()}",
                "the partition has no leader, or this user may not read it",
            ) from None
        ends.append(TopicPartition(topic, number, end))
    return ends


class Recorder:
    """Tells ticks of this run from everything else and records each once."""

    def __init__(self, run_id: str, ring: RingWriter, supervisor: Supervisor) -> None:
        self._run_id = run_id
        self._push = ring.push
        self._counters = ring.counters
        self._supervisor = supervisor
        self._seen = bytearray(_SEEN_TICKS)
        self._last_of_key: dict[bytes | str, int] = {}
        self._errors_shown = 0

    def take(self, message: Message, consumed_ns: int) -> None:  # hot path
        """Record one message of the topic."""
        value = message.value()
        if message.error() is not None or value is None:
            self._set_aside(message)
            return
        try:
            stamps = decode_relayed(value).latbench
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._counters[ConsumerCounter.UNKNOWN] += 1
            return
        seq = stamps.seq
        if stamps.run != self._run_id or stamps.relay_out_ns < 0:
            self._counters[ConsumerCounter.UNKNOWN] += 1
            return
        place, turn = seq % _SEEN_TICKS, seq // _SEEN_TICKS % 255 + 1
        if self._seen[place] == turn:
            self._counters[ConsumerCounter.DUPLICATES] += 1
            return
        self._seen[place] = turn
        key = message.key()
        if key is not None:  # without one, ticks are spread over the partitions, in no order
            if seq < self._last_of_key.get(key, -1):
                self._counters[ConsumerCounter.REORDERED] += 1
            else:
                self._last_of_key[key] = seq
        self._push(
            seq,
            stamps.due_ns,
            stamps.sent_ns,
            stamps.relay_in_ns,
            stamps.relay_out_ns,
            consumed_ns,
            message.partition(),
            message.offset(),
        )

    def _set_aside(self, message: Message) -> None:
        """An error event of the client, or a record without a value (a tombstone)."""
        error = message.error()
        if error is None:
            self._counters[ConsumerCounter.UNKNOWN] += 1
            return
        self._counters[ConsumerCounter.ERRORS] += 1
        sys.stderr.write(f"{error}\n")
        if self._errors_shown < 3:
            self._errors_shown += 1
            self._supervisor.send(Said(f"the consumer reports: {error.str()}"))
