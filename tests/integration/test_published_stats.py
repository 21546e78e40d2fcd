"""The topics beside the ticks', read by a client that is none of latbench's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hdrh.histogram import HdrHistogram

from latbench.store import read_result
from tests.cli import run_latbench
from tests.kafka import KafkaServer
from tests.runs import read_topic

SCHEMAS = Path(__file__).parent.parent.parent / "docs" / "schema"


def validator(topic: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        json.loads((SCHEMAS / f"{topic}.schema.json").read_text())
    )


def records_of(kafka: KafkaServer, topic: str, run_id: str) -> list[dict[str, Any]]:
    """What a run has published on a topic, each record valid."""
    found = []
    for each in read_topic(kafka.bootstrap, topic):
        record = json.loads(each.value)
        validator(topic).validate(record)
        if record["run"] == run_id:
            found.append(record)
    return found


@pytest.mark.parametrize("subscribers", [0, 5])
def test_each_second_is_published_and_seconds_add_up_to_the_run(
    subscribers: int, kafka: KafkaServer, kafka_topic: str, tmp_path: Path
) -> None:
    run = run_latbench(
        "run", "--broker", kafka.bootstrap, "--topic", kafka_topic, "--tick-rate", 300,
        "--warmup", 0, "--duration", 3, "--publish-stats", "--subscribers", subscribers,
        "--output", "p.parquet", cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0, run.talk
    result = read_result(tmp_path / "p.parquet")
    latencies = records_of(kafka, "latency-stats", result.run_id)
    added: dict[str, HdrHistogram] = {}
    for record in latencies:
        assert 0 < record["interval_ns"] < 10 * 10**9
        histogram = HdrHistogram.decode(record["histogram"])
        assert histogram.get_total_count() == record["count"]
        total = added.setdefault(record["hop"], HdrHistogram(1, 86_400_000_000_000, 3))
        total.add(histogram)
    for hop in ("schedule", "websocket", "relay", "kafka", "end_to_end", "ack", "service"):
        told = result.hop(hop)
        assert added[hop].get_total_count() == told.count == 900
        p50 = told.percentiles_ns["p50"]
        assert p50 is not None
        assert added[hop].get_value_at_percentile(50) == pytest.approx(p50, rel=0.01, abs=5)
    assert ("fanout" in added) == bool(subscribers)
    if subscribers:
        assert added["fanout"].get_total_count() == 900 * subscribers
    health = records_of(kafka, "system-health", result.run_id)
    assert len(health) >= 3
    for record in health:
        stages = {stage["stage"] for stage in record["stages"]}
        assert {"supervisor", "generator", "relay", "consumer"} <= stages
    assert health[-1]["sent"] == health[-1]["consumed"] == 900
    assert {record["subscribers"] for record in health} == {subscribers}
    assert max(record["connections"] for record in health) == 1 + subscribers


def test_on_the_embedded_broker_it_is_published_as_well(tmp_path: Path) -> None:
    run = run_latbench(
        "run", "--tick-rate", 100, "--warmup", 0, "--duration", 1, "--publish-stats",
        "--output", "p.parquet", cwd=tmp_path,
    )  # fmt: skip
    assert run.code == 0, run.talk
    assert not read_result(tmp_path / "p.parquet").said
