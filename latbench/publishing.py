"""What a run knows of itself, once a second, on topics beside that of the ticks.

`latency-stats`: a record for each hop of the second that is over, with its histogram, so that
whoever reads can add seconds up and need not average percentiles. `system-health`: a record of all
stages. JSON; `docs/kafka.md` has them field by field, `docs/schema/` their schemas.

Published from the supervisor, by a producer of its own that is never waited for: a broker that
stands still costs records, not the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from latbench.analysis import summarise
from latbench.broker import producer_properties
from latbench.clock import NS_PER_S, WallAnchor
from latbench.collector import Collector
from latbench.config import RunConfig
from latbench.histogram import Histogram
from latbench.result import HopSummary, Snapshot, StageSnapshot
from latbench.tick import FANOUT

LATENCY_TOPIC: Final = "latency-stats"
HEALTH_TOPIC: Final = "system-health"
TOPICS: Final = (LATENCY_TOPIC, HEALTH_TOPIC)
RECORD_SCHEMA: Final = 1
_FLUSH_S: Final = 2.0


class LatencyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One hop over one second, on `latency-stats`; its key is the hop's name."""

    schema: int = RECORD_SCHEMA
    run: str
    """The run's name inside its messages."""
    hop: str
    from_unix_ns: int
    """When the second began, on the wall clock; ticks belong to it by when they were taken up."""
    interval_ns: int
    count: int
    rate_hz: float
    min_ns: int
    mean_ns: float
    stdev_ns: float
    max_ns: int
    percentiles_ns: dict[str, int | None]
    """By name (`p50` … `p99.99`); null where fewer than 100 samples lie above it."""
    histogram: str
    """Of the second: HdrHistogram V2, compressed, base64; 3 digits, 1 ns to 24 h."""


class HealthRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All of a run at one moment, on `system-health`; its key is the run."""

    schema: int = RECORD_SCHEMA
    run: str
    unix_ns: int
    phase: str
    """`starting`, `warm-up`, `measuring` or `draining`."""
    stages: tuple[StageSnapshot, ...]
    """Of each process: name, PID, state, share of a CPU over the last second, memory."""
    queues: dict[str, int]
    """Rows that wait in each stage's ring, and ticks in flight."""
    connections: int
    """WebSocket clients of the relay."""
    subscribers: int
    sent: int
    consumed: int
    lost: int
    errors: int
    last_error: str
    """What was said last; "": nothing."""


class Publisher:
    """Sends records without ever waiting."""

    def __init__(
        self,
        config: RunConfig,
        bootstrap: str,
        run_id: str,
        anchor: WallAnchor,
        tell: Callable[[str], None],
    ) -> None:
        properties = producer_properties(config, bootstrap)
        # its own are of no interest, and half a second's records may go together
        properties |= {"statistics.interval.ms": 0, "linger.ms": 100, "log_level": 0}
        self._producer = Producer(properties)
        self._run_id = run_id
        self._anchor = anchor
        self._tell = tell
        self._from_ns = 0
        self.failed = 0
        """Records that were not delivered."""

    def begin(self, start_ns: int, collector: Collector) -> None:
        """The first second begins at `start_ns`."""
        collector.take_interval()
        self._from_ns = start_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether a second is over."""
        return now_ns >= self._from_ns + NS_PER_S

    def publish(
        self, now_ns: int, collector: Collector, snapshot: Snapshot, last_error: str
    ) -> None:
        """Send the second that is over; a hop without samples is left out."""
        hops, fanout = collector.take_interval()
        from_ns, self._from_ns = self._from_ns, now_ns
        for name, histogram in {**hops.histograms, FANOUT.name: fanout}.items():
            if histogram.count:
                summary = summarise(name, histogram, now_ns - from_ns)
                record = self._latency(summary, histogram, from_ns, now_ns)
                self._send(LATENCY_TOPIC, name, record)
        health = HealthRecord(
            run=self._run_id,
            unix_ns=self._anchor.to_unix_ns(now_ns),
            phase=snapshot.phase,
            stages=snapshot.stages,
            queues={**collector.waiting(), "in_flight": snapshot.in_flight},
            connections=collector.clients,
            subscribers=collector.subscribers,
            sent=snapshot.sent,
            consumed=snapshot.consumed,
            lost=snapshot.lost,
            errors=snapshot.errors,
            last_error=last_error,
        )
        self._send(HEALTH_TOPIC, self._run_id, health)
        self._producer.poll(0)

    def _latency(
        self, summary: HopSummary, histogram: Histogram, from_ns: int, to_ns: int
    ) -> LatencyRecord:
        return LatencyRecord(
            run=self._run_id,
            hop=summary.hop,
            from_unix_ns=self._anchor.to_unix_ns(from_ns),
            interval_ns=to_ns - from_ns,
            count=summary.count,
            rate_hz=summary.rate_hz,
            min_ns=summary.min_ns,
            mean_ns=summary.mean_ns,
            stdev_ns=summary.stdev_ns,
            max_ns=summary.max_ns,
            percentiles_ns=summary.percentiles_ns,
            histogram=histogram.encode(),
        )

    def _send(self, topic: str, key: str, record: msgspec.Struct) -> None:
        try:
            self._producer.produce(
                topic, msgspec.json.encode(record), key.encode(), on_delivery=self._note
            )
        except (BufferError, KafkaException) as error:
            self._fail(str(error))

    def _note(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            self._fail(error.str())

    def _fail(self, why: str) -> None:
        self.failed += 1
        if self.failed == 1:
            self._tell(f"statistics could not be published: {why}")

    def close(self) -> None:
        """Send what waits, for 2 s at most."""
        self._producer.flush(_FLUSH_S)


def draw_schema(record: type[msgspec.Struct]) -> str:
    """The JSON Schema of a kind of record (draft 2020-12)."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(record),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
