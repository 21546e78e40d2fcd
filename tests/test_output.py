"""What `run` and `report` print of a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latbench.cli import output
from latbench.result import Finding
from tests.rendering import printed
from tests.results import make_result

LOST = Finding(code="ticks-lost", values={"lost": 12, "sent": 1_510_000})
ALLOWED = Finding(code=LOST.code, values=LOST.values, allowed=True)


def test_findings_and_advice_are_worded_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = make_result(findings=(ALLOWED,))
    output.show(result, Path("run.parquet"), as_json=True)
    summary = json.loads(capsys.readouterr().out)
    (finding,) = summary["findings"]
    assert finding["allowed"] is True
    assert finding["text"].startswith("12 of 1,510,000 ticks never reached the consumer")
    (advice,) = summary["advice"]
    assert advice["text"].startswith("each tick waits 101 µs of the kafka hop's 461 µs")
    assert summary["file"] == "run.parquet"


def test_what_was_allowed_is_called_so() -> None:
    text = printed(output.worded(make_result(findings=(ALLOWED,)), "run.parquet"), 140)
    assert "\nallowed   12 of" in text
    assert "not a valid measurement" not in text


def test_what_was_not_allowed_makes_the_measurement_invalid() -> None:
    text = printed(output.worded(make_result(findings=(LOST,)), "run.parquet"), 140)
    assert "\ninvalid   12 of" in text
    assert "not a valid measurement" in text
