"""`latbench run` against a real Kafka, the topic read by a consumer that is none of latbench's."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import pytest
from confluent_kafka import Producer

from latbench.clock import NS_PER_S
from latbench.config import WS_ENGINES
from tests.cli import SHORT, Finished, report, run_latbench, start_latbench, wait_until
from tests.kafka import KafkaServer
from tests.runs import Record, Row, check_messages, check_whole, read_rows, read_topic


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is over."""

    path: Path
    finished: Finished
    records: list[Record]


@pytest.fixture(scope="module", params=WS_ENGINES)
def a_run(
    request: pytest.FixtureRequest, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    directory = tmp_path_factory.mktemp(f"kafka-{request.param}")
    path, topic = directory / "run.parquet", f"ticks-{directory.name}"
    options = ("--duration", "2", "--warmup", "0.5", "--drain-timeout", "2s", "--output", path)
    broker = ("--broker", kafka.bootstrap, "--topic", topic, "--ws-engine", request.param)
    finished = run_latbench("run", *options, *broker, cwd=directory)
    return Run(path, finished, read_topic(kafka.bootstrap, topic))


def test_no_tick_is_lost_and_every_row_adds_up(a_run: Run) -> None:
    rows = check_whole(a_run.path, a_run.finished)
    assert len(rows) == 2500
    assert sum(row["warmup"] for row in rows) == 500
    assert "none lost" in a_run.finished.stdout


def test_ticks_are_due_as_the_rate_says(a_run: Run) -> None:
    rows = read_rows(a_run.path)
    first_ns = rows[0]["due_ns"]
    assert [row["due_ns"] - first_ns for row in rows] == [i * 1_000_000 for i in range(2500)]


def test_each_message_tells_what_its_row_tells(a_run: Run) -> None:
    check_messages(read_rows(a_run.path), a_run.records)


def test_the_report_of_the_file_is_the_report_of_the_run(a_run: Run) -> None:
    told = report(a_run.path, cwd=a_run.path.parent)
    assert told.code == 0
    assert told.stdout == a_run.finished.stdout
    assert told.stderr == ""


def test_nothing_but_the_file_is_left(a_run: Run) -> None:
    assert [path.name for path in a_run.path.parent.iterdir()] == ["run.parquet"]


def arguments(kafka: KafkaServer, topic: str, path: Path) -> tuple[object, ...]:
    return ("run", *SHORT, "--broker", kafka.bootstrap, "--topic", topic, "--output", path)


def test_over_three_partitions_each_symbol_keeps_its_order(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    symbols = ",".join(f"S{number}" for number in range(12))
    more = ("--partitions", "3", "--symbols", symbols, "--tick-rate", "3000", "--json")
    run = run_latbench(*arguments(kafka, kafka_topic, path), *more, cwd=tmp_path)
    rows = check_whole(path, run)
    records = read_topic(kafka.bootstrap, kafka_topic, 3)
    check_messages(rows, records)
    assert run.result["broker"]["partitions"] == 3
    assert run.result["counts"]["reordered"] == 0
    assert {record.partition for record in records} == {0, 1, 2}
    places_of_key, sequence_of_key = defaultdict(set), defaultdict(list)
    for record in records:
        places_of_key[record.key].add(record.partition)
        sequence_of_key[record.key].append(record.stamps["seq"])
    assert len(places_of_key) == 12
    assert all(len(places) == 1 for places in places_of_key.values())
    assert all(numbers == sorted(numbers) for numbers in sequence_of_key.values())


def test_runs_on_one_topic_do_not_see_each_others_ticks(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    ids: list[str] = []
    all_rows: list[list[Row]] = []
    for number in range(2):
        path = tmp_path / f"{number}.parquet"
        run = run_latbench(*arguments(kafka, kafka_topic, path), "--json", cwd=tmp_path)
        all_rows.append(check_whole(path, run))
        ids.append(run.result["run_id"])
        assert run.result["counts"]["unknown"] == 0
        assert run.result["counts"]["duplicates"] == 0
    records = read_topic(kafka.bootstrap, kafka_topic)
    assert len(records) == sum(map(len, all_rows))
    for run_id, rows in zip(ids, all_rows, strict=True):
        check_messages(rows, [record for record in records if record.stamps["run"] == run_id])


def check_whole_but_offsets(path: Path) -> list[Row]:
    """Between a run's messages on a shared topic there are others."""
    rows = read_rows(path)
    assert all(row["consumed_ns"] is not None for row in rows)
    return rows


def test_without_acknowledgements_all_else_is_measured(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    more = ("--acks", "0", "--json")
    run = run_latbench(*arguments(kafka, kafka_topic, path), *more, cwd=tmp_path)
    rows = check_whole(path, run, acknowledged=False)
    assert {row["acked_ns"] for row in rows} == {None}
    assert run.result["counts"]["acked"] == 0
    assert len(rows) == run.result["counts"]["consumed"] == 1200
    check_messages(rows, read_topic(kafka.bootstrap, kafka_topic))


FOREIGN = {
    "garbage": b"garbage",
    "empty": b"",
    "tombstone": None,
    "binary": bytes(range(256)),
    "JSON": b'{"symbol":"TCS","price":1}',
    "another run": b'{"latbench":{"run":"0badcafe","seq":1,"due_ns":1,"sent_ns":2,'
    b'"relay_in_ns":3,"relay_out_ns":4}}',
    "no UTF-8": b'{"latbench":{"run":"\xff","seq":1,"due_ns":1,"sent_ns":2}}',
    "too deep": b'{"a":' * 100_000,
}


def test_foreign_messages_on_the_topic_are_counted_and_not_fatal(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    with start_latbench(*arguments(kafka, kafka_topic, path), "--json", cwd=tmp_path) as background:
        background.wait_for_phase("measuring")
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
        for value in FOREIGN.values():
            producer.produce(kafka_topic, value, b"foreign")
        assert producer.flush(5) == 0
        producer.close()
        run = background.finish()
    assert run.code == 0, run.talk
    assert run.result["counts"]["unknown"] == len(FOREIGN)
    assert run.findings["unknown-messages"]["severity"] == "warning"
    assert run.result["counts"]["lost"] == 0
    assert len(check_whole_but_offsets(path)) == 1200


def test_a_full_producer_queue_holds_ticks_up_and_loses_none(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    queue = ("--producer", "queue.buffering.max.messages=50", "--linger", "10")
    more = (*queue, "--tick-rate", "10000", "--json")
    run = run_latbench(*arguments(kafka, kafka_topic, path), *more, cwd=tmp_path)
    rows = check_whole(path, run)
    assert len(rows) == 12_000
    counts = run.result["counts"]
    assert run.findings["relay-backpressure"]["values"]["times"] == counts["relay_backpressure"] > 0
    assert counts["relay_backpressure_ns"] > NS_PER_S // 10
    check_messages(rows, read_topic(kafka.bootstrap, kafka_topic))


def test_a_broker_that_stands_still_shows_as_latency_and_loses_nothing(
    kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    with start_latbench(*arguments(kafka, kafka_topic, path), "--json", cwd=tmp_path) as background:
        background.wait_for_phase("measuring")
        kafka.pause()
        try:
            consumer_log = path.with_name(path.name + ".partial") / "consumer.rows"
            sizes = [-1]

            def stands_still() -> bool:
                sizes.append(consumer_log.stat().st_size)
                return len(sizes) > 60 and sizes[-1] == sizes[-40]

            wait_until(stands_still)
        finally:
            kafka.resume()
        run = background.finish()
    rows = check_whole(path, run)
    assert len(rows) == 1200
    slowest_ns = max(row["consumed_ns"] - row["due_ns"] for row in rows)
    assert slowest_ns > NS_PER_S // 3
    # every tick that was due meanwhile waited its share: the schedule did not wait with the broker
    assert sum(row["consumed_ns"] - row["due_ns"] > slowest_ns // 2 for row in rows) > 100
    assert max(row["sent_ns"] - row["due_ns"] for row in rows) < slowest_ns // 2
