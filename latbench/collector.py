"""The supervisor's hand in the rings: drains them to disk, keeps the live view's figures."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.analysis import HopFigures, summarise
from latbench.clock import NS_PER_S
from latbench.fanout_figures import fanout_latencies
from latbench.histogram import Histogram
from latbench.rates import RateWindow
from latbench.recording import (
    ACKS,
    COLUMNS,
    CONSUMER,
    GENERATOR,
    HICCUPS,
    RELAY,
    RINGS_OF_STAGE,
    SUBSCRIBER,
    TICK_RINGS,
    AckCounter,
    ConsumerCounter,
    GeneratorCounter,
    RelayCounter,
    SubscriberCounter,
)
from latbench.result import HopSummary
from latbench.ring import MIN_ROWS, RingReader, RingWriter, Rows, create_memory, ring_rows
from latbench.spool import SpoolWriter, Tally
from latbench.tick import FANOUT, HOPS

HISTORY_S: Final = 60
_NOT_YET: Final = 1 << 62
_MEASURING: Final = (*TICK_RINGS, SUBSCRIBER)
"""Rings whose rows make the figures of hops."""
_STATISTICS_ROWS: Final = 256
"""One comes a second."""


def _rows_of(ring: str, tick_rows: int, subscriber_rows: int) -> int:
    """How many rows a ring gets, where a ring of ticks gets `tick_rows`."""
    if ring in TICK_RINGS:
        return tick_rows
    if ring == SUBSCRIBER:
        return subscriber_rows
    return MIN_ROWS if ring in HICCUPS.values() else _STATISTICS_ROWS


def stamps_of(ring: str, rows: Rows) -> dict[str, npt.NDArray[np.int64]]:
    """The moments that rows of a ring have, by column."""
    columns = enumerate(COLUMNS[ring])
    return {name: rows[:, number] for number, name in columns if name.endswith("_ns")}


class Rings:
    """The shared memory of all rings of a run.

    `only`: of one stage, which is alone; the others' are there, and as small as can be.
    """

    def __init__(
        self, peak_rate_hz: float, subscribers: int = 0, *, only: str | None = None
    ) -> None:
        rows, rows_of_all = ring_rows(peak_rate_hz), ring_rows(peak_rate_hz * subscribers)
        used = COLUMNS.keys() if only is None else RINGS_OF_STAGE[only]
        self._descriptors = {
            ring: create_memory(
                len(columns), _rows_of(ring, rows, rows_of_all) if ring in used else 1
            )
            for ring, columns in COLUMNS.items()
        }
        self.readers = {
            ring: RingReader(self._descriptors[ring], len(columns))
            for ring, columns in COLUMNS.items()
        }

    def descriptors_of(self, stage: str) -> list[int]:
        """What to hand to a stage's process."""
        return [self._descriptors[ring] for ring in RINGS_OF_STAGE[stage]]

    def readers_of(self, stage: str) -> dict[str, RingReader]:
        """The supervisor's ends of a stage's rings."""
        return {ring: self.readers[ring] for ring in RINGS_OF_STAGE[stage]}

    def writer_of_supervisor(self) -> RingWriter:
        """The ring for the supervisor's own hiccup meter; before the descriptors are closed."""
        ring = HICCUPS["supervisor"]
        return RingWriter(self._descriptors[ring], len(COLUMNS[ring]))

    def close_descriptors(self) -> None:
        """Once every stage has its own."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


class Collector:
    """Takes rows out of the rings, appends them to the spool and counts them for the live view."""

    def __init__(self, readers: dict[str, RingReader], spool: SpoolWriter) -> None:
        self._readers = readers
        self._spool = spool
        self._measured_from_ns = _NOT_YET
        self._meters = frozenset(HICCUPS.values())
        self._hops = HopFigures()
        self._fanout = Histogram()
        self._interval: tuple[HopFigures, Histogram] | None = None
        """Of the second that is going on, where somebody wants it."""
        self._hiccups = Histogram()
        self._second = Histogram()
        self._second_ends_ns = 0
        self._p50_per_second: deque[int] = deque(maxlen=HISTORY_S)
        self._p99_per_second: deque[int] = deque(maxlen=HISTORY_S)
        self.seconds = 0
        """Whole seconds since the start."""
        self._rates = RateWindow()
        self._visited_ns = self._taken_upto_ns = 0
        self._strangers = 0

    def begin(self, start_ns: int) -> None:
        """The run's first tick is due at `start_ns`."""
        self._second_ends_ns = start_ns + NS_PER_S

    def measure_from(self, measured_from_ns: int) -> None:
        """Live figures are of ticks due from then on; say so before the first of them is."""
        self._measured_from_ns = measured_from_ns

    def drain(self, now_ns: int, *, last: bool = False) -> None:
        """Empty the rings; `last` when their writers have ended."""
        # a ring gives what was there on the visit before
        self._taken_upto_ns = now_ns if last else self._visited_ns
        self._visited_ns = now_ns
        # Taken against the ticks' way and written along it: a run that is killed in between keeps
        # ticks that were sent and not yet seen further on, but none that nobody seems to have sent.
        # The generator writes a tick's row after it has sent it, and by then the relay may have
        # written its own (ADR 13). So its ring is looked at anew, and gives what came until now.
        self._readers[GENERATOR].look()
        taken = {ring: self._readers[ring].drain(last=last) for ring in reversed(self._readers)}
        for ring, rows in reversed(taken.items()):
            if not len(rows):
                continue
            self._spool.append(ring, rows)
            if ring in {CONSUMER, ACKS}:
                self._count(ring, rows)
            elif ring == SUBSCRIBER:
                self._fanout.record(fanout_latencies(rows, self._measured_from_ns))
                if self._interval is not None:
                    self._interval[1].record(fanout_latencies(rows, 0))
            elif ring in self._meters:
                self._hiccups.record(rows[rows[:, 0] >= self._measured_from_ns, 1])
        self._close_seconds(now_ns)

    def _count(self, ring: str, rows: Rows) -> None:
        if ring == CONSUMER:  # with this run's id, but never sent: forged
            self._strangers += int(np.count_nonzero(rows[:, 0] >= self.sent))
        stamps = stamps_of(ring, rows)
        if ring == CONSUMER:
            # every tick shows in the sparkline, those of the warm-up too: that is where one sees
            # a broker getting warm
            self._second.record(stamps["consumed_ns"] - stamps["due_ns"])
        if self._interval is not None:
            self._interval[0].record(stamps)
        # an acknowledgement has no due moment with it: near enough for the live view
        decisive = stamps["due_ns" if ring == CONSUMER else "relay_out_ns"]
        measured = decisive >= self._measured_from_ns
        if not measured.all():
            stamps = {name: column[measured] for name, column in stamps.items()}
        self._hops.record(stamps)

    def take_interval(self) -> tuple[HopFigures, Histogram]:
        """The hops of all ticks, and the fan-out, since the last call; begins the next interval."""
        taken = self._interval or (HopFigures(), Histogram())
        self._interval = HopFigures(), Histogram()
        return taken

    def waiting(self) -> dict[str, int]:
        """Rows that wait in each ring of ticks."""
        return {
            ring: self._readers[ring].written - self._readers[ring].taken for ring in _MEASURING
        }

    @property
    def clients(self) -> int:
        """WebSocket clients of the relay, now."""
        return self._readers[RELAY].counters[RelayCounter.CLIENTS]

    def _close_seconds(self, now_ns: int) -> None:
        while now_ns >= self._second_ends_ns > 0:
            self._p50_per_second.append(self._second.value_at(50.0))
            self._p99_per_second.append(self._second.value_at(99.0))
            self.seconds += 1
            self._second.clear()
            self._second_ends_ns += NS_PER_S

    @property
    def sent(self) -> int:
        """Ticks the generator has recorded, also those that found the ring full."""
        return self._recorded(GENERATOR)

    @property
    def consumed(self) -> int:
        """Different ticks the consumer has recorded."""
        return self._recorded(CONSUMER)

    def _recorded(self, ring: str) -> int:
        return self._readers[ring].written + self._readers[ring].overruns

    @property
    def known_lost(self) -> int:
        """Ticks that the producer refused or gave up."""
        return (
            self._readers[RELAY].counters[RelayCounter.REFUSED]
            + self._readers[ACKS].counters[AckCounter.DELIVERY_ERRORS]
        )

    @property
    def all_arrived(self) -> bool:
        """Whether nothing is on its way any more, as far as can be known."""
        unanswered = self._readers[ACKS].counters[AckCounter.UNANSWERED]
        answered = self._recorded(ACKS) + unanswered + self.known_lost
        arrived = self.consumed - self._strangers
        return (
            arrived + self.known_lost >= self.sent
            and answered >= self._recorded(RELAY)
            and self._recorded(SUBSCRIBER) + self.subscriber_drops >= self._expected_by_subscribers
        )

    @property
    def subscriber_drops(self) -> int:
        """Ticks that slow subscribers have lost."""
        return self._readers[RELAY].counters[RelayCounter.SUBSCRIBER_DROPS]

    @property
    def subscribers(self) -> int:
        """So many have connected and were not sent away."""
        counters = self._readers[SUBSCRIBER].counters
        return counters[SubscriberCounter.CONNECTED] - counters[SubscriberCounter.ENDED]

    @property
    def _expected_by_subscribers(self) -> int:
        return self._recorded(RELAY) * self.subscribers

    @property
    def progress(self) -> int:
        """A number that grows whenever anything is recorded anywhere."""
        return sum(self._recorded(ring) for ring in _MEASURING)

    def tally(self) -> Tally:
        """The counters that no row tells, now."""
        generator = self._readers[GENERATOR].counters
        relay = self._readers[RELAY].counters
        consumer = self._readers[CONSUMER].counters
        subscriber = self._readers[SUBSCRIBER].counters
        return Tally(
            duplicates=consumer[ConsumerCounter.DUPLICATES],
            reordered=consumer[ConsumerCounter.REORDERED],
            unknown=consumer[ConsumerCounter.UNKNOWN],
            malformed=relay[RelayCounter.MALFORMED],
            delivery_errors=self.known_lost,
            relay_backpressure=relay[RelayCounter.BACKPRESSURE],
            relay_backpressure_ns=relay[RelayCounter.BACKPRESSURE_NS],
            generator_backpressure=generator[GeneratorCounter.BACKPRESSURE],
            generator_backpressure_ns=generator[GeneratorCounter.BACKPRESSURE_NS],
            # of ticks: a row of a hiccup meter that is missing makes no figure of a hop wrong
            ring_overruns=sum(self._readers[ring].overruns for ring in _MEASURING),
            consumer_errors=consumer[ConsumerCounter.ERRORS],
            subscribers=subscriber[SubscriberCounter.CONNECTED],
            subscribers_ended=subscriber[SubscriberCounter.ENDED],
            subscriber_drops=self.subscriber_drops,
        )

    def summaries(self) -> tuple[HopSummary, ...]:
        """The hops' figures of the measured ticks so far."""
        span_ns = max(self._taken_upto_ns - self._measured_from_ns, 1)
        hops = tuple(summarise(hop.name, self._hops.histograms[hop.name], span_ns) for hop in HOPS)
        if not self._readers[SUBSCRIBER].counters[SubscriberCounter.CONNECTED]:
            return hops
        return (*hops, summarise(FANOUT.name, self._fanout, span_ns))

    def hiccups(self) -> HopSummary:
        """Wake-ups of all hiccup meters since the measuring began."""
        span_ns = max(self._taken_upto_ns - self._measured_from_ns, 1)
        return summarise("hiccup", self._hiccups, span_ns)

    @property
    def p50_per_second(self) -> tuple[int, ...]:
        """End-to-end p50 of each of the last 60 whole seconds, by when ticks arrived."""
        return tuple(self._p50_per_second)

    @property
    def p99_per_second(self) -> tuple[int, ...]:
        """End-to-end p99 of each of the last 60 whole seconds, warm-up included."""
        return tuple(self._p99_per_second)

    def rates(self, now_ns: int) -> tuple[float, float]:
        """Ticks sent and consumed a second, over the last second (call a few times a second)."""
        sent_hz, consumed_hz = self._rates.rates_hz(now_ns, self.sent, self.consumed)
        return sent_hz, consumed_hz
