"""What must hold of every run, told from its result file and from the topic, read independently."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from confluent_kafka import Consumer, Message, TopicPartition

from latbench.recording import COLUMNS
from latbench.rowfile import RowFile
from latbench.spool import spool_path
from tests.cli import Finished, wait_until

PARTS = (
    ("due_ns", "sent_ns"),
    ("sent_ns", "relay_in_ns"),
    ("relay_in_ns", "relay_out_ns"),
    ("relay_out_ns", "consumed_ns"),
)
ADDED = {"latbench", "latency_t1", "latency_t2"}

Row = dict[str, Any]


def recorded(path: Path, ring: str) -> int:
    """How many rows of a ring are on disk by now, of the run that makes the result file `path`."""
    return len(RowFile(spool_path(path), ring, len(COLUMNS[ring])))


@dataclasses.dataclass(frozen=True)
class Record:
    """A message of a topic."""

    value: bytes
    key: bytes | None
    partition: int
    offset: int

    @property
    def content(self) -> dict[str, Any]:
        """The JSON object."""
        content = json.loads(self.value)
        assert isinstance(content, dict)
        return content

    @property
    def stamps(self) -> dict[str, Any]:
        """Its member `latbench`."""
        stamps = self.content["latbench"]
        assert isinstance(stamps, dict)
        return stamps

    @property
    def document(self) -> dict[str, Any]:
        """What it was before latbench."""
        return {name: value for name, value in self.content.items() if name not in ADDED}


def read_rows(path: Path) -> list[Row]:
    """All rows of a result file."""
    rows = pq.read_table(path).to_pylist()
    assert isinstance(rows, list)
    return rows


def check_whole(path: Path, run: Finished | None = None, *, acknowledged: bool = True) -> list[Row]:
    """A run that lost nothing: every row is complete, adds up exactly and goes forward in time."""
    if run is not None:
        assert run.code == 0, run.talk
    rows = read_rows(path)
    assert rows
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    may_be_null = {"symbol"} if acknowledged else {"symbol", "acked_ns"}
    for row in rows:
        assert None not in {row[name] for name in row.keys() - may_be_null}, row
        parts = [row[end] - row[start] for start, end in PARTS]
        assert sum(parts) == row["consumed_ns"] - row["due_ns"]
        assert min(parts) >= 0, row
        assert not acknowledged or row["acked_ns"] >= row["relay_out_ns"], row
    assert all(a["due_ns"] <= b["due_ns"] for a, b in itertools.pairwise(rows))
    offsets = defaultdict(list)
    for row in rows:
        offsets[row["partition"]].append(row["offset"])
    for of_partition in offsets.values():
        first = min(of_partition)
        assert sorted(of_partition) == list(range(first, first + len(of_partition)))
    return rows


def check_messages(rows: list[Row], records: list[Record]) -> None:
    """The messages of a run tell the same stamps as its rows, and lie where the rows say."""
    assert len(records) == len(rows)
    by_place = {(record.partition, record.offset): record for record in records}
    for row in rows:
        record = by_place[row["partition"], row["offset"]]
        content, stamps = record.content, record.stamps
        for name in ("seq", "due_ns", "sent_ns", "relay_in_ns", "relay_out_ns"):
            assert stamps[name] == row[name]
        assert round(content["latency_t1"] * 1e6) == row["relay_in_ns"] - row["sent_ns"]
        assert round(content["latency_t2"] * 1e6) == row["relay_out_ns"] - row["relay_in_ns"]
        symbol = content.get("symbol", content.get("product_id"))
        assert symbol == row["symbol"]
        assert record.key == (None if symbol is None else symbol.encode())


def read_topic(bootstrap: str, topic: str, partitions: int = 1) -> list[Record]:
    """All messages of a topic, partition by partition in order of their offsets."""
    client = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False}
    )
    try:
        places = [TopicPartition(topic, number, 0) for number in range(partitions)]
        ends = [client.get_watermark_offsets(place, timeout=10)[1] for place in places]
        client.assign(places)
        records: list[Record] = []

        def complete() -> bool:
            records.extend(map(_record, client.consume(10_000, 0.05)))
            return len(records) >= sum(ends)

        wait_until(complete, 20, f"{sum(ends)} messages of {topic}")
    finally:
        client.close()
    assert len(records) == sum(ends)
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _record(message: Message) -> Record:
    assert message.error() is None, message.error()
    value, key = message.value(), message.key()
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Record(
        value=b"" if value is None else bytes(value),  # type: ignore[arg-type]
        key=key,  # type: ignore[arg-type]
        partition=partition,
        offset=offset,
    )
