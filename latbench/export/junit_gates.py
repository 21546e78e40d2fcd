"""The gates of an A/B session as cases of JUnit XML."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

import msgspec

from latbench.ab_result import AbResult
from latbench.clock import NS_PER_S
from latbench.comparison import Verdict
from latbench.gates import Gate

_KINDS: Final = {
    Verdict.REGRESSION: "failure",
    Verdict.INCONCLUSIVE: "skipped",
    Verdict.INCOMPARABLE: "error",
}


class GateSuite(msgspec.Struct, frozen=True, kw_only=True):
    """A session, and what it says of its gates."""

    file: str
    result: AbResult
    sentences: Mapping[str, str]
    """By a gate's subject, in words; of a session that could not compare, all say why."""


def gate_suite(suite: GateSuite) -> ET.Element:
    """A case for each gate; its `time` is B's latency in seconds, what services plot.

    A regression is a failure, an inconclusive gate is skipped, and where nothing could be compared
    all are errors.
    """
    result = suite.result
    started = datetime.datetime.fromtimestamp(result.started_unix_ns // NS_PER_S, datetime.UTC)
    environment = result.runs[0].result.environment if result.runs else None
    element = ET.Element(
        "testsuite",
        name="latbench ab",
        timestamp=f"{started:%Y-%m-%dT%H:%M:%S}",
        hostname=clean(environment.hostname if environment else "") or "unknown",
        time=f"{result.elapsed_ns / NS_PER_S:.3f}",
    )
    properties = ET.SubElement(element, "properties")
    for key, value in _properties(suite):
        ET.SubElement(properties, "property", name=key, value=clean(value))
    add_cases(element, [_case(suite, gate) for gate in result.plan.gates])
    return element


def _properties(suite: GateSuite) -> Iterator[tuple[str, str]]:
    result = suite.result
    yield "file", suite.file
    yield "status", str(result.status)
    yield "latbench", result.latbench
    for side, variant in (("a", result.plan.a), ("b", result.plan.b)):
        yield side, " ".join([*(variant.command or ("latbench", "run")), *variant.options])
    if result.comparison is not None:
        yield "verdict", str(result.comparison.verdict)
        yield "pairs", str(result.comparison.base_runs)


def _case(suite: GateSuite, gate: Gate) -> ET.Element:
    comparison = suite.result.comparison
    found = None
    if comparison is not None:
        found = next((each for each in comparison.gates if each.gate == gate), None)
    verdict = Verdict.INCOMPARABLE
    if comparison is not None and comparison.verdict is not Verdict.INCOMPARABLE and found:
        verdict = found.verdict
    new_ns = found.change.new_ns if found is not None else None
    case = ET.Element(
        "testcase",
        classname=f"latbench.ab.{gate.hop}",
        name=gate.statistic,
        time=f"{(new_ns or 0) / NS_PER_S:.9f}",
    )
    told = clean(suite.sentences[gate.subject])
    if verdict is Verdict.INCONCLUSIVE:
        ET.SubElement(case, _KINDS[verdict], message=told)
    elif verdict is not Verdict.PASS:
        ET.SubElement(case, _KINDS[verdict], type=str(verdict), message=told).text = told
    ET.SubElement(case, "system-out").text = told
    return case


def add_cases(element: ET.Element, cases: Sequence[ET.Element]) -> None:
    """Put cases into a suite, and how many of them came to what."""
    element.extend(cases)
    element.set("tests", str(len(cases)))
    for total, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(total, str(sum(case.find(kind) is not None for case in cases)))


def clean(text: str) -> str:
    """Without the control characters that XML 1.0 can't hold."""
    return "".join(char if char.isprintable() else " " for char in text)
