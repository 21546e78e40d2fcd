"""The relay's record of what the broker answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import KafkaError, Message, Producer

from latbench.clock import monotonic_ns
from latbench.control import Done, FromStage, Ready
from latbench.plan import RelayPlan
from latbench.recording import ACKS, RELAY, RINGS_OF_STAGE, AckCounter
from latbench.stages import relay
from latbench.stages.relay import Acknowledgements
from tests.cli import wait_until
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing


class FakeProducer:
    """Has nothing to hand over."""

    def __init__(self) -> None:
        self.polls: list[float] = []

    def poll(self, timeout_s: float) -> int:
        self.polls.append(timeout_s)
        return 0


class FakeRecord:
    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def partition(self) -> int:
        return 2

    def offset(self) -> int | None:
        return self._offset


class AckBench:
    """The taker of acknowledgements and all around it."""

    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.ring = TwoEndedRing(ACKS)
        self.supervisor = ListeningSupervisor()
        self.acks = Acknowledgements(
            cast("Producer", self.producer), self.ring.writer, self.supervisor.as_supervisor()
        )

    def answer(self, seq: int, offset: int | None = None, error: KafkaError | None = None) -> None:
        self.acks.on_delivery(seq, 1234, error, cast("Message", FakeRecord(offset)))


def test_an_acknowledgement_is_one_row() -> None:
    bench = AckBench()
    before_ns = monotonic_ns()
    bench.answer(7, offset=17)
    (row,) = bench.ring.rows()
    assert before_ns <= row.pop("acked_ns") <= monotonic_ns()
    assert row == {"seq": 7, "relay_out_ns": 1234, "partition": 2, "offset": 17}
    assert not any(bench.ring.counts())


def test_failed_deliveries_are_counted_and_the_first_are_told() -> None:
    bench = AckBench()
    for seq in range(5):
        bench.answer(seq, error=KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.DELIVERY_ERRORS) == 5
    assert bench.supervisor.said == [f"tick {seq} was not delivered: timed out" for seq in range(3)]


def test_where_no_answer_was_asked_for_none_is_recorded() -> None:
    bench = AckBench()
    bench.answer(7)
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.UNANSWERED) == 1


def test_a_thread_takes_acknowledgements_until_it_is_stopped() -> None:
    bench = AckBench()
    bench.acks.start()
    wait_until(lambda: bench.producer.polls)
    bench.acks.stop()
    assert "acks" not in {thread.name for thread in threading.enumerate()}


class SlowProducer:
    """Answers late; keeps which threads it could hand answers to while it was flushed."""

    def __init__(self, properties: dict[str, object]) -> None:
        self.properties = properties
        self.polled = threading.Event()
        self.threads_at_flush: set[str] = set()
        made.append(self)

    def poll(self, timeout_s: float) -> int:
        self.polled.set()
        return int(threading.Event().wait(timeout_s))

    def produce(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing comes in")

    def flush(self, timeout_s: float) -> int:
        self.threads_at_flush = {thread.name for thread in threading.enumerate()}
        return 0


made: list[SlowProducer] = []


class StoppingSupervisor(ListeningSupervisor):
    """Says stop once the relay is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._stop: Callable[[], object] = lambda: None

    def on_stop(self, callback: Callable[[], object]) -> None:
        self._stop = callback

    def send(self, message: FromStage) -> None:
        super().send(message)
        if isinstance(message, Ready):
            wait_until(made[-1].polled.is_set)
            self._stop()


def test_at_the_end_answers_are_handed_to_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "Producer", SlowProducer)
    rings = {name: TwoEndedRing(name).writer for name in RINGS_OF_STAGE[RELAY]}
    plan = RelayPlan(
        run_id=RUN_ID, host="127.0.0.1", port=0, ws_engine="picows", topic="ticks", producer={}
    )
    supervisor = StoppingSupervisor()
    relay.run(plan, supervisor.as_supervisor(), rings)
    (producer,) = made
    assert "stats_cb" in producer.properties
    assert producer.threads_at_flush
    assert "acks" not in producer.threads_at_flush
    assert isinstance(supervisor.heard[-1], Done)
