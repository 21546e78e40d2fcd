"""Records of a run's seconds, and the schemas that they are published with."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from latbench.analysis import summarise
from latbench.histogram import Histogram
from latbench.publishing import HealthRecord, LatencyRecord, draw_schema
from latbench.result import StageSnapshot

SCHEMAS = Path(__file__).parent.parent / "docs" / "schema"
PUBLISHED = {
    "latency-stats.schema.json": LatencyRecord,
    "system-health.schema.json": HealthRecord,
}


def latency() -> LatencyRecord:
    histogram = Histogram()
    histogram.record(np.arange(1, 1001, dtype=np.int64))
    summary = summarise("kafka", histogram, 10**9)
    return LatencyRecord(
        run="5f1c09ab", hop="kafka", from_unix_ns=1, interval_ns=10**9, count=summary.count,
        rate_hz=summary.rate_hz, min_ns=summary.min_ns, mean_ns=summary.mean_ns,
        stdev_ns=summary.stdev_ns, max_ns=summary.max_ns, percentiles_ns=summary.percentiles_ns,
        histogram=histogram.encode(),
    )  # fmt: skip


def health() -> HealthRecord:
    return HealthRecord(
        run="5f1c09ab", unix_ns=1, phase="measuring",
        stages=(StageSnapshot(stage="relay", pid=1, state="running", cpu_share=0.5),),
        queues={"relay": 0, "in_flight": 3}, connections=1, subscribers=0, sent=5, consumed=2,
        lost=0, errors=0, last_error="",
    )  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schema_is_that_of_what_is_written(name: str) -> None:
    """Rewritten by: python -c 'from latbench.publishing import *; print(draw_schema(…))'."""
    assert (SCHEMAS / name).read_text() == draw_schema(PUBLISHED[name]) + "\n"


@pytest.mark.parametrize(
    ("name", "record"),
    [("latency-stats.schema.json", latency()), ("system-health.schema.json", health())],
)
def test_records_are_valid_by_their_schema(name: str, record: msgspec.Struct) -> None:
    validator = jsonschema.Draft202012Validator(msgspec.json.decode((SCHEMAS / name).read_bytes()))
    told = msgspec.json.decode(msgspec.json.encode(record))
    validator.validate(told)
    del told["run"]
    assert not validator.is_valid(told)
