"""Recorded ticks through a real Kafka: each arrives, in order, with not a byte of it changed."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latbench.config import WS_ENGINES
from tests.captures import MESSAGES, STAMPS_NS, SYMBOLS, write_capture
from tests.cli import Finished, run_latbench
from tests.kafka import KafkaServer
from tests.runs import Record, Row, check_messages, check_whole, read_rows, read_topic

REAL_CAPTURE = Path(__file__).parents[3] / "shared" / "data" / "coinbase-2021-04-17.ws"

each_engine = pytest.mark.parametrize("engine", WS_ENGINES)


class Replayer:
    """Replays files to a topic of its own."""

    def __init__(self, kafka: KafkaServer, topic: str, directory: Path) -> None:
        self._kafka = kafka
        self._topic = topic
        self._directory = directory
        self.path = directory / "run.parquet"

    def run(self, source: Path, *more: object) -> Finished:
        where = ("--broker", self._kafka.bootstrap, "--topic", self._topic)
        what = ("--source", source, "--warmup", "0", "--drain-timeout", "2s", "--json", *more)
        return run_latbench("run", *where, *what, "--output", self.path, cwd=self._directory)

    def records(self) -> list[Record]:
        return read_topic(self._kafka.bootstrap, self._topic)

    def checked(self, run: Finished) -> tuple[list[Row], list[Record]]:
        """Rows and messages of a run that lost nothing; both in the order of sending."""
        rows, records = check_whole(self.path, run), self.records()
        check_messages(rows, records)
        assert [record.stamps["seq"] for record in records] == list(range(len(rows)))
        assert run.result["counts"]["reordered"] == 0
        return rows, records


@pytest.fixture
def replayer(kafka: KafkaServer, kafka_topic: str, tmp_path: Path) -> Replayer:
    return Replayer(kafka, kafka_topic, tmp_path)


def check_carried(records: list[Record], messages: list[bytes]) -> None:
    """Each message was carried byte for byte; only members were added behind its own."""
    assert len(records) == len(messages)
    for record, message in zip(records, messages, strict=True):
        assert record.value.startswith(message[:-1] + b',"latbench":{')
        assert record.document == json.loads(message)


def check_pace(rows: list[Row], unix_ns: list[int], speed: int) -> None:
    """Ticks are due as they were recorded, `speed` times as fast."""
    first_ns = rows[0]["due_ns"]
    running_ns = itertools.accumulate(unix_ns, max)
    assert [row["due_ns"] - first_ns for row in rows] == [
        (stamp_ns - unix_ns[0]) // speed for stamp_ns in running_ns
    ]


@each_engine
def test_a_capture_arrives_byte_for_byte(engine: str, replayer: Replayer, tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "small.ws")
    run = replayer.run(capture, "--speed", "10", "--ws-engine", engine)
    rows, records = replayer.checked(run)
    check_carried(records, list(MESSAGES))
    check_pace(rows, list(STAMPS_NS), 10)
    assert [row["symbol"] or "" for row in rows] == list(SYMBOLS)
    assert run.findings["source-skipped"]["values"] == {"count": 4}


@pytest.mark.skipif(not REAL_CAPTURE.exists(), reason="the real capture is not here")
@each_engine
def test_the_real_capture_arrives_byte_for_byte(engine: str, replayer: Replayer) -> None:
    lines = re.findall(rb"^(\d+)\.?(\d*): (\{.*\})$", REAL_CAPTURE.read_bytes(), re.MULTILINE)
    assert len(lines) > 9_000
    rows, records = replayer.checked(
        replayer.run(REAL_CAPTURE, "--speed", "10", "--ws-engine", engine)
    )
    check_carried(records, [message for _, _, message in lines])
    check_pace(rows, [int(second + part[:9].ljust(9, b"0")) for second, part, _ in lines], 10)


CSV_HEADER = "timestamp,symbol,price,volume,bid,ask,bid_size,ask_size"
Tick = tuple[float, str, float, int, float, float, int, int]
TICKS: list[Tick] = [
    (
        1_700_000_000 + i / 64,
        ("TCS", "NIFTY")[i % 2],
        100 + i / 4,
        i,
        99.5,
        100.75,
        i * 2,
        7,
    )
    for i in range(120)
]

UNIX_NS = [1_700_000_000_000_000_000 + i * 15_625_000 for i in range(120)]


def documents() -> list[dict[str, Any]]:
    return [dict(zip(CSV_HEADER.split(","), tick, strict=True)) for tick in TICKS]


def test_a_csv_file_is_replayed(replayer: Replayer, tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    lines = [CSV_HEADER, *(",".join(map(str, tick)) for tick in TICKS)]
    path.write_text("\n".join(lines) + "\n")
    rows, records = replayer.checked(replayer.run(path, "--speed", "5"))
    assert [record.document for record in records] == documents()
    check_pace(rows, UNIX_NS, 5)


def test_a_parquet_file_is_replayed(replayer: Replayer, tmp_path: Path) -> None:
    path = tmp_path / "ticks.parquet"
    pq.write_table(pa.Table.from_pylist(documents()), path)
    rows, records = replayer.checked(replayer.run(path, "--speed", "5"))
    assert [record.document for record in records] == documents()
    check_pace(rows, UNIX_NS, 5)


def test_a_loop_begins_again_until_the_duration_is_over(replayer: Replayer, tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "small.ws")
    run = replayer.run(capture, "--speed", "10", "--loop", "--duration", "1")
    rows, records = replayer.checked(run)
    assert len(rows) > 5 * len(MESSAGES)
    rounds = itertools.cycle(MESSAGES)
    check_carried(records, list(itertools.islice(rounds, len(records))))
    assert 0.8e9 < rows[-1]["due_ns"] - rows[0]["due_ns"] < 1e9


def test_at_full_speed_every_tick_is_due_when_it_is_sent(
    replayer: Replayer, tmp_path: Path
) -> None:
    capture = write_capture(tmp_path / "small.ws")
    run = replayer.run(capture, "--speed", "max", "--loop", "--duration", "0.5")
    rows, records = replayer.checked(run)
    assert len(rows) > 1_000
    assert all(row["due_ns"] == row["sent_ns"] for row in rows)
    assert rows[-1]["sent_ns"] - rows[0]["sent_ns"] < 0.7e9
    check_carried(records[: len(MESSAGES)], list(MESSAGES))
    assert run.findings["no-schedule"]["severity"] == "info"
    assert run.result["target_rate_hz"] == 0


def test_a_message_too_large_for_the_producer_is_lost_and_named(
    replayer: Replayer, tmp_path: Path
) -> None:
    large = b'{"product_id":"SKL-GBP","note":"%b"}' % (b"x" * 3_000)
    lines = [b"1618677817.%d: " % i + (large if i == 4 else MESSAGES[2]) for i in range(10)]
    capture = write_capture(tmp_path / "large.ws", lines)
    run = replayer.run(capture, "--producer", "message.max.bytes=2000")
    assert run.code == 4, run.talk
    assert run.findings["ticks-lost"]["severity"] == "invalid"
    assert run.findings["ticks-lost"]["values"] == {"lost": 1, "sent": 10}
    assert run.findings["delivery-errors"]["values"] == {"count": 1}
    assert "the producer refused tick 4: " in run.stderr
    rows, records = read_rows(replayer.path), replayer.records()
    lost = rows.pop(4)
    assert lost["relay_in_ns"] is not None
    assert {lost[name] for name in ("acked_ns", "consumed_ns", "partition", "offset")} == {None}
    check_messages(rows, records)
    assert [record.stamps["seq"] for record in records] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
