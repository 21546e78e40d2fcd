"""Runs and sessions as JUnit XML, as CI services show test reports: a case for each percentile.

Its elements and attributes are those of the schema that Jenkins's xUnit plugin holds reports
against (`junit-10.xsd`, a superset of Maven Surefire's).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

import msgspec

from latbench.clock import NS_PER_S
from latbench.export.junit_gates import GateSuite, add_cases, clean, gate_suite
from latbench.export.limits import Judged, doubt
from latbench.histogram import MIN_SAMPLES_BEYOND
from latbench.result import HopSummary, RunResult
from latbench.units import format_latency


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A run and the limits that it was held against."""

    file: str
    result: RunResult
    judged: tuple[Judged, ...] = ()


def draw_junit(suites: Iterable[Suite | GateSuite]) -> str:
    """A suite for each run and session. A case's `time` is the latency in seconds: what CI plots.

    A case that breaks a limit is a failure. A percentile with fewer than 100 ticks above it is
    skipped, but an error where a limit is on it. All cases of a run that can't be believed are
    errors. Of a session each gate is a case, see `junit_gates`.
    """
    root = ET.Element("testsuites", name="latbench")
    for suite in suites:
        root.append(_suite(suite) if isinstance(suite, Suite) else gate_suite(suite))
    for total in ("tests", "failures", "errors"):  # the schema has no skipped here
        root.set(total, str(sum(int(each.get(total, "0")) for each in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _suite(suite: Suite) -> ET.Element:
    result = suite.result
    started = datetime.datetime.fromtimestamp(result.started_unix_ns // NS_PER_S, datetime.UTC)
    name = f"latbench {result.config.name}".strip()
    element = ET.Element(
        "testsuite",
        name=clean(name),
        timestamp=f"{started:%Y-%m-%dT%H:%M:%S}",
        hostname=clean(result.environment.hostname or "unknown"),
        time=f"{result.measured_ns / NS_PER_S:.3f}",
    )
    properties = ET.SubElement(element, "properties")
    for key, value in _properties(suite):
        ET.SubElement(properties, "property", name=key, value=clean(value))
    add_cases(element, [case for hop in result.hops for case in _cases(hop, suite)])
    return element


def _properties(suite: Suite) -> Iterable[tuple[str, str]]:
    result = suite.result
    yield "file", suite.file
    yield "run_id", result.run_id
    yield "status", str(result.status)
    yield "latbench", result.latbench
    yield "revision", result.environment.git_revision
    yield "broker", f"{result.broker.kind} {result.broker.version}"
    yield "target_rate_hz", f"{result.target_rate_hz:g}"
    yield "achieved_rate_hz", f"{result.achieved_rate_hz:g}"
    for finding in result.findings:
        yield "finding", finding.code


def _cases(hop: HopSummary, suite: Suite) -> Iterable[ET.Element]:
    """The hop's percentiles; mean and maximum where a limit is on them."""
    values: dict[str, float | None] = dict(hop.percentiles_ns) if hop.count else {}
    if not hop.count:
        values = dict.fromkeys(hop.percentiles_ns)
    judged = [each for each in suite.judged if each.limit.hop == hop.hop]
    for each in judged:
        values.setdefault(each.limit.statistic, each.value_ns)
    for name, value_ns in values.items():
        of_case = [each for each in judged if each.limit.statistic == name]
        yield _case(hop.hop, name, value_ns, of_case, doubt(suite.result))


def _case(
    hop: str, name: str, value_ns: float | None, judged: Sequence[Judged], doubted: str
) -> ET.Element:
    time_s = f"{(value_ns or 0) / NS_PER_S:.9f}"
    case = ET.Element("testcase", classname=f"latbench.{hop}", name=name, time=time_s)
    unknown = f"fewer than {MIN_SAMPLES_BEYOND} ticks lie above: a figure would be a guess"
    if doubted:
        ET.SubElement(case, "error", type="invalid", message=clean(doubted))
    elif broken := [each for each in judged if each.is_broken]:
        told = "; ".join(map(str, broken))
        ET.SubElement(case, "failure", type="limit", message=told).text = told
    elif value_ns is None and judged:
        told = "; ".join(map(str, judged))
        ET.SubElement(case, "error", type="unknown", message=told).text = told
    elif value_ns is None:
        ET.SubElement(case, "skipped", message=unknown)
    if value_ns is not None:
        ET.SubElement(case, "system-out").text = f"{hop}.{name} = {format_latency(value_ns)}"
    return case
