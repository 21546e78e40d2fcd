"""Both Kafka clients against librdkafka's mock cluster: what one does the other does as well."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
import pytest
from confluent_kafka import Producer

from latbench.batch.ticks import MOST
from latbench.broker import mock_bootstrap
from latbench.client_statistics import consumer_row, producer_row
from latbench.errors import LatbenchError
from latbench.stages.kafka import NO_SEQ, QueueFullError, RefusedError
from latbench.stages.kafka_direct_consumer import HeldFew
from latbench.stages.librdkafka import MAX_RECORD_BYTES
from latbench.tick import sent_suffix_format, splice_relayed
from tests.cli import until
from tests.clients import (
    BY_BATCH,
    PARTITIONS,
    WAYS,
    Reading,
    Sending,
    by_every_client,
    in_every_way,
    keys_of,
    read,
    send,
    send_values,
    texts,
)
from tests.messages import take_texts
from tests.stages import RUN_ID


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A mock cluster within this process."""
    cluster = Producer(
        {"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    )
    yield mock_bootstrap(cluster)
    del cluster


@pytest.fixture
def topic() -> str:
    return f"ticks-{uuid.uuid4().hex[:12]}"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- producing --------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [None, 1, 3])
def test_all_ways_send_the_same(bootstrap: str, topic: str, partitions: int | None) -> None:
    values, keys = texts(500), keys_of(500)
    found = {}
    for way in WAYS:
        name = f"{topic}-{way.replace(' ', '-')}"

        async def work(sending: Sending) -> None:
            await sending.produce_all(values, keys)
            await until(lambda: sending.answered == 500)

        sent = send(way, bootstrap, name, work, partitions)
        assert not sent.errors
        assert sorted(sent.places) == list(range(500))
        records = read("confluent-kafka", bootstrap, name, 500).records
        for seq, place in sent.places.items():
            assert records[place] == values[seq]
            if partitions is not None:
                assert place[0] == crc32(keys[seq].encode()) % partitions
        found[way] = sent.places
    # what has one key lies in one partition in the order of handing over
    assert found["librdkafka"] == found["confluent-kafka"] == found[BY_BATCH]


def test_only_the_fast_client_takes_batches(bootstrap: str, topic: str) -> None:
    async def work(sending: Sending) -> None:
        assert not hasattr(sending.producer, "produce_batch")

    send("confluent-kafka", bootstrap, topic, work)


def sent_ticks(symbols: Sequence[str], moment_ns: int) -> list[bytes]:
    """A generator's messages."""
    suffix = sent_suffix_format(RUN_ID)
    return [
        b'{"timestamp":1732470000.123456,"symbol":"%b","price":1.5' % symbol.encode()
        + suffix % (seq, moment_ns, moment_ns)
        for seq, symbol in enumerate(symbols)
    ]


@pytest.mark.parametrize("partitions", [None, 1, 3])
def test_what_a_batch_makes_of_frames_is_what_arrives(
    bootstrap: str, topic: str, partitions: int | None
) -> None:
    symbols = [f"SYMBOL{seq % 7}" for seq in range(200)]
    ticks = sent_ticks(symbols, 1_000_000)
    values = [splice_relayed(tick, 1_000_000, 1_500_000, 1_600_000) for tick in ticks]

    async def plainly(sending: Sending) -> None:
        await sending.produce_all(values, symbols)
        await until(lambda: sending.answered == 200)

    async def by_batch(sending: Sending) -> None:
        batch = sending._batch
        assert batch.relay(0, take_texts(batch, ticks), 1_500_000, 1_600_000) == 200
        assert sending._bulk is not None
        assert sending._bulk.produce_batch(200) == (200, [])
        await until(lambda: sending.answered == 200)

    expected = send("librdkafka", bootstrap, f"{topic}-plain", plainly, partitions)
    sent = send(BY_BATCH, bootstrap, f"{topic}-batch", by_batch, partitions)
    assert sent.places == expected.places
    assert sorted(sent.batched) == list(range(200))
    records = read("confluent-kafka", bootstrap, f"{topic}-batch", 200).records
    assert {seq: records[place] for seq, place in sent.places.items()} == dict(enumerate(values))


@in_every_way
def test_a_message_bears_its_key_and_none_where_it_is_empty(
    bootstrap: str, topic: str, way: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce(b"0", "", 0)
        sending.producer.produce(b"1", "₹", 1)
        assert sending.produce(texts(2, 1), ["₹", "TCS"], 2) == (2, [])

    sent = send(way, bootstrap, topic, work)
    assert len(sent.places) == 4
    assert sent.places[0][0] == crc32(b"") % PARTITIONS
    reading = Reading("confluent-kafka", bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    keys: list[bytes | None] = []
    plain = reading.consumer._consumer  # type: ignore[attr-defined]
    while len(keys) < 4:
        keys += [message.key() for message in plain.consume(4, 0.1)]
    reading.consumer.close()
    assert sorted(key or b"" for key in keys) == [b"", b"TCS", *["₹".encode()] * 2]
    assert None in keys


@in_every_way
def test_what_nobody_wants_to_hear_of_is_sent_all_the_same(
    bootstrap: str, topic: str, way: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.producer.produce(b"theirs", "TCS", NO_SEQ)
        sending.producer.produce(b"ours", "TCS", 7)
        assert sending.produce([b"ours"] * 10, ["TCS"] * 10, 10) == (10, [])

    sent = send(way, bootstrap, topic, work)
    assert sorted(seq for seq in sent.places if seq != NO_SEQ) == [7, *range(10, 20)]
    assert set(read("librdkafka", bootstrap, topic, 12).records.values()) == {b"theirs", b"ours"}


@in_every_way
def test_a_full_queue_keeps_the_order_and_loses_nothing(
    bootstrap: str, topic: str, way: str
) -> None:
    values = texts(95)

    async def work(sending: Sending) -> None:
        await sending.produce_all(values, ["TCS"] * 95)
        await until(lambda: sending.answered == 95)

    sent = send(
        way, bootstrap, topic, work, queue_buffering_max_messages=10, linger_ms=2,
        max_in_flight=1,
    )  # fmt: skip
    partition = crc32(b"TCS") % PARTITIONS
    assert sent.places == {seq: (partition, seq) for seq in range(95)}
    records = read("librdkafka", bootstrap, topic, 95).records
    assert list(records.values()) == values


@in_every_way
@pytest.mark.parametrize("partitions", [None, 1, PARTITIONS])
def test_a_full_queue_takes_as_many_as_it_has_room_for(
    bootstrap: str, topic: str, way: str, partitions: int | None
) -> None:
    async def work(sending: Sending) -> None:
        # nothing is sent before the loop gets its turn, and not for a second
        assert sending.produce(texts(25), ["TCS"] * 25) == (10, [])
        assert sending.produce(texts(3), ["TCS"] * 3, 10) == (0, [])
        with pytest.raises(QueueFullError):
            sending.producer.produce(b"x", "TCS", 10)

    sent = send(
        way, bootstrap, topic, work, partitions, queue_buffering_max_messages=10, linger_ms=300
    )  # fmt: skip
    assert sorted(sent.places) == list(range(10))


@in_every_way
@pytest.mark.parametrize("partitions", [None, 1, PARTITIONS])
def test_what_is_too_large_is_refused_with_the_reason(
    bootstrap: str, topic: str, way: str, partitions: int | None
) -> None:
    async def work(sending: Sending) -> None:
        with pytest.raises(RefusedError, match="Message size too large"):
            sending.producer.produce(b"x" * 3000, "TCS", 0)
        sizes = (3000, 100, 3000, 3000, 100)
        taken, refused = sending.produce([b"x" * size for size in sizes], ["TCS"] * 5, 1)
        assert taken == 5
        assert [i for i, _ in refused] == [0, 2, 3]
        assert all("Message size too large" in why for _, why in refused)
        sending.producer.produce(b"x" * 100, "TCS", 7)

    sent = send(way, bootstrap, topic, work, partitions, message_max_bytes=2000)
    assert sorted(sent.places) == [2, 5, 7]


@in_every_way
def test_those_refused_before_the_queue_was_full_are_told(
    bootstrap: str, topic: str, way: str
) -> None:
    async def work(sending: Sending) -> None:
        values = [b"x" * (3000 if i % 2 else 100) for i in range(40)]
        taken, refused = sending.produce(values, ["TCS"] * 40)
        assert taken == 20  # as the eleventh that fits finds no room
        assert [i for i, _ in refused] == list(range(1, 20, 2))

    sent = send(
        way, bootstrap, topic, work, queue_buffering_max_messages=10, linger_ms=300,
        message_max_bytes=2000,
    )  # fmt: skip
    assert sorted(sent.places) == list(range(0, 20, 2))


@in_every_way
def test_a_partition_that_is_not_there_is_an_error_of_its_messages_alone(
    bootstrap: str, topic: str, way: str
) -> None:
    keys = [f"K{i}" for i in range(40)]
    beyond = {i for i, key in enumerate(keys) if crc32(key.encode()) % 9 >= PARTITIONS}
    assert 0 < len(beyond) < 40

    async def work(sending: Sending) -> None:
        # nobody knows the topic yet: all are taken, and some of them come back. Where it becomes
        # known meanwhile the rest is refused.
        taken, refused = sending.produce(texts(40), keys)
        assert taken == 40
        await until(lambda: sending.answered == 40 - len(refused))
        assert sending.errors.keys() | {i for i, _ in refused} == beyond
        assert set(sending.errors.values()) <= {"Local: Unknown partition"}
        told = sending.errors
        taken, refused = sending.produce(texts(40), keys, 40)
        assert taken == 40
        assert {i for i, _ in refused} == beyond
        assert all("Local: Unknown partition" in why for _, why in refused)
        await until(lambda: sending.answered == 40 + len(told) + 40 - 2 * len(beyond))
        assert sending.errors == told

    send(way, bootstrap, topic, work, partitions=9)


@in_every_way
def test_without_a_broker_messages_are_given_up(topic: str, way: str) -> None:
    async def work(sending: Sending) -> None:
        assert sending.produce(texts(30), ["TCS"] * 30) == (30, [])
        sending.producer.produce(b"x", "TCS", 30)
        await until(lambda: sending.answered == 31)

    sent = send(way, "127.0.0.1:1", topic, work, delivery_timeout_ms=50)
    assert sent.errors == dict.fromkeys(range(31), "Local: Message timed out")


@in_every_way
def test_without_acknowledgements_there_is_no_offset(bootstrap: str, topic: str, way: str) -> None:
    async def work(sending: Sending) -> None:
        sending.produce(texts(30), ["TCS"] * 30)
        await until(lambda: sending.answered == 30)

    sent = send(way, bootstrap, topic, work, acks=0)
    assert not sent.errors
    assert [offset for _, offset in sent.places.values()] == [-1] * 30
    assert len(read("librdkafka", bootstrap, topic, 30).records) == 30


@in_every_way
def test_closing_delivers_what_is_left_and_leaves_nothing_open(
    bootstrap: str, topic: str, way: str
) -> None:
    descriptors = [0, 0]

    async def work(sending: Sending) -> None:
        descriptors[0] = open_descriptors()
        assert sending.produce(texts(2000), keys_of(2000)) == (2000, [])

    for turn in range(2):  # the first turn opens what stays open (the loop's threads, and so on)
        sent = send(way, bootstrap, f"{topic}-{turn}", work, linger_ms=100)
        assert sorted(sent.places) == list(range(2000))
    assert open_descriptors() < descriptors[0]


def test_more_answers_than_a_batch_holds_come_by_it_one_after_the_other(
    bootstrap: str, topic: str
) -> None:
    async def work(sending: Sending) -> None:
        sending.produce(texts(3000), ["TCS"] * 3000)
        await until(lambda: sending.answered == 3000)

    # one request of all of them, and so one answer
    sent = send(BY_BATCH, bootstrap, topic, work, 1, linger_ms=100, batch_num_messages=3000)
    assert sent.places == {seq: (0, seq) for seq in range(3000)}
    assert sent.batched == list(range(3000))
    assert sent.most_at_once == MOST


def test_answers_that_are_no_rows_part_those_that_are(bootstrap: str, topic: str) -> None:
    """Another run's tick, whose answer nobody wants, among those of this one."""
    answers: list[int] = []

    async def work(sending: Sending) -> None:
        sending.produce(texts(300), ["TCS"] * 300)
        sending.producer.produce(b"theirs", "TCS", NO_SEQ)
        sending.produce(texts(300), ["TCS"] * 300, 300)
        await until(lambda: sending.answered == 601)
        answers.extend(seq for each in sending.deliveries for seq in each.seqs)

    sent = send(BY_BATCH, bootstrap, topic, work, 1, linger_ms=100)
    assert answers == [*range(300), NO_SEQ, *range(300, 600)]
    assert sent.batched[:300] == list(range(300))
    assert sent.places == {seq: (0, seq + (seq >= 300)) for seq in range(600)} | {NO_SEQ: (0, 300)}


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_a_few_answers_are_read_as_many_are(bootstrap: str, topic: str, count: int) -> None:
    async def work(sending: Sending) -> None:
        sending.produce(texts(count), ["TCS"] * count)
        await until(lambda: sending.answered == count)

    sent = send(BY_BATCH, bootstrap, topic, work, 1, linger_ms=20)
    assert sent.batched == list(range(count))
    assert sent.places == {seq: (0, seq) for seq in range(count)}


@in_every_way
def test_a_producers_statistics_come_again_and_again(bootstrap: str, topic: str, way: str) -> None:
    async def work(sending: Sending) -> None:
        sending.produce(texts(30), ["TCS"] * 30)
        await until(lambda: len(sending.statistics) >= 3)

    sent = send(way, bootstrap, topic, work, statistics_interval_ms=50)
    rows = np.array([producer_row(document, 0) for document in sent.statistics])
    assert json.loads(sent.statistics[0])["type"] == "producer"
    batches, messages = rows[:, -3].sum(), rows[:, -2].sum()
    assert 1 <= batches <= messages == 30


# --- consuming --------------------------------------------------------------------------------

MIXES: Final[dict[str, list[bytes | None]]] = {
    "alike": [b"%5d" % i for i in range(3000)],
    "one": [b"x"],
    "of many lengths": [b"x" * (i * 7 % 300 + 1) for i in range(1500)],
    "longer than an end": [b"%5d" % i + b"x" * (i * 7 % 300 + 236) for i in range(1500)],
    "some without an end": [b"x" * (i % 40 * 7 + 1) + b"y" * 230 for i in range(1500)],
    "some tombstones": [None if i == 700 else b"%400d" % i for i in range(1500)],
    "tombstones": [None if i % 3 == 0 else b"%5d" % i for i in range(100)],
    "nothing but tombstones": [None] * 50,
    "empty": [b""] * 50,
    "empty ones between": [b"" if i % 7 == 0 else b"x" * i for i in range(100)],
    "as large as a record": [bytes([i]) * MAX_RECORD_BYTES for i in range(50)],
    "larger than a record": [bytes([i]) * (MAX_RECORD_BYTES + 1) for i in range(50)],
    "large": [bytes([i]) * 300_000 for i in range(3)],
}


@by_every_client
@pytest.mark.parametrize("mix", MIXES)
def test_a_consumer_gives_each_record_once_and_in_order(
    bootstrap: str, topic: str, client: str, mix: str
) -> None:
    values = MIXES[mix]
    send_values(bootstrap, topic, values, partition=2)
    reading = read(client, bootstrap, topic, len(values))
    assert reading.records == {(2, offset): value for offset, value in enumerate(values)}
    assert not any(batch.errors for batch in reading.batches)


@by_every_client
def test_a_consumer_begins_where_each_partition_ends(
    bootstrap: str, topic: str, client: str
) -> None:
    for partition in range(PARTITIONS):
        send_values(bootstrap, topic, [b"before"] * (10 * partition), partition)
    reading = Reading(client, bootstrap)
    ends = reading.consumer.ends(topic, PARTITIONS)
    assert ends == [0, 10, 20, 30]
    reading.consumer.assign(topic, ends)
    for partition in range(PARTITIONS):
        send_values(bootstrap, topic, [b"after"] * 5, partition)
    reading.until(lambda: reading.count >= 4 * 5)
    assert reading.records == {
        (partition, ends[partition] + i): b"after" for partition in range(PARTITIONS)
        for i in range(5)
    }  # fmt: skip
    reading.consumer.close()


@by_every_client
def test_an_end_that_can_not_be_read_is_told(bootstrap: str, topic: str, client: str) -> None:
    send_values(bootstrap, topic, [b"x"])
    reading = Reading(client, bootstrap)
    with pytest.raises(LatbenchError, match=rf"end of partition 4 of {topic} can't be read"):
        reading.consumer.ends(topic, PARTITIONS + 1)
    reading.consumer.close()


@by_every_client
def test_nothing_comes_of_an_empty_topic(bootstrap: str, topic: str, client: str) -> None:
    reading = Reading(client, bootstrap)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    assert reading.consumer.wait(0.05) is None
    assert reading.consumer.wait(0) is None
    assert reading.consumer.more() is None
    reading.consumer.close()


@by_every_client
def test_an_error_is_told_and_the_reading_goes_on(bootstrap: str, topic: str, client: str) -> None:
    send_values(bootstrap, topic, [b"x"] * 40)
    reading = Reading(client, bootstrap, auto_offset_reset="error")
    reading.consumer.assign(topic, [0, 1000, 0, 0])  # the second has no such offset

    def errors() -> list[str]:
        return [error for batch in reading.batches for error in batch.errors]

    reading.until(lambda: bool(errors()) and reading.count >= 40 + len(errors()))
    reading.consumer.close()
    assert "out of range" in errors()[0]
    values = [value for batch in reading.batches for value in batch.values]
    assert values.count(b"x") == 40
    assert values.count(None) == len(errors())


@by_every_client
def test_a_consumers_statistics_come_again_and_again(
    bootstrap: str, topic: str, client: str
) -> None:
    send_values(bootstrap, topic, [b"x"] * 40)
    reading = Reading(client, bootstrap, statistics_interval_ms=50)
    reading.consumer.assign(topic, [0] * PARTITIONS)
    reading.until(lambda: len(reading.statistics) >= 3)
    reading.consumer.close()
    assert json.loads(reading.statistics[0])["type"] == "consumer"
    assert any(consumer_row(document, 0)[2] for document in reading.statistics)


# --- what librdkafka refuses ------------------------------------------------------------------


@by_every_client
def test_a_property_that_is_none_ends_the_stage_with_its_name(topic: str, client: str) -> None:
    async def nothing(_: Sending) -> None:
        raise AssertionError("there is no producer")

    with pytest.raises(Exception, match=r"no\.property"):
        send(client, "127.0.0.1:1", topic, nothing, no_property=1)
    with pytest.raises(Exception, match=r"no\.property"):
        Reading(client, "127.0.0.1:1", no_property=1)


def test_nothing_of_a_message_is_read_before_it_is_asked_for() -> None:
    """Else the consumer's copying would count as Kafka's: *consumed* is stamped in between."""
    assert len(HeldFew([1, 2])) == 2  # there is nothing at such addresses: reading ends the process
