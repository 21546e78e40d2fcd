from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from latbench.clock import NS_PER_S
from latbench.collector import HISTORY_S, Collector, Rings
from latbench.conclude import conclude
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
from latbench.result import RunStatus
from latbench.ring import MIN_ROWS, RingWriter, Rows
from latbench.spool import SpoolReader, SpoolWriter, Tally
from tests.results import make_config
from tests.rows import START_NS, make_preface, make_rows, make_stamps, some_rows


class Rig:
    """A collector, and the stages' ends of its rings."""

    def __init__(self, path: Path) -> None:
        rings = Rings(1000)
        self.writers = {
            ring: RingWriter(descriptor, len(COLUMNS[ring]))
            for stage, names in RINGS_OF_STAGE.items()
            for ring, descriptor in zip(names, rings.descriptors_of(stage), strict=True)
        }
        self.writers[HICCUPS["supervisor"]] = rings.writer_of_supervisor()
        rings.close_descriptors()
        self.spool = SpoolWriter(path)
        self.collector = Collector(rings.readers, self.spool)

    def push(self, ring: str, rows: Rows | list[list[int]]) -> None:
        for row in rows:
            self.writers[ring].push(*map(int, row))

    def push_some(self, ring: str, count: int) -> None:
        self.push(ring, [[0] * len(COLUMNS[ring])] * count)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "run.partial")
    yield rig
    rig.spool.remove()


def test_rows_go_from_the_rings_to_disk_and_live_figures_are_the_final_ones(rig: Rig) -> None:
    columns = make_stamps(6000)
    rows, measured_from_ns = make_rows(columns), START_NS + 2 * NS_PER_S
    assert (columns["relay_out_ns"][:2000] < measured_from_ns).all()
    collector = rig.collector
    collector.begin(START_NS)
    collector.measure_from(measured_from_ns)
    rows |= {ring: some_rows(ring, 6000) for ring in COLUMNS if ring not in TICK_RINGS}
    for number, part in enumerate(np.array_split(np.arange(6000), 60)):
        for ring in COLUMNS:
            rig.push(ring, rows[ring][part])
        collector.drain(START_NS + number * NS_PER_S // 10)
    collector.drain(START_NS + 6 * NS_PER_S, last=True)

    config = make_config(warmup_ns=2 * NS_PER_S)
    rig.spool.write_preface(make_preface(config=config))
    spool = SpoolReader(rig.spool.path)
    for ring in COLUMNS:
        assert (spool.rows()[ring][:] == rows[ring]).all()
    final = conclude(spool, RunStatus.COMPLETE)
    assert final.measured_ns == 4 * NS_PER_S
    for hop, expected in zip(collector.summaries(), final.hops, strict=True):
        # sums of squares are floats: their last digits depend on the order
        assert hop.stdev_ns == pytest.approx(expected.stdev_ns, rel=1e-9)
        assert msgspec.structs.replace(hop, stdev_ns=expected.stdev_ns) == expected
        assert hop.count == 4000
    assert (collector.sent, collector.consumed) == (6000, 6000)


def test_figures_lag_behind_by_no_more_than_two_drains(rig: Rig) -> None:
    rig.collector.begin(START_NS)
    rig.collector.measure_from(START_NS)
    rig.push(CONSUMER, make_rows(make_stamps(10))[CONSUMER])
    rig.collector.drain(START_NS)
    rig.collector.drain(START_NS)
    by_name = {hop.hop: hop.count for hop in rig.collector.summaries()}
    assert by_name == {
        "schedule": 10, "websocket": 10, "relay": 10, "kafka": 10, "end_to_end": 10,
        "service": 10, "ack": 0,
    }  # fmt: skip


def test_live_rates_are_over_the_time_whose_rows_were_taken(rig: Rig) -> None:
    collector, rows = rig.collector, make_rows(make_stamps(4000))[CONSUMER]
    collector.begin(START_NS)
    collector.measure_from(START_NS)
    for second in range(4):
        rig.push(CONSUMER, rows[second * 1000 : (second + 1) * 1000])
        collector.drain(START_NS + (second + 1) * NS_PER_S)
        # the last second's rows are still held back
        assert {hop.rate_hz for hop in collector.summaries() if hop.count} <= {1000.0}
        assert collector.summaries()[0].count == second * 1000
    collector.drain(START_NS + 4 * NS_PER_S, last=True)
    assert collector.summaries()[0].rate_hz == 1000


def test_rings_are_sized_by_the_rate_and_work_without_their_descriptors() -> None:
    rings = Rings(10_000)
    descriptors = [fd for stage in RINGS_OF_STAGE for fd in rings.descriptors_of(stage)]
    assert len(set(descriptors)) == len(COLUMNS) - 1  # the supervisor's own goes to no stage
    writer = RingWriter(rings.descriptors_of("consumer")[0], len(COLUMNS[CONSUMER]))
    rings.close_descriptors()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    capacities = {ring: reader.capacity for ring, reader in rings.readers.items()}
    # what comes at a rate of its own needs no more room at a high rate of ticks
    others = {"producer": 256, "fetches": 256}
    expected = {ring: 1 << 16 if ring in TICK_RINGS else MIN_ROWS for ring in COLUMNS}
    assert capacities == {**expected, **others}
    writer.push(*range(8))
    assert rings.readers[CONSUMER].drain(last=True).tolist() == [list(range(8))]
    assert Rings(0).readers[RELAY].capacity == MIN_ROWS


# sent, relayed, acked, consumed, refused, given up, never answered (acks=0)
ARRIVALS = [
    ((0, 0, 0, 0, 0, 0, 0), True),
    ((5, 5, 5, 5, 0, 0, 0), True),
    ((5, 4, 4, 4, 0, 0, 0), False),  # on its way to the relay
    ((5, 5, 5, 4, 0, 0, 0), False),  # on its way to the consumer
    ((5, 5, 4, 5, 0, 0, 0), False),  # its acknowledgement is out
    ((5, 5, 4, 4, 1, 0, 0), True),  # the producer refused one
    ((5, 5, 4, 4, 0, 1, 0), True),  # the producer gave one up
    ((5, 5, 3, 3, 1, 1, 0), True),
    ((5, 5, 4, 3, 0, 1, 0), False),
    ((5, 5, 4, 5, 0, 1, 0), True),  # given up, but it had arrived
    ((5, 5, 0, 5, 0, 0, 5), True),
    ((5, 5, 0, 5, 0, 0, 4), False),
    ((5, 5, 0, 4, 0, 0, 5), False),
]


@pytest.mark.parametrize(("numbers", "arrived"), ARRIVALS)
def test_all_has_arrived_when_every_tick_sent_is_consumed_or_known_to_be_lost(
    rig: Rig, numbers: tuple[int, ...], arrived: bool
) -> None:
    *pushed, refused, given_up, unanswered = numbers
    for ring, count in zip((GENERATOR, RELAY, ACKS, CONSUMER), pushed, strict=True):
        rig.push_some(ring, count)
    rig.writers[RELAY].counters[RelayCounter.REFUSED] = refused
    rig.writers[ACKS].counters[AckCounter.DELIVERY_ERRORS] = given_up
    rig.writers[ACKS].counters[AckCounter.UNANSWERED] = unanswered
    assert rig.collector.all_arrived is arrived
    assert rig.collector.known_lost == refused + given_up


def test_a_row_that_found_its_ring_full_counts_as_a_tick_all_the_same(rig: Rig) -> None:
    for ring in COLUMNS:
        rig.push_some(ring, MIN_ROWS + 3)
    assert rig.collector.sent == rig.collector.consumed == MIN_ROWS + 3
    assert rig.collector.all_arrived
    # of ticks: a wake-up or a document of statistics that is missing makes no tick's figures wrong
    assert rig.collector.tally().ring_overruns == 3 * len((*TICK_RINGS, SUBSCRIBER))


def test_any_tick_recorded_anywhere_is_progress_and_nothing_else_is(rig: Rig) -> None:
    for ring in COLUMNS:
        before = rig.collector.progress
        rig.push_some(ring, 1)
        # meters go on while nothing arrives: a drain would wait for ever
        assert rig.collector.progress == before + (ring in {*TICK_RINGS, SUBSCRIBER})


def test_the_stages_counters_are_told_apart(rig: Rig) -> None:
    counters = {ring: writer.counters for ring, writer in rig.writers.items()}
    for number, counter in enumerate((*GeneratorCounter,), start=1):
        counters[GENERATOR][counter] = number
    for number, counter in enumerate((*RelayCounter,), start=11):
        counters[RELAY][counter] = number
    counters[ACKS][AckCounter.DELIVERY_ERRORS] = 100
    for number, counter in enumerate((*ConsumerCounter,), start=31):
        counters[CONSUMER][counter] = number
    for number, counter in enumerate((*SubscriberCounter,), start=51):
        counters[SUBSCRIBER][counter] = number
    assert rig.collector.tally() == Tally(
        duplicates=31,
        reordered=32,
        unknown=33,
        malformed=11,
        delivery_errors=100 + 14,
        relay_backpressure=12,
        relay_backpressure_ns=13,
        generator_backpressure=1,
        generator_backpressure_ns=2,
        ring_overruns=0,
        consumer_errors=34,
        subscribers=51,
        subscribers_ended=52,
        subscriber_drops=16,
    )


def test_rates_are_those_of_the_last_second(rig: Rig) -> None:
    collector, now_ns = rig.collector, START_NS
    assert collector.rates(now_ns) == (0, 0)
    assert collector.rates(now_ns) == (0, 0)  # no time has passed
    for _ in range(12):  # three seconds at 1,000/s, half of which are consumed
        rig.push_some(GENERATOR, 250)
        rig.push_some(CONSUMER, 125)
        now_ns += NS_PER_S // 4
        assert collector.rates(now_ns) == (1000, 500)
    rates = []
    for _ in range(5):
        now_ns += NS_PER_S // 4
        rates.append(collector.rates(now_ns)[0])
    assert rates == [750, 500, 250, 0, 0]


def consumed(latencies_ns: list[int], due_ns: int) -> list[list[int]]:
    return [[0, due_ns, due_ns, due_ns, due_ns, due_ns + ns, 0, 0] for ns in latencies_ns]


def test_every_second_has_its_p99_and_one_without_ticks_has_none(rig: Rig) -> None:
    collector = rig.collector
    collector.drain(START_NS - NS_PER_S)  # before the run begins no second ends
    collector.begin(START_NS)
    collector.measure_from(START_NS + 5 * NS_PER_S)  # warm-up shows as well
    rig.push(CONSUMER, consumed([1000] * 98 + [2000, 2000], START_NS))
    collector.drain(START_NS + 1)
    collector.drain(START_NS + NS_PER_S - 1)
    assert (collector.p99_per_second, collector.seconds) == ((), 0)
    collector.drain(START_NS + NS_PER_S)
    assert (collector.p99_per_second, collector.p50_per_second) == ((2000,), (1000,))
    rig.push(CONSUMER, consumed([500], START_NS))
    collector.drain(START_NS + NS_PER_S + 1)
    collector.drain(START_NS + 4 * NS_PER_S)  # the supervisor was stalled for three seconds
    assert collector.p99_per_second == (2000, 500, 0, 0)
    assert collector.p50_per_second == (1000, 500, 0, 0)
    assert collector.seconds == 4
    collector.drain(START_NS + 100 * NS_PER_S)
    assert collector.p99_per_second == collector.p50_per_second == (0,) * HISTORY_S
    assert collector.seconds == 100  # those it has forgotten count as well
    assert all(hop.count == 0 for hop in collector.summaries())


def test_before_anyone_knows_when_measuring_begins_no_tick_is_measured(rig: Rig) -> None:
    collector, rows = rig.collector, make_rows(make_stamps(2000))[CONSUMER]
    collector.begin(START_NS)
    rig.push(CONSUMER, rows[:1000])
    collector.drain(START_NS + NS_PER_S, last=True)
    assert {(hop.count, hop.rate_hz) for hop in collector.summaries()} == {(0, 0.0)}
    assert len(collector.p50_per_second) == 1
    collector.measure_from(START_NS + NS_PER_S)
    rig.push(CONSUMER, rows[1000:])
    collector.drain(START_NS + 2 * NS_PER_S, last=True)
    assert {hop.count for hop in collector.summaries() if hop.hop != "ack"} == {1000}


def test_wake_ups_of_all_meters_are_told_together_once_measuring_has_begun(rig: Rig) -> None:
    collector = rig.collector
    collector.begin(START_NS)
    for number, ring in enumerate(HICCUPS.values(), start=1):
        # the second is due in the measured span, the first a nanosecond before
        rig.push(ring, [[START_NS + NS_PER_S - 1, 9_000], [START_NS + NS_PER_S, number]])
    assert collector.hiccups().count == 0
    collector.measure_from(START_NS + NS_PER_S)
    collector.drain(START_NS + 3 * NS_PER_S, last=True)
    hiccups = collector.hiccups()
    assert (hiccups.count, hiccups.min_ns, hiccups.max_ns) == (6, 1, 6)
    assert hiccups.rate_hz == 3


def test_a_tick_whose_sending_is_recorded_last_is_not_drained_without_it(rig: Rig) -> None:
    rows = make_rows(make_stamps(2))
    for ring in (RELAY, ACKS, CONSUMER):
        rig.push(ring, rows[ring])
    rig.push(GENERATOR, rows[GENERATOR][:1])
    rig.collector.drain(START_NS)  # looked at, nothing is taken
    rig.push(GENERATOR, rows[GENERATOR][1:])
    rig.collector.drain(START_NS)
    rig.spool.write_preface(make_preface())
    kept = SpoolReader(rig.spool.path).rows()
    assert [len(kept[ring]) for ring in (GENERATOR, RELAY, ACKS, CONSUMER)] == [2, 2, 2, 2]


def test_a_run_killed_within_a_drain_keeps_no_tick_that_nobody_seems_to_have_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick passes all rings while they are emptied; only what is written first may be more."""
    rows, written = make_rows(make_stamps(40)), []
    sent = iter(range(40))

    def pass_one() -> None:
        seq = next(sent)
        for ring in (GENERATOR, RELAY, ACKS, CONSUMER):
            rig.push(ring, rows[ring][seq : seq + 1])

    for ring, reader in rig.collector._readers.items():

        def drain(*, last: bool = False, ring: str = ring, plain: object = reader.drain) -> Rows:
            drained = plain(last=True)  # type: ignore[operator]
            if ring in TICK_RINGS:
                pass_one()
            return drained  # type: ignore[no-any-return]

        monkeypatch.setattr(reader, "drain", drain)
    monkeypatch.setattr(rig.spool, "append", lambda ring, rows: written.append((ring, len(rows))))
    pass_one()
    rig.collector.drain(START_NS)
    assert [ring for ring, _ in written] == [GENERATOR, RELAY, ACKS, CONSUMER]
    counts = [count for _, count in written]
    assert counts == sorted(counts, reverse=True) == [4, 3, 2, 1]
