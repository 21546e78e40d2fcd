"""The consumer: takes ticks off the topic and records each once.

Duplicates, reordering and messages that are no tick of this run are counted, never fatal.
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections import defaultdict
from typing import Final

import msgspec

from latbench.batch.ticks import PARTITIONS, SEEN, ConsumerBatch
from latbench.client_statistics import consumer_row
from latbench.clock import monotonic_ns
from latbench.control import Done, Found, Ready, Said
from latbench.plan import ConsumerPlan, StagePlan
from latbench.recording import CONSUMER, CONSUMER_STATISTICS, ConsumerCounter
from latbench.ring import RingWriter
from latbench.stages import own_cost
from latbench.stages.kafka import Arrived, open_consumer
from latbench.stages.supervised import Supervisor
from latbench.tick import RUN_ID_CHARS, Stamps, decode_relayed
from latbench.tickmatrix import StampReader, relayed_end

_POLL_S: Final = 0.1
_ERRORS_SHOWN: Final = 3


def run(plan: StagePlan, supervisor: Supervisor, rings: dict[str, RingWriter]) -> None:
    """Stand at the partitions' ends, consume until told to stop."""
    assert isinstance(plan, ConsumerPlan)
    push_statistics = rings[CONSUMER_STATISTICS].push

    def on_statistics(document: str) -> None:  # once a second, within a poll
        push_statistics(*consumer_row(document, monotonic_ns()))

    own_cost_ns = _own_cost_ns(plan.run_id or own_cost.RUN_ID, supervisor)
    consumer = open_consumer(plan.kafka_client, plan.consumer, on_statistics)
    recorder: Recorder | FirstRun
    if plan.run_id:
        recorder = Recorder(plan.run_id, rings[CONSUMER], supervisor, _open_batch(plan))
    else:
        recorder = FirstRun(plan, rings[CONSUMER], supervisor)
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


def _open_batch(plan: ConsumerPlan) -> ConsumerBatch | None:
    """What handles many ticks at once, where the client hands over many."""
    if not plan.run_id or not plan.compiled or plan.kafka_client != "librdkafka":
        return None
    return ConsumerBatch(plan.run_id)


def _own_cost_ns(run_id: str, supervisor: Supervisor) -> int:
    """What the consumer does with a tick once it has it, in ns."""
    recorder = Recorder(run_id, own_cost.scratch_ring(CONSUMER), supervisor)
    batches = own_cost.relayed_messages(run_id)
    return own_cost.time_per_call(lambda: recorder.take(next(batches), monotonic_ns()))


class Recorder:
    """Tells ticks of this run from everything else and records each once."""

    def __init__(
        self,
        run_id: str,
        ring: RingWriter,
        supervisor: Supervisor,
        batch: ConsumerBatch | None = None,
    ) -> None:
        self._run_id = run_id
        self._ring = ring
        self._counters = ring.counters
        self._supervisor = supervisor
        self._batch = batch
        self._seen = batch.seen if batch else memoryview(bytearray(SEEN))
        self._last_of_partition = batch.last if batch else memoryview(array("q", [-1]) * PARTITIONS)
        self._last_beyond: defaultdict[int, int] = defaultdict(lambda: -1)
        self._reader = StampReader(relayed_end(run_id))
        self._errors_shown = 0

    def take(self, arrived: Arrived, consumed_ns: int) -> None:  # hot path
        """Record some messages of the topic that came together."""
        for error in arrived.errors:
            self._set_aside(error)
        done = 0
        if self._batch is not None:
            done = self._take_many(self._batch, arrived, consumed_ns)
        if done < len(arrived):
            for i in range(done, len(arrived)):
                self._take_one(arrived, i, consumed_ns)
        # an error is no message
        self._counters[ConsumerCounter.UNKNOWN] -= len(arrived.errors)

    def _take_many(  # hot path
        self, batch: ConsumerBatch, arrived: Arrived, consumed_ns: int
    ) -> int:
        """Record those of the first messages that the batch knows; how many there were."""
        loaded = arrived.load(batch)
        done = 0
        while done < loaded:
            done += batch.record(done, loaded, consumed_ns)
            rows, duplicates, reordered = batch.counts
            self._ring.push_packed(batch.rows, rows)
            if duplicates or reordered:
                self._counters[ConsumerCounter.DUPLICATES] += duplicates
                self._counters[ConsumerCounter.REORDERED] += reordered
            if done < loaded:
                self._take_one(arrived, done, consumed_ns)
                done += 1
        return loaded

    def _take_one(self, arrived: Arrived, i: int, consumed_ns: int) -> None:
        value = arrived.value(i)
        stamps = None if value is None else self._read(value)
        if stamps is None:
            self._counters[ConsumerCounter.UNKNOWN] += 1
            return
        seq, partition = stamps.seq, arrived.partitions[i]
        place, turn = seq % SEEN, seq // SEEN % 255 + 1
        if self._seen[place] == turn:
            self._counters[ConsumerCounter.DUPLICATES] += 1
            return
        self._seen[place] = turn
        last = self._last_of_partition if partition < PARTITIONS else self._last_beyond
        if seq < last[partition]:
            self._counters[ConsumerCounter.REORDERED] += 1
        else:
            last[partition] = seq
        self._ring.push(
            seq,
            stamps.due_ns,
            stamps.sent_ns,
            stamps.relay_in_ns,
            stamps.relay_out_ns,
            consumed_ns,
            partition,
            arrived.offsets[i],
        )

    def _read(self, value: bytes) -> Stamps | None:
        """The stamps of a tick of this run that a relay has sent on; None: it is none."""
        try:
            stamps = decode_relayed(value).latbench
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            known = self._reader.read_one(value)
            return None if known is None else Stamps(self._run_id, *known)
        return stamps if stamps.run == self._run_id and stamps.relay_out_ns >= 0 else None

    def _set_aside(self, error: str) -> None:
        """An error that the client reports."""
        self._counters[ConsumerCounter.ERRORS] += 1
        sys.stderr.write(f"{error}\n")
        if self._errors_shown < _ERRORS_SHOWN:
            self._errors_shown += 1
            self._supervisor.send(Said(f"the consumer reports: {error}"))


class FirstRun:
    """Waits for a tick of any run and from then on records that run."""

    def __init__(self, plan: ConsumerPlan, ring: RingWriter, supervisor: Supervisor) -> None:
        self._plan = plan
        self._ring = ring
        self._supervisor = supervisor
        self._recorder: Recorder | None = None

    def take(self, arrived: Arrived, consumed_ns: int) -> None:
        """See `Recorder`."""
        if self._recorder is None:
            run_id = self._find(arrived)
            if not run_id:
                self._ring.counters[ConsumerCounter.UNKNOWN] += len(arrived) - len(arrived.errors)
                return
            plan = msgspec.structs.replace(self._plan, run_id=run_id)
            self._recorder = Recorder(run_id, self._ring, self._supervisor, _open_batch(plan))
            self._supervisor.send(Found(run_id))
        self._recorder.take(arrived, consumed_ns)

    def _find(self, arrived: Arrived) -> str:
        """The run of the first tick among some messages; "": there is none."""
        for i in range(len(arrived)):
            value = arrived.value(i)
            if value is not None:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    stamps = decode_relayed(value).latbench
                    if stamps.relay_out_ns >= 0 and len(stamps.run) == RUN_ID_CHARS:
                        return stamps.run
        return ""
