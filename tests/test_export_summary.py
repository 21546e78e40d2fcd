"""The summary as JSON and its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from latbench.export.summary import SCHEMA_DIALECT, draw_json, draw_schema
from latbench.result import Finding, RunResult
from tests.cli import Caller
from tests.results import SCHEMA_1, make_floor, make_result
from tests.stored import LOST, write_run

PUBLISHED = Path(__file__).parent.parent / "docs" / "schema" / "result.schema.json"

RESULTS = {
    "quiet": make_result(),
    "schema 1": make_result(**SCHEMA_1),
    "floor": make_result(floor=make_floor()),
    "findings": make_result(
        findings=(
            Finding(code="ticks-lost", values={"lost": 12, "sent": 1_510_000}, allowed=True),
            Finding(code="of-a-later-version"),
        ),
        tail=None,
        lost_ranges=((7, 9), (11, 11)),
        lost_range_count=2,
    ),
}


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text()))


def test_the_published_schema_is_that_of_what_is_written() -> None:
    command = "latbench export --schema > docs/schema/result.schema.json"
    assert PUBLISHED.read_text() == draw_schema() + "\n", f"{command} rewrites it"


def test_it_is_a_schema() -> None:
    schema = json.loads(PUBLISHED.read_text())
    assert schema["$schema"] == SCHEMA_DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_written_is_valid(name: str) -> None:
    validator().validate(json.loads(draw_json(RESULTS[name], "run.parquet")))


def _members(summary: dict[str, Any]) -> set[str]:
    return set(summary)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_every_member_that_is_written_is_in_the_schema(result: RunResult) -> None:
    schema = json.loads(PUBLISHED.read_text())["$defs"]
    summary = json.loads(draw_json(result, "run.parquet"))
    assert _members(summary) == set(schema["Summary"]["properties"])
    for finding in summary["findings"]:
        assert _members(finding) == set(schema["ToldFinding"]["properties"])
    for piece in summary["advice"]:
        assert _members(piece) == set(schema["ToldAdvice"]["properties"])
    if summary["floor"] is not None:
        assert _members(summary["floor"]) == set(schema["ToldFloor"]["properties"])


@pytest.mark.parametrize(
    ("member", "value"), [("run_id", 7), ("hops", None), ("status", "fine"), ("counts", {})]
)
def test_what_is_written_otherwise_is_not_valid(member: str, value: object) -> None:
    summary = json.loads(draw_json(make_result(), "run.parquet"))
    summary[member] = value
    assert not validator().is_valid(summary)


def test_the_command_writes_what_report_prints(call_latbench: Caller, tmp_path: Path) -> None:
    write_run(tmp_path / "run.parquet", gone=LOST)
    exported = call_latbench("export", "run.parquet", "--format", "json", cwd=tmp_path)
    reported = call_latbench("report", "run.parquet", "--json", cwd=tmp_path)
    assert exported.code == 0
    assert exported.stdout == reported.stdout
    validator().validate(exported.result)
    assert exported.findings["ticks-lost"]["text"].startswith("3 of 15,000 ticks never reached")


def test_the_command_prints_the_schema_without_a_file(
    call_latbench: Caller, tmp_path: Path
) -> None:
    printed = call_latbench("export", "--schema", cwd=tmp_path)
    assert printed.code == 0
    assert printed.stdout == PUBLISHED.read_text()
