"""The consumer: takes ticks off the topic and records each once.

Duplicates, reordering and messages that are no tick of this run are counted, never fatal.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from latbench.client_statistics import consumer_row
from latbench.clock import monotonic_ns
from latbench.control import Done, Ready, Said
from latbench.plan import ConsumerPlan, StagePlan
from latbench.recording import COLUMNS, CONSUMER, CONSUMER_STATISTICS, ConsumerCounter
from latbench.ring import RingWriter
from latbench.stages import own_cost
from latbench.stages.kafka import Arrived, open_consumer
from latbench.stages.supervised import Supervisor
from latbench.tick import Stamps, decode_relayed
from latbench.tickmatrix import Ints, StampReader, relayed_end

_POLL_S: Final = 0.1
_ERRORS_SHOWN: Final = 3
BULK_FROM: Final = 24
"""So many messages at once are quicker handled as a matrix (120 µs and 0.6 µs each, not 4)."""
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
    consumer = open_consumer(plan.kafka_client, plan.consumer, on_statistics)
    recorder = Recorder(plan.run_id, rings[CONSUMER], supervisor)
    consumer.assign(plan.topic, consumer.ends(plan.topic, plan.partitions))
    supervisor.send(Ready(own_cost_ns=own_cost_ns))
    wait, more, stopping = consumer.wait, consumer.more, supervisor.stopping
    take = recorder.take
    while not stopping.is_set():  # hot path
        batch = wait(0.0 if plan.spin else _POLL_S)
        while batch is not None:
            # a batch is here as a whole when the client hands it over: one moment for all of it
            take(batch, monotonic_ns())
            batch = more()
    consumer.close()
    supervisor.send(Done())


def _own_cost_ns(run_id: str, supervisor: Supervisor) -> int:
    """What the consumer does with a tick once it has it, in ns."""
    recorder = Recorder(run_id, own_cost.scratch_ring(CONSUMER), supervisor)
    batches = own_cost.relayed_messages(run_id)
    return own_cost.time_per_call(lambda: recorder.take(next(batches), monotonic_ns()))


class Recorder:
    """Tells ticks of this run from everything else and records each once."""

    def __init__(self, run_id: str, ring: RingWriter, supervisor: Supervisor) -> None:
        self._run_id = run_id
        self._ring = ring
        self._counters = ring.counters
        self._supervisor = supervisor
        self._seen = np.zeros(_SEEN_TICKS, dtype=np.uint8)
        self._reader = StampReader(relayed_end(run_id))
        self._last_of_partition: dict[int, int] = {}
        self._errors_shown = 0

    def take(self, batch: Arrived, consumed_ns: int) -> None:  # hot path
        """Record some messages of the topic that came together."""
        for error in batch.errors:
            self._set_aside(error)
        if len(batch) >= BULK_FROM and self._take_many(batch, consumed_ns):
            return
        for value, partition, offset in zip(
            batch.values(), batch.partitions, batch.offsets, strict=True
        ):
            if value is None:
                self._counters[ConsumerCounter.UNKNOWN] += 1
            else:
                self._take_one(value, int(partition), int(offset), consumed_ns)
        # an error is no message
        self._counters[ConsumerCounter.UNKNOWN] -= len(batch.errors)

    def _take_one(  # hot path
        self, value: bytes, partition: int, offset: int, consumed_ns: int
    ) -> None:
        try:
            stamps = decode_relayed(value).latbench
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            known = self._reader.read_one(value)
            if known is None:
                self._counters[ConsumerCounter.UNKNOWN] += 1
                return
            stamps = Stamps(self._run_id, *known)
        seq = stamps.seq
        if stamps.run != self._run_id or stamps.relay_out_ns < 0:
            self._counters[ConsumerCounter.UNKNOWN] += 1
            return
        place, turn = seq % _SEEN_TICKS, seq // _SEEN_TICKS % 255 + 1
        if self._seen[place] == turn:
            self._counters[ConsumerCounter.DUPLICATES] += 1
            return
        self._seen[place] = turn
        if seq < self._last_of_partition.get(partition, -1):
            self._counters[ConsumerCounter.REORDERED] += 1
        else:
            self._last_of_partition[partition] = seq
        self._ring.push(
            seq,
            stamps.due_ns,
            stamps.sent_ns,
            stamps.relay_in_ns,
            stamps.relay_out_ns,
            consumed_ns,
            partition,
            offset,
        )

    def _take_many(self, batch: Arrived, consumed_ns: int) -> bool:  # hot path
        """`_take_one` of all, if all are new ticks of this run and in order; else nothing."""
        ends = batch.ends(self._reader.chars)
        stamps = None if ends is None else self._reader.read(ends)
        if stamps is None:
            return False
        seqs, partitions = stamps[:, 0], np.asarray(batch.partitions)
        last = self._in_order(seqs, partitions)
        if last is None:
            return False
        if len(last) > 1 and len(np.unique(seqs)) < len(seqs):
            return False
        places, turns = seqs % _SEEN_TICKS, (seqs // _SEEN_TICKS % 255 + 1).astype(np.uint8)
        if (self._seen[places] == turns).any():
            return False
        self._seen[places] = turns
        self._last_of_partition.update(last)
        rows = np.empty((len(seqs), len(COLUMNS[CONSUMER])), dtype=np.int64)
        rows[:, :5] = stamps
        rows[:, 5] = consumed_ns
        rows[:, 6] = partitions
        rows[:, 7] = batch.offsets
        self._ring.push_rows(rows)
        return True

    def _in_order(self, seqs: Ints, partitions: npt.NDArray[np.int64]) -> dict[int, int] | None:
        """The last of each partition; None unless the ticks of each rise, from its last one on."""
        last: dict[int, int] = {}
        for partition in set(partitions.tolist()):
            its = seqs[partitions == partition]
            if its[0] < self._last_of_partition.get(partition, -1) or (its[1:] <= its[:-1]).any():
                return None
            last[partition] = int(its[-1])
        return last

    def _set_aside(self, error: str) -> None:
        """An error that the client reports."""
        self._counters[ConsumerCounter.ERRORS] += 1
        sys.stderr.write(f"{error}\n")
        if self._errors_shown < _ERRORS_SHOWN:
            self._errors_shown += 1
            self._supervisor.send(Said(f"the consumer reports: {error}"))
