from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from latbench.broker import consumer_properties, mock_bootstrap, producer_properties
from latbench.client_statistics import INTERVAL_MS, consumer_row, fold, producer_row
from latbench.config import RunConfig
from latbench.recording import COLUMNS, CONSUMER_STATISTICS, PRODUCER_STATISTICS
from latbench.ring import Rows
from tests.cli import wait_until
from tests.rows import empty_rows

AT_NS = 81_234_567_890_123
CONFIG = RunConfig(producer={"statistics.interval.ms": "50", "linger.ms": "5"})

Row = dict[str, int]


def producer_dict(document: object) -> Row:
    row = producer_row(msgspec.json.encode(document).decode(), AT_NS)
    return dict(zip(COLUMNS[PRODUCER_STATISTICS], row, strict=True))


def consumer_dict(document: object) -> Row:
    row = consumer_row(msgspec.json.encode(document).decode(), AT_NS)
    return dict(zip(COLUMNS[CONSUMER_STATISTICS], row, strict=True))


def window(sum_: int, count: int, greatest: int) -> dict[str, int]:
    """A window as librdkafka writes it; what it has besides is of no interest."""
    return {"min": 1, "max": greatest, "avg": 7, "sum": sum_, "cnt": count, "p99": 8, "hdrsize": 9}


BROKER_1 = {
    "int_latency": window(1000, 10, 300),
    "outbuf_latency": window(2000, 20, 400),
    "rtt": window(3000, 30, 500),
    "throttle": window(4, 40, 2),
}
BROKER_2 = {
    "int_latency": window(5000, 50, 200),
    "outbuf_latency": window(0, 0, 12345),  # left over from the window before
    "rtt": window(60, 1, 60),
    "throttle": window(0, 2, 0),
}
TOPICS = {
    "ticks": {"batchsize": window(9000, 30, 900), "batchcnt": window(45, 30, 3)},
    "other": {"batchsize": window(100, 1, 100), "batchcnt": window(2, 1, 2)},
}
NOTHING = {name: 0 for name in COLUMNS[PRODUCER_STATISTICS] if name != "at_ns"}


def test_a_producers_document_is_the_sum_over_brokers_and_topics() -> None:
    document = {"brokers": {"a/1": BROKER_1, "b/2": BROKER_2}, "topics": TOPICS, "ts": 1}
    assert producer_dict(document) == {
        "at_ns": AT_NS,
        "queue_sum_us": 6000, "queue_count": 60, "queue_max_us": 300,
        "send_sum_us": 2000, "send_count": 20, "send_max_us": 400,
        "ack_sum_us": 3060, "ack_count": 31, "ack_max_us": 500,
        # librdkafka has these in milliseconds
        "throttle_sum_us": 4000, "throttle_count": 42, "throttle_max_us": 2000,
        "batches": 31, "batch_messages": 47, "batch_bytes": 9100,
    }  # fmt: skip


def test_a_consumers_document_is_the_sum_over_brokers() -> None:
    document = {"brokers": {"a/1": BROKER_1, "b/2": BROKER_2}, "topics": {"ticks": {}}}
    assert consumer_dict(document) == {
        "at_ns": AT_NS, "fetch_sum_us": 3060, "fetch_count": 31, "fetch_max_us": 500
    }  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [{}, {"brokers": {}, "topics": {}}, {"brokers": {"a": {}}, "topics": {"t": {}}}, {"x": [1]}],
)
def test_a_document_without_windows_counts_nothing(document: dict[str, Any]) -> None:
    assert producer_dict(document) == {"at_ns": AT_NS, **NOTHING}
    assert consumer_dict(document)["fetch_count"] == 0


# --- real clients -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """librdkafka's mock cluster."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "x:1", "log_level": 0})
    yield mock_bootstrap(cluster)
    cluster.close()


def test_a_real_producers_documents_tell_how_long_messages_waited_in_it(bootstrap: str) -> None:
    documents: list[str] = []
    producer = Producer({**producer_properties(CONFIG, bootstrap), "stats_cb": documents.append})
    delivered = []
    for number in range(40):
        producer.produce("ticks", b"x" * 100, on_delivery=lambda error, _: delivered.append(error))
        if number % 4 == 3:
            wait_until(lambda: producer.poll(0.01) and len(delivered) % 4 == 0, what="answers")

    def columns() -> Row:
        rows = np.array([producer_row(each, AT_NS) for each in documents], dtype=np.int64)
        return dict(zip(COLUMNS[PRODUCER_STATISTICS], rows.sum(axis=0).tolist(), strict=True))

    def all_told() -> bool:
        producer.poll(0.05)
        return bool(documents) and columns()["queue_count"] >= 40

    wait_until(all_told, what="documents with all messages")
    producer.close()
    assert delivered == [None] * 40
    told = columns()
    assert told["queue_count"] == told["batch_messages"] == 40
    assert 1 <= told["batches"] <= 40
    assert told["batch_bytes"] > 40 * 100
    # linger is 5 ms, and a stalled machine makes it longer only
    assert 1000 * told["queue_count"] < told["queue_sum_us"] < 10_000_000 * told["queue_count"]
    assert told["ack_count"] >= told["batches"]
    assert told["ack_sum_us"] > 0
    assert told["send_count"] >= told["batches"]
    assert told["throttle_sum_us"] == 0


def test_a_real_consumers_documents_tell_how_long_its_fetches_took(bootstrap: str) -> None:
    documents: list[str] = []
    config = RunConfig(consumer={"statistics.interval.ms": "50", "fetch.wait.max.ms": "20"})
    properties = consumer_properties(config, bootstrap)
    consumer = Consumer({**properties, "stats_cb": documents.append})
    consumer.assign([TopicPartition("ticks", 0, 0)])

    def fetched() -> bool:
        consumer.poll(0.05)
        rows = [consumer_row(each, time.monotonic_ns()) for each in documents]
        return sum(row[2] for row in rows) >= 5 and max(row[3] for row in rows) > 10_000

    # an empty fetch waits for 20 ms
    wait_until(fetched, what="five answers")
    consumer.close()


def test_both_clients_are_asked_for_a_document_a_second() -> None:
    assert producer_properties(RunConfig(), "x:1")["statistics.interval.ms"] == INTERVAL_MS
    assert consumer_properties(RunConfig(), "x:1")["statistics.interval.ms"] == INTERVAL_MS


# --- figures ----------------------------------------------------------------------------------

small = st.integers(0, 10**9)
PRODUCED = st.lists(
    st.tuples(*[small] * (len(COLUMNS[PRODUCER_STATISTICS]) - 1)), min_size=1, max_size=6
)
FETCHED = st.lists(st.tuples(*[small] * 3), max_size=6)
NO_FETCHES = empty_rows(CONSUMER_STATISTICS)


def table(ring: str, rows: list[tuple[int, ...]]) -> Rows:
    timed = [(AT_NS + number, *row) for number, row in enumerate(rows)]
    return np.array(timed, dtype=np.int64).reshape(-1, len(COLUMNS[ring]))


@given(PRODUCED, FETCHED)
def test_figures_are_exact_means_and_the_greatest_maxima(
    produced: list[tuple[int, ...]], fetched: list[tuple[int, ...]]
) -> None:
    figures = fold(table(PRODUCER_STATISTICS, produced), table(CONSUMER_STATISTICS, fetched))
    assert figures is not None
    for place, name in enumerate(("queue", "send", "ack", "throttle")):
        sums, counts, greatest = np.array(produced)[:, 3 * place : 3 * place + 3].T.tolist()
        mean_ns = getattr(figures, f"{name}_mean_ns")
        if sum(counts):
            assert mean_ns == sum(sums) * 1000 / sum(counts)
            assert getattr(figures, f"{name}_max_ns") == max(greatest) * 1000
        else:
            assert (mean_ns, getattr(figures, f"{name}_max_ns")) == (None, None)
    batches, messages, size = (sum(row[place] for row in produced) for place in (12, 13, 14))
    assert figures.batches == batches
    assert figures.batch_messages == (messages / batches if batches else None)
    assert figures.batch_bytes == (size / batches if batches else None)
    fetches = sum(row[1] for row in fetched)
    expected = sum(row[0] for row in fetched) * 1000 / fetches if fetches else None
    assert figures.fetch_mean_ns == expected


def test_where_nothing_was_counted_nothing_is_known() -> None:
    figures = fold(table(PRODUCER_STATISTICS, [(0,) * 15]), NO_FETCHES)
    assert figures is not None
    assert figures.batches == 0
    others = {name: getattr(figures, name) for name in figures.__struct_fields__}
    assert {value for name, value in others.items() if name != "batches"} == {None}


def test_without_a_document_there_are_no_figures() -> None:
    assert fold(empty_rows(PRODUCER_STATISTICS), NO_FETCHES) is None
    only_consumer = fold(empty_rows(PRODUCER_STATISTICS), table(CONSUMER_STATISTICS, [(9, 3, 5)]))
    assert only_consumer is not None
    assert (only_consumer.fetch_mean_ns, only_consumer.queue_mean_ns) == (3000, None)
