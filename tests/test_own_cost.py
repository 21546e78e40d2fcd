from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from latbench.batch.ticks import RelayBatch
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.market import Market
from latbench.plan import RelayPlan
from latbench.recording import COLUMNS, GENERATOR, TICK_RINGS
from latbench.ring import RingWriter
from latbench.stages import consumer, own_cost, relay
from latbench.stages.kafka import Delivery
from latbench.stages.own_cost import (
    DOCUMENT,
    NullProducer,
    framed,
    of_generator,
    relayed_messages,
    scratch_ring,
    sent_message,
    time_per_call,
)
from latbench.tick import decode_relayed, decode_sent
from tests.stages import RUN_ID, ListeningSupervisor

CALLS = own_cost._ROUNDS * own_cost._CALLS


class Clock:
    """Goes on as a script says at each reading."""

    def __init__(self, steps_ns: list[int]) -> None:
        self._steps = iter(steps_ns)
        self._now_ns = 1000

    def __call__(self) -> int:
        self._now_ns += next(self._steps)
        return self._now_ns


def test_a_time_is_the_median_of_rounds_so_that_a_stall_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = itertools.count(1)
    # between rounds time passes, too
    rounds_ns = [900, *[400] * 7, 50 * NS_PER_MS, *[440] * 6]
    steps = [step for took in rounds_ns for step in (77, took * own_cost._CALLS)]
    monkeypatch.setattr(own_cost, "monotonic_ns", Clock(steps))
    assert time_per_call(lambda: next(calls)) == 440
    assert next(calls) == CALLS + 1


@pytest.mark.parametrize("ring", TICK_RINGS)
def test_a_ring_that_nobody_reads_takes_all_calls(ring: str) -> None:
    writer = scratch_ring(ring)
    for _ in range(CALLS):
        writer.push(*range(len(COLUMNS[ring])))
    assert list(writer.header[:2]) == [CALLS, 0]  # as many rows as calls, and no overrun
    assert not any(writer.counters)


def open_descriptors() -> list[str]:
    return [path.name for path in Path("/proc/self/fd").iterdir()]


def test_a_ring_that_nobody_reads_leaves_no_descriptor_open() -> None:
    gc.collect()  # what tests before this one left
    before = open_descriptors()
    writer = scratch_ring(GENERATOR)
    # mmap keeps one of its own as long as the ring is there
    assert len(open_descriptors()) <= len(before) + 1
    del writer
    gc.collect()
    assert open_descriptors() == before


def test_the_tick_that_is_timed_is_as_a_simulated_market_makes_them() -> None:
    market = Market(("NIFTY",), 1000, 1)
    moments = np.array([1_732_470_000 * NS_PER_S], dtype=np.int64)
    blob, width, _ = market.documents(moments)
    made = msgspec.json.decode(blob[:width] + b"}", type=dict[str, object])
    timed = msgspec.json.decode(DOCUMENT, type=dict[str, object])
    assert list(made) == list(timed)
    assert len(DOCUMENT) == pytest.approx(width + 1, abs=20)


def test_timed_messages_are_ticks_of_this_run() -> None:
    sent = decode_sent(sent_message(RUN_ID, 7))
    assert (sent.latbench.run, sent.latbench.seq, sent.symbol) == (RUN_ID, 7, "NIFTY")
    batches = list(relayed_messages(RUN_ID))
    assert {len(batch) for batch in batches} == {1}
    values = [batch.value(0) for batch in batches]
    stamps = [decode_relayed(value).latbench for value in values if value is not None]
    # a tick that comes again would be a duplicate, which is another, cheaper way
    assert [each.seq for each in stamps] == list(range(CALLS))
    assert {each.run for each in stamps} == {RUN_ID}
    assert all(each.relay_out_ns >= each.relay_in_ns > 0 for each in stamps)


def test_a_timed_message_comes_as_a_frame() -> None:
    message = sent_message(RUN_ID, 7)
    batch = RelayBatch(RUN_ID, 0)
    frame = framed(message)
    batch.frames[: len(frame)] = frame
    assert batch.take_frames(0, len(frame), 1) == 1
    assert batch.consumed_bytes == len(frame)
    assert batch.texts(0, 1) == [message]


def test_a_producer_that_is_none_answers_at_once() -> None:
    answers: list[Delivery] = []
    producer = NullProducer(answers.append)
    producer.produce(b"x", "K", 7)
    assert answers == [Delivery([7], (), [0], [0])]
    asyncio.run(producer.close())
    assert len(answers) == 1


# --- what the stages say ----------------------------------------------------------------------


def of_relay(*, compiled: bool = False) -> int:
    plan = RelayPlan(
        run_id=RUN_ID, host="127.0.0.1", port=0, ws_engine="picows", kafka_client="librdkafka",
        topic="ticks", producer={}, partitions=4, compiled=compiled,
    )  # fmt: skip
    supervisor = ListeningSupervisor()
    cost_ns = relay._own_cost_ns(plan, supervisor.as_supervisor())
    assert not supervisor.heard
    return cost_ns


def of_compiled_relay() -> int:
    return of_relay(compiled=True)


def of_consumer() -> int:
    supervisor = ListeningSupervisor()
    cost_ns = consumer._own_cost_ns(RUN_ID, supervisor.as_supervisor())
    assert not supervisor.heard
    return cost_ns


def test_each_stage_takes_some_time_for_its_own_work_and_not_much() -> None:
    costs_ns = {
        "generator": of_generator(RUN_ID),
        "relay": of_relay(),
        "relay, compiled": of_compiled_relay(),
        "consumer": of_consumer(),
    }
    # 1 to 8 µs where it was made; a machine at its limit takes longer, but no millisecond
    assert all(100 < cost_ns < NS_PER_MS for cost_ns in costs_ns.values()), costs_ns


@pytest.mark.parametrize(
    ("work", "rings"),
    [
        (of_relay, ["relay", "acks"]),
        (of_compiled_relay, ["relay", "acks"]),
        (of_consumer, ["consumer"]),
    ],
)
def test_what_is_timed_takes_the_way_of_a_tick_of_this_run_to_its_row(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], int], rings: list[str]
) -> None:
    writers: dict[str, RingWriter] = {}

    def keep(ring: str) -> RingWriter:
        writers[ring] = scratch_ring(ring)
        return writers[ring]

    monkeypatch.setattr(own_cost, "scratch_ring", keep)
    work()
    assert {ring: writer.header[0] for ring, writer in writers.items()} == dict.fromkeys(
        rings, CALLS
    )
    assert not any(any(writer.counters) for writer in writers.values())


def test_what_is_timed_is_the_way_of_a_tick_that_comes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bulk reader hands one frame to the plain way, and its answer comes by way of the batch."""
    monkeypatch.delattr(relay.Forwarder, "on_texts")
    monkeypatch.delattr(relay.Acknowledgements, "on_delivery")
    assert of_compiled_relay() > 0
