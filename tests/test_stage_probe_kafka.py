"""The floor's way through a broker, on librdkafka's mock cluster within this process."""

from __future__ import annotations

import statistics
import struct
import threading
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka import Producer

from latbench.broker import consumer_properties, mock_bootstrap, prepare_topic, producer_properties
from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.config import RunConfig
from latbench.errors import LatbenchError
from latbench.plan import ProbePlan
from latbench.stages import bare_kafka
from latbench.stages.bare_kafka import KafkaPing
from tests.stages import RUN_ID

CONFIG = RunConfig(topic="floor")
SAMPLES = 40


@pytest.fixture(scope="module")
def plan() -> Iterator[ProbePlan]:
    """For a topic that is there."""
    cluster = Producer(
        {"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    )
    bootstrap = mock_bootstrap(cluster)
    prepare_topic(CONFIG, bootstrap)
    yield ProbePlan(
        run_id=RUN_ID,
        tcp_address=("", 0),
        ws_address=("", 0),
        ws_engine="",
        topic=CONFIG.topic,
        producer=producer_properties(CONFIG, bootstrap),
        consumer=consumer_properties(CONFIG, bootstrap),
        samples=SAMPLES,
        interval_ns=NS_PER_MS,
    )
    cluster.close()


def going_on() -> bool:
    return False


def test_each_message_is_acknowledged_and_comes_back(plan: ProbePlan) -> None:
    ping = KafkaPing(plan, going_on)
    begun_ns = monotonic_ns()
    ping.run()
    took_ns = monotonic_ns() - begun_ns
    assert len(ping.acks_ns) == len(ping.consumes_ns) == SAMPLES
    assert min(ping.acks_ns) > 0
    assert statistics.median(ping.acks_ns) < statistics.median(ping.consumes_ns)
    # one at a time, at its own deadline
    assert took_ns > sum(ping.consumes_ns)
    assert took_ns > (SAMPLES - 1) * plan.interval_ns


def test_only_its_own_messages_count(plan: ProbePlan) -> None:
    ended = threading.Event()

    def disturb() -> None:
        stranger = Producer({"bootstrap.servers": plan.producer["bootstrap.servers"]})
        others = [b"", b"short", struct.pack("=8sq", b"another!", 1) + b"x" * 300]
        while not ended.wait(0.001):
            for value in [*others, None]:
                stranger.produce(plan.topic, value, partition=0)
            stranger.poll(0)
        stranger.close()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        ping = KafkaPing(plan, going_on)
        ping.run()
    finally:
        ended.set()
        thread.join()
    assert len(ping.consumes_ns) == SAMPLES
    assert max(ping.consumes_ns) < 10**10  # the strangers' stamps are of another clock


def test_without_answers_there_are_no_acknowledgements(plan: ProbePlan) -> None:
    silent = msgspec.structs.replace(plan, producer={**plan.producer, "acks": "0"})
    ping = KafkaPing(silent, going_on)
    ping.run()
    assert ping.acks_ns == []
    assert len(ping.consumes_ns) == SAMPLES


def test_a_broker_slower_than_the_pace_gets_fewer(
    plan: ProbePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare_kafka, "_LONGEST_AT_LEAST_NS", 0)
    many = msgspec.structs.replace(plan, samples=10_000, interval_ns=20_000)
    ping = KafkaPing(many, going_on)
    begun_ns = monotonic_ns()
    ping.run()
    assert 0 < len(ping.consumes_ns) < 10_000
    assert monotonic_ns() - begun_ns < 5 * 10**9


def test_it_ends_when_it_is_told_to(plan: ProbePlan) -> None:
    turns = iter([False] * 20 + [True])
    ping = KafkaPing(plan, lambda: next(turns))
    ping.run()
    assert 0 < len(ping.acks_ns) <= 20


def test_a_message_that_does_not_come_back_is_told(
    plan: ProbePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare_kafka, "_PATIENCE_NS", 50 * NS_PER_MS)
    monkeypatch.setattr(KafkaPing, "_consume", lambda _self, _consumer: None)
    with pytest.raises(LatbenchError, match="a message of the floor has not come back") as told:
        KafkaPing(plan, going_on).run()
    assert told.value.hint == "they go to topic floor: look at the broker"


@pytest.mark.parametrize(
    "properties", [{"message.max.bytes": 1000, "message.timeout.ms": 1, "linger.ms": 0.5}]
)
def test_a_message_that_is_given_up_is_told(
    plan: ProbePlan, properties: dict[str, int | float]
) -> None:
    ours = {k: v for k, v in plan.producer.items() if k not in {"delivery.timeout.ms", "linger.ms"}}
    refused = msgspec.structs.replace(plan, producer={**ours, **properties})
    with pytest.raises(LatbenchError, match="the broker does not take the floor's messages"):
        KafkaPing(refused, going_on).run()
