"""The relay's record of what the broker answers."""

from __future__ import annotations

import threading
from typing import cast

from confluent_kafka import KafkaError, Message, Producer

from latbench.clock import monotonic_ns
from latbench.recording import ACKS, AckCounter
from latbench.stages.relay import Acknowledgements
from tests.cli import wait_until
from tests.stages import ListeningSupervisor, TwoEndedRing


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
