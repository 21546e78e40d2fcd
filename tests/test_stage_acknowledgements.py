"""The relay's record of what the broker answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import monotonic_ns
from latbench.control import Done, FromStage, Ready
from latbench.plan import RelayPlan
from latbench.recording import ACKS, RELAY, RINGS_OF_STAGE, AckCounter
from latbench.stages import kafka_confluent, relay
from latbench.stages.kafka import NO_SEQ, Delivery
from latbench.stages.relay import Acknowledgements
from tests.cli import wait_until
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

NO_ANSWER = -1
TIMED_OUT = "Local: Message timed out"


class AckBench:
    """The taker of acknowledgements and all around it."""

    def __init__(self, rows: int = 1 << 14) -> None:
        self.ring = TwoEndedRing(ACKS, rows)
        self.supervisor = ListeningSupervisor()
        self.acks = Acknowledgements(
            self.ring.writer, self.supervisor.as_supervisor(), queue_messages=64
        )

    def answer(self, *answers: Answer) -> None:
        """All of them at once; one alone as lists, the plain way."""
        errors = [answer.error for answer in answers]
        told = errors if any(errors) else ()
        seqs = [answer.seq for answer in answers]
        partitions = [answer.partition for answer in answers]
        offsets = [answer.offset for answer in answers]
        if len(answers) == 1:
            self.acks.on_delivery(Delivery(seqs, told, partitions, offsets))
        else:
            arrays = np.array(seqs), np.array(partitions), np.array(offsets)
            self.acks.on_delivery(Delivery(arrays[0], told, *arrays[1:]))


class Answer(NamedTuple):
    seq: int
    offset: int = NO_ANSWER
    error: str | None = None
    partition: int = 2


def test_an_acknowledgement_is_one_row() -> None:
    bench = AckBench()
    bench.acks.expect(7, 1234)
    before_ns = monotonic_ns()
    bench.answer(Answer(7, offset=17))
    (row,) = bench.ring.rows()
    assert before_ns <= row.pop("acked_ns") <= monotonic_ns()
    assert row == {"seq": 7, "relay_out_ns": 1234, "partition": 2, "offset": 17}
    assert not any(bench.ring.counts())


def test_failed_deliveries_are_counted_and_the_first_are_told() -> None:
    bench = AckBench()
    for seq in range(5):
        bench.answer(Answer(seq, error=TIMED_OUT))
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.DELIVERY_ERRORS) == sum(bench.ring.counts()) == 5
    assert bench.supervisor.said == [
        f"tick {seq} was not delivered: {TIMED_OUT}" for seq in range(3)
    ]


def test_where_no_answer_was_asked_for_none_is_recorded() -> None:
    bench = AckBench()
    bench.answer(Answer(7))
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.UNANSWERED) == 1


def test_answers_to_another_runs_ticks_are_no_concern_of_ours() -> None:
    bench = AckBench()
    bench.answer(Answer(NO_SEQ, offset=3), Answer(NO_SEQ), Answer(NO_SEQ, error=TIMED_OUT))
    assert bench.ring.rows() == []
    assert not any(bench.ring.counts())
    assert bench.supervisor.said == []


@pytest.mark.parametrize("base", [0, 10**12, 2**63 - 200])
def test_a_tick_is_known_until_the_queue_was_full_after_it(base: int) -> None:
    bench = AckBench()
    for i in range(64):
        bench.acks.expect(base + i, 1000 + i)
    bench.acks.expect_many(np.arange(base + 64, base + 128), 5000)
    bench.answer(*(Answer(base + i, offset=i) for i in range(128)))
    rows = bench.ring.rows()
    assert [row["seq"] - base for row in rows] == list(range(128))
    assert [row["relay_out_ns"] for row in rows] == [*range(1000, 1064), *[5000] * 64]


ANSWERS = st.builds(
    Answer,
    seq=st.integers(0, 60) | st.just(NO_SEQ),
    offset=st.integers(0, 10**9) | st.just(NO_ANSWER),
    error=st.none() | st.just(TIMED_OUT),
    partition=st.integers(0, 3),
)


GOOD = st.builds(
    Answer,
    seq=st.integers(0, 60),
    offset=st.integers(0, 10**9),
    error=st.none(),
    partition=st.integers(0, 3),
)


@given(st.lists(GOOD, min_size=1, max_size=60) | st.lists(GOOD | ANSWERS, min_size=1, max_size=60))
def test_many_answers_at_once_give_what_they_give_one_by_one(answers: list[Answer]) -> None:
    together, one_by_one = AckBench(64), AckBench(64)
    for bench in (together, one_by_one):
        for seq in range(61):
            bench.acks.expect(seq, 1000 + seq)
    with mock.patch.object(relay, "monotonic_ns", return_value=7777):
        together.answer(*answers)
        for answer in answers:
            one_by_one.answer(answer)
    rows = together.ring.rows()
    assert rows == one_by_one.ring.rows()
    assert together.ring.counts() == one_by_one.ring.counts()
    assert together.supervisor.said == one_by_one.supervisor.said
    assert all(row["relay_out_ns"] == 1000 + row["seq"] for row in rows)
    ours = [answer for answer in answers if answer.seq != NO_SEQ]
    delivered = [answer for answer in ours if answer.error is None]
    answered = [answer.seq for answer in delivered if answer.offset != NO_ANSWER]
    assert [row["seq"] for row in rows] == answered
    assert together.ring.count(AckCounter.DELIVERY_ERRORS) == len(ours) - len(delivered)
    assert together.ring.count(AckCounter.UNANSWERED) == len(delivered) - len(answered)


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
    monkeypatch.setattr(kafka_confluent, "Producer", SlowProducer)
    rings = {name: TwoEndedRing(name).writer for name in RINGS_OF_STAGE[RELAY]}
    plan = RelayPlan(
        run_id=RUN_ID,
        host="127.0.0.1",
        port=0,
        ws_engine="picows",
        kafka_client="confluent-kafka",
        topic="ticks",
        producer={},
    )
    supervisor = StoppingSupervisor()
    relay.run(plan, supervisor.as_supervisor(), rings)
    (producer,) = made
    assert "stats_cb" in producer.properties
    assert producer.threads_at_flush
    assert "acks" not in producer.threads_at_flush
    assert isinstance(supervisor.heard[-1], Done)
