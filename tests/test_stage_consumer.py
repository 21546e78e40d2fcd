"""The consumer's recorder: which messages of a topic are ticks of this run, each counted once."""

from __future__ import annotations

import itertools
import json
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from latbench.recording import CONSUMER, ConsumerCounter
from latbench.stages import consumer
from latbench.stages.consumer import Recorder
from tests.stages import RUN_ID, ListeningSupervisor, TwoEndedRing

ROUND = consumer._SEEN_TICKS


class FakeMessage:
    """A record of a topic, or an error event of the client."""

    def __init__(
        self,
        value: bytes | None,
        key: bytes | None = b"TCS",
        error: KafkaError | None = None,
        place: tuple[int, int] = (0, 0),
    ) -> None:
        self._content = (value, key, error)
        self._place = place

    def value(self) -> bytes | None:
        return self._content[0]

    def key(self) -> bytes | None:
        return self._content[1]

    def error(self) -> KafkaError | None:
        return self._content[2]

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


def tick(seq: int, **stamps: Any) -> bytes:
    """A relay's message."""
    member = {
        "run": RUN_ID,
        "seq": seq,
        "due_ns": 100,
        "sent_ns": 110,
        "relay_in_ns": 130,
        "relay_out_ns": 135,
    }
    return json.dumps({"symbol": "TCS", "latbench": member | stamps, "latency_t1": 0.1}).encode()


class Bench:
    """A recorder and all around it."""

    def __init__(self) -> None:
        self.ring = TwoEndedRing(CONSUMER)
        self.supervisor = ListeningSupervisor()
        self.recorder = Recorder(RUN_ID, self.ring.writer, self.supervisor.as_supervisor())

    def take(self, *messages: FakeMessage) -> None:
        for message in messages:
            self.recorder.take(cast("Message", message), 150)

    def take_ticks(self, *numbers: int, key: bytes | None = b"TCS") -> None:
        self.take(*(FakeMessage(tick(seq), key) for seq in numbers))

    def recorded(self) -> list[int]:
        return [row["seq"] for row in self.ring.rows()]

    def counted(self) -> dict[str, int]:
        """The counters that are not zero."""
        counts = {counter.name: self.ring.count(counter) for counter in ConsumerCounter}
        return {name: count for name, count in counts.items() if count}


def test_a_tick_is_one_row_of_its_stamps_and_its_place() -> None:
    bench = Bench()
    bench.take(FakeMessage(tick(5), place=(3, 41)))
    assert bench.ring.rows() == [
        {
            "seq": 5,
            "due_ns": 100,
            "sent_ns": 110,
            "relay_in_ns": 130,
            "relay_out_ns": 135,
            "consumed_ns": 150,
            "partition": 3,
            "offset": 41,
        }
    ]
    assert not bench.counted()


def test_a_tick_that_comes_again_is_a_duplicate_and_no_second_row() -> None:
    bench = Bench()
    bench.take_ticks(0, 1, 1, 2, 0, 1)
    assert bench.recorded() == [0, 1, 2]
    assert bench.counted() == {"DUPLICATES": 3}


@pytest.mark.parametrize("later", [1, 1000, ROUND // 2, ROUND - 1])
def test_a_duplicate_is_known_as_one_millions_of_ticks_later(later: int) -> None:
    bench = Bench()
    bench.take_ticks(0, later, 0, later)
    assert bench.recorded() == [0, later]
    assert bench.counted() == {"DUPLICATES": 2}


@pytest.mark.parametrize("earlier", [ROUND, 3 * ROUND, 254 * ROUND])
def test_a_tick_that_is_millions_of_ticks_late_is_no_duplicate(earlier: int) -> None:
    """Its partition stood still, for one: at 200,000/s that is 20 s."""
    bench = Bench()
    bench.take_ticks(earlier + 5, 5)
    assert bench.recorded() == [earlier + 5, 5]
    assert bench.counted() == {"REORDERED": 1}


def test_no_tick_of_a_billion_is_taken_for_one_that_shares_its_place() -> None:
    bench = Bench()
    numbers = [17 + turn * ROUND for turn in range(600)]
    bench.take_ticks(*numbers)
    assert bench.recorded() == numbers
    assert not bench.counted()


@given(st.permutations(range(24)), st.lists(st.integers(0, 2), min_size=24, max_size=24))
def test_a_tick_after_a_later_one_of_its_key_is_reordered(order: list[int], ids: list[int]) -> None:
    bench = BENCH
    already = bench.ring.count(ConsumerCounter.REORDERED)
    base = next(BASES)  # each example goes on where the last ended
    latest = dict.fromkeys((None, b"TCS", b"NIFTY"), -1)
    expected = 0
    for place in order:
        key = (None, b"TCS", b"NIFTY")[ids[place]]
        # without a key a tick goes to any partition: there is no order to keep
        expected += key is not None and place < latest[key]
        latest[key] = max(latest[key], place)
        bench.take_ticks(base + place, key=key)
    assert bench.recorded() == [base + place for place in order]
    assert bench.ring.count(ConsumerCounter.REORDERED) - already == expected


BENCH = Bench()
"""One for all examples: its memory takes 10 ms to map."""
BASES = itertools.count(0, 24)


def test_a_duplicate_is_not_reordered_besides() -> None:
    bench = Bench()
    bench.take_ticks(4, 5, 4)
    assert bench.counted() == {"DUPLICATES": 1}


NO_TICKS = {
    "a tombstone": None,
    "nothing": b"",
    "no JSON": b"hello",
    "another type": b"[1]",
    "no stamps": b'{"symbol":"TCS"}',
    "another run": tick(1, run="0badcafe"),
    "not relayed": b'{"latbench":{"run":"5f1c09ab","seq":1,"due_ns":1,"sent_ns":2}}',
    "a stamp below zero": tick(1, relay_out_ns=-1),
    "below zero": tick(-1),
    "no whole number": tick(1, due_ns=1.5),
    "a number that no ring holds": tick(2**63),
    "a stamp that no ring holds": tick(1, due_ns=-(2**63) - 1),
    "no UTF-8": tick(1).replace(RUN_ID.encode(), b"\xff\xfe"),
    "too deep": b'{"a":' * 100_000,
    "cut off": tick(1)[:-1],
}


@pytest.mark.parametrize("name", NO_TICKS)
def test_a_message_that_is_no_tick_of_this_run_is_counted_as_unknown(name: str) -> None:
    bench = Bench()
    bench.take(FakeMessage(NO_TICKS[name]))
    assert bench.counted() == {"UNKNOWN": 1}
    assert bench.recorded() == []
    bench.take_ticks(0, 1)
    assert bench.recorded() == [0, 1]


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: tick(1)[:-1] + junk))
def test_no_junk_ends_the_consumer(junk: bytes) -> None:
    BENCH.take(FakeMessage(junk))
    BENCH.ring.rows()


def test_errors_of_the_client_are_counted_and_the_first_are_told() -> None:
    bench = Bench()
    event = FakeMessage(None, None, KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers down"))
    bench.take(*[event] * 5)
    bench.take_ticks(0)
    assert bench.counted() == {"ERRORS": 5}
    assert bench.recorded() == [0]
    assert bench.supervisor.said == ["the consumer reports: 1/1 brokers down"] * 3
