"""The relay's record of what the broker answers."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.batch.ticks import MOST, WAITING, RelayBatch
from latbench.clock import monotonic_ns
from latbench.control import Done, FromStage, Ready
from latbench.plan import RelayPlan
from latbench.recording import ACKS, RELAY, RINGS_OF_STAGE, AckCounter
from latbench.stages import kafka_confluent, librdkafka, relay
from latbench.stages.kafka import NO_SEQ, Delivery
from latbench.stages.relay import Acknowledgements
from tests.cli import wait_until
from tests.messages import Content, MadeMessages
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

NO_ANSWER = -1
TIMED_OUT = "Local: Message timed out"
TIMED_OUT_CODE = -192

both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


class AckBench:
    """The taker of acknowledgements and all around it."""

    def __init__(self, rows: int = 1 << 14, *, compiled: bool = False) -> None:
        self.ring = TwoEndedRing(ACKS, rows)
        self.supervisor = ListeningSupervisor()
        self.batch = RelayBatch(RUN_ID, 0) if compiled else None
        self.acks = Acknowledgements(
            self.ring.writer, self.supervisor.as_supervisor(), queue_messages=64, batch=self.batch
        )

    def answer(self, *answers: Answer) -> int:
        """All of them at once; how many by way of the batch."""
        done = 0
        if self.batch is not None:
            messages = [
                Content(
                    seq=answer.seq,
                    offset=answer.offset,
                    error=0 if answer.error is None else TIMED_OUT_CODE,
                    partition=answer.partition,
                )
                for answer in answers
            ]
            MadeMessages(messages).put_into(self.batch)
            done = self.acks.on_answers(len(answers))
        if rest := answers[done:]:
            errors = [answer.error for answer in rest]
            self.acks.on_delivery(
                Delivery(
                    [answer.seq for answer in rest],
                    errors if any(errors) else (),
                    [answer.partition for answer in rest],
                    [answer.offset for answer in rest],
                )
            )
        return done


class Answer(NamedTuple):
    seq: int
    offset: int = NO_ANSWER
    error: str | None = None
    partition: int = 2


@both_ways
def test_an_acknowledgement_is_one_row(compiled: bool) -> None:
    bench = AckBench(compiled=compiled)
    bench.acks.expect(7, 1234)
    before_ns = monotonic_ns()
    bench.answer(Answer(7, offset=17))
    (row,) = bench.ring.rows()
    assert before_ns <= row.pop("acked_ns") <= monotonic_ns()
    assert row == {"seq": 7, "relay_out_ns": 1234, "partition": 2, "offset": 17}
    assert not any(bench.ring.counts())


@both_ways
def test_failed_deliveries_are_counted_and_the_first_are_told(compiled: bool) -> None:
    bench = AckBench(compiled=compiled)
    for seq in range(5):
        bench.answer(Answer(seq, error=TIMED_OUT))
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.DELIVERY_ERRORS) == sum(bench.ring.counts()) == 5
    assert bench.supervisor.said == [
        f"tick {seq} was not delivered: {TIMED_OUT}" for seq in range(3)
    ]


@both_ways
def test_where_no_answer_was_asked_for_none_is_recorded(compiled: bool) -> None:
    bench = AckBench(compiled=compiled)
    bench.answer(Answer(7))
    assert bench.ring.rows() == []
    assert bench.ring.count(AckCounter.UNANSWERED) == 1


@both_ways
def test_answers_to_another_runs_ticks_are_no_concern_of_ours(compiled: bool) -> None:
    bench = AckBench(compiled=compiled)
    bench.answer(Answer(NO_SEQ, offset=3), Answer(NO_SEQ), Answer(NO_SEQ, error=TIMED_OUT))
    assert bench.ring.rows() == []
    assert not any(bench.ring.counts())
    assert bench.supervisor.said == []


@both_ways
@pytest.mark.parametrize("base", [0, 10**12, 10**16 - 200])
def test_a_tick_is_known_until_the_queue_was_full_after_it(base: int, compiled: bool) -> None:
    bench = AckBench(compiled=compiled)
    for i in range(128):
        bench.acks.expect(base + i, 1000 + i)
    bench.answer(*(Answer(base + i, offset=i) for i in range(128)))
    rows = bench.ring.rows()
    assert [row["seq"] - base for row in rows] == list(range(128))
    assert [row["relay_out_ns"] for row in rows] == list(range(1000, 1128))


def test_as_many_ticks_as_a_queue_holds_wait_for_their_answers() -> None:
    bench = AckBench(compiled=True)
    last = WAITING + 6
    for seq in (7, WAITING // 2, last):
        bench.acks.expect(seq, seq * 3)
    assert bench.answer(Answer(7, offset=1), Answer(last, offset=2)) == 2
    assert [row["relay_out_ns"] for row in bench.ring.rows()] == [7 * 3, last * 3]


@pytest.mark.parametrize("seq", [0, 2**62, 2**63 - 1])
def test_any_number_that_a_row_holds_is_answered(seq: int) -> None:
    bench = AckBench(compiled=True)
    bench.acks.expect(seq, 1234)
    bench.answer(Answer(seq, offset=2**62, partition=2**31 - 1))
    (row,) = bench.ring.rows()
    assert (row["seq"], row["relay_out_ns"]) == (seq, 1234)
    assert (row["offset"], row["partition"]) == (2**62, 2**31 - 1)


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
    benches = [AckBench(64), AckBench(64, compiled=True), AckBench(64)]
    told = [io.StringIO() for _ in benches]
    with mock.patch.object(relay, "monotonic_ns", return_value=7777):
        for bench, errors in zip(benches, told, strict=True):
            for seq in range(61):
                bench.acks.expect(seq, 1000 + seq)
            with contextlib.redirect_stderr(errors):
                if bench is benches[2]:
                    for answer in answers:
                        bench.answer(answer)
                else:
                    by_batch = bench.answer(*answers)
    together, compiled, one_by_one = benches
    rows = one_by_one.ring.rows()
    for bench, errors in zip((together, compiled), told, strict=False):
        assert bench.ring.rows() == rows
        assert bench.ring.counts() == one_by_one.ring.counts()
        assert bench.supervisor.said == one_by_one.supervisor.said
        assert errors.getvalue() == told[2].getvalue()
    assert all(row["relay_out_ns"] == 1000 + row["seq"] for row in rows)
    good = [a.seq != NO_SEQ and a.error is None and a.offset != NO_ANSWER for a in answers]
    assert by_batch == (good.index(False) if False in good else len(good))
    ours = [answer for answer in answers if answer.seq != NO_SEQ]
    delivered = [answer for answer in ours if answer.error is None]
    answered = [answer.seq for answer in delivered if answer.offset != NO_ANSWER]
    assert [row["seq"] for row in rows] == answered
    assert together.ring.count(AckCounter.DELIVERY_ERRORS) == len(ours) - len(delivered)
    assert together.ring.count(AckCounter.UNANSWERED) == len(delivered) - len(answered)


def test_a_whole_batch_of_answers_is_recorded_at_once() -> None:
    bench = AckBench(compiled=True)
    assert bench.answer(*(Answer(seq, offset=seq) for seq in range(MOST))) == MOST
    assert [row["seq"] for row in bench.ring.rows()] == list(range(MOST))


def test_a_code_of_librdkafka_has_its_words() -> None:
    assert librdkafka.error_text(TIMED_OUT_CODE) == TIMED_OUT


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
