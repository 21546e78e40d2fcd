"""Prometheus, JUnit, Markdown and GitHub's annotations."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_fd_to_metric_families

from latbench.analysis import HopFigures, summarise
from latbench.cli.output import advice_of, findings_of
from latbench.clock import NS_PER_S
from latbench.errors import ExitCode
from latbench.export.github import draw_annotations
from latbench.export.junit import Suite, draw_junit
from latbench.export.limits import Judged, exit_code, judge
from latbench.export.prometheus import BOUNDS_NS, draw_prometheus
from latbench.histogram import Histogram
from latbench.render.markdown import draw_markdown, escaped
from latbench.result import Finding, RunResult, RunStatus
from latbench.thresholds import parse_limit
from latbench.tick import HOPS
from tests.rendering import assert_golden
from tests.results import make_config, make_counts, make_environment, make_hops, make_result
from tests.rows import make_stamps

LOST = Finding(code="ticks-lost", values={"lost": 12, "sent": 1_510_000})
LATE = Finding(code="generator-late", values={"late": 1_200_000, "latency": 2_400_000})
MISSED = Finding(
    code="rate-missed", values={"achieved": 4990.0, "scheduled": 5000.0, "percent": -0.2}
)
SKIPPED = Finding(code="source-skipped", values={"count": 3})


def limited(result: RunResult, *texts: str) -> tuple[Judged, ...]:
    return judge(result.hops, [parse_limit(text) for text in texts])


# --- limits


@pytest.mark.parametrize(
    ("changes", "limits", "code"),
    [
        ({}, [], ExitCode.OK),
        ({}, ["p99 > 15ms"], ExitCode.OK),
        ({}, ["p99 > 15ms", "kafka.p50 > 1us"], ExitCode.REGRESSION),
        ({"hops": make_hops(count=500)}, ["p99 > 15ms"], ExitCode.INVALID),
        ({"hops": make_hops(count=500)}, ["p99 > 15ms", "p50 > 1us"], ExitCode.REGRESSION),
        ({"findings": (LOST,)}, [], ExitCode.OK),
        ({"findings": (LOST,)}, ["p50 > 1us"], ExitCode.INVALID),
        ({"status": RunStatus.FAILED}, ["p50 > 1s"], ExitCode.INVALID),
    ],
)
def test_a_run_ends_as_its_limits_say(
    changes: dict[str, object], limits: list[str], code: ExitCode
) -> None:
    result = make_result(**changes)
    assert exit_code([(result, limited(result, *limits))]) is code


def test_the_worst_of_several_runs_counts() -> None:
    fast, slow = make_result(), make_result(hops=make_hops(scale=100))
    lost = make_result(findings=(LOST,))
    runs = [(each, limited(each, "p99 > 15ms")) for each in (fast, slow, lost)]
    assert exit_code(runs) is ExitCode.REGRESSION
    assert exit_code(runs[::2]) is ExitCode.INVALID
    assert exit_code(runs[:1]) is ExitCode.OK


def test_a_limit_is_told_with_its_value() -> None:
    result = make_result(hops=make_hops(count=500))
    told = [str(each) for each in limited(result, "kafka.p50 > 1us", "p50>=1s", "p99 > 15ms")]
    assert told == [
        "kafka.p50 is 430 µs, the limit is <= 1.00 µs",
        "end_to_end.p50 is 581 µs, the limit is < 1.00 s",
        "fewer than 100 ticks lie above end_to_end.p99: too few to tell whether it is <= 15.0 ms",
    ]


# --- Prometheus


def recorded(count: int = 4000) -> tuple[RunResult, HopFigures]:
    figures = HopFigures()
    figures.record(make_stamps(count))
    return make_result(hops=figures.summaries(4 * NS_PER_S)), figures


def families(result: RunResult, figures: HopFigures) -> dict[str, Metric]:
    hiccups = Histogram()
    hiccups.record(np.array([60_000, 70_000], dtype=np.int64))
    result = msgspec.structs.replace(result, hiccups=summarise("hiccup", hiccups, NS_PER_S))
    text = draw_prometheus(result, {**figures.histograms, "hiccup": hiccups})
    assert text.endswith("\n")
    return {each.name: each for each in text_fd_to_metric_families(io.StringIO(text))}


def test_prometheus_parses_every_metric_with_help_and_type() -> None:
    found = families(*recorded())
    assert len(found) > 15
    for name, family in found.items():
        assert name.startswith("latbench_")
        assert family.documentation
        assert family.type in {"gauge", "histogram"}


def test_names_are_as_promtool_lints_them() -> None:
    for name, family in families(*recorded()).items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert not {"gauge", "histogram", "counter", "metric"} & set(name.split("_"))
        assert not re.search(r"_(ns|us|ms|milliseconds|microseconds|nanoseconds|minutes)\b", name)
        assert family.type == "histogram" or not any(
            {"le", "quantile"} & set(sample.labels) for sample in family.samples
        )


def test_buckets_are_cumulative_and_end_in_all_ticks() -> None:
    result, figures = recorded()
    samples = families(result, figures)["latbench_hop_latency_seconds"].samples
    for hop in HOPS:
        of_hop = [each for each in samples if each.labels["hop"] == hop.name]
        buckets = [each for each in of_hop if each.name.endswith("_bucket")]
        assert [each.labels["le"] for each in buckets][-1] == "+Inf"
        bounds = [float(each.labels["le"]) for each in buckets]
        assert bounds == sorted(bounds)
        assert len(bounds) == len(BOUNDS_NS) + 1
        values = [each.value for each in buckets]
        assert values == sorted(values)
        summary = result.hop(hop.name)
        by_name = {each.name: each.value for each in of_hop}
        assert values[-1] == by_name["latbench_hop_latency_seconds_count"] == summary.count
        total_s = by_name["latbench_hop_latency_seconds_sum"]
        assert total_s == pytest.approx(summary.mean_ns * summary.count / 1e9)


def test_a_bucket_counts_the_ticks_up_to_its_bound_to_a_thousandth() -> None:
    stamps = make_stamps(4000)
    latency = stamps["consumed_ns"] - stamps["due_ns"]
    samples = families(*recorded())["latbench_hop_latency_seconds"].samples
    for sample in samples:
        if sample.labels.get("hop") == "end_to_end" and sample.labels.get("le", "+Inf") != "+Inf":
            bound_ns = float(sample.labels["le"]) * 1e9
            least = np.count_nonzero(latency <= round(bound_ns))
            assert least <= sample.value <= np.count_nonzero(latency <= bound_ns * 1.001)


def test_a_percentile_with_few_samples_is_not_exported() -> None:
    samples = families(*recorded(500))["latbench_hop_latency_percentile_seconds"].samples
    assert {each.labels["percentile"] for each in samples} == {"p50", "p75"}


def test_a_run_that_cannot_be_believed_is_not_valid() -> None:
    result, figures = recorded()
    for changes in ({"findings": (LOST,)}, {"status": RunStatus.FAILED}):
        changed = msgspec.structs.replace(result, **changes)  # type: ignore[arg-type]
        assert families(changed, figures)["latbench_run_valid"].samples[0].value == 0
    assert families(result, figures)["latbench_run_valid"].samples[0].value == 1


def test_a_label_survives_whatever_stands_in_it() -> None:
    result, figures = recorded()
    hostname = 'a "b" \\ c\nd'
    result = msgspec.structs.replace(result, environment=make_environment(hostname=hostname))
    (info,) = families(result, figures)["latbench_run_info"].samples
    assert info.labels["hostname"] == hostname
    assert info.labels["run_id"] == "5f1c09ab"


# --- JUnit

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors"},
    "testsuite": {
        "name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"
    },
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"message"},
    "system-out": set(),
}  # fmt: skip
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["failure", "skipped", "error", "system-out"],
}
"""In the order that Surefire's schema wants."""


def junit(*results: RunResult, limits: tuple[str, ...] = ()) -> ET.Element:
    """Parsed again, and held against the schema."""
    suites = (
        Suite(file="run.parquet", result=each, judged=limited(each, *limits)) for each in results
    )
    root = ET.fromstring(draw_junit(suites))
    for element in root.iter():
        assert set(element.keys()) == ATTRIBUTES[element.tag]
        order = CHILDREN.get(element.tag, [])
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places)
    for suite in root:
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        for kind, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            count = sum(case.find(kind) is not None for case in cases)
            assert suite.get(total) == str(count)
        assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    return root


def case_of(root: ET.Element, hop: str, name: str) -> ET.Element:
    found = root.find(f".//testcase[@classname='latbench.{hop}'][@name='{name}']")
    assert found is not None
    return found


def test_there_is_a_case_for_each_hop_and_percentile() -> None:
    root = junit(make_result())
    cases = root.findall(".//testcase")
    names = {(case.get("classname"), case.get("name")) for case in cases}
    percentiles = make_hops()[0].percentiles_ns
    assert names == {(f"latbench.{hop.name}", name) for hop in HOPS for name in percentiles}
    p99 = case_of(root, "kafka", "p99")
    assert p99.get("time") == "0.001020000"
    assert p99.findtext("system-out") == "kafka.p99 = 1.02 ms"
    assert root.get("failures") == root.get("errors") == "0"


def test_an_unknown_percentile_is_skipped() -> None:
    root = junit(make_result(hops=make_hops(count=500)))
    skipped = case_of(root, "end_to_end", "p99").find("skipped")
    assert skipped is not None
    assert "fewer than 100 ticks" in str(skipped.get("message"))
    assert case_of(root, "end_to_end", "p50").find("skipped") is None


def test_a_broken_limit_fails_its_case_alone() -> None:
    root = junit(make_result(), limits=("kafka.p99 > 1ms", "p99 > 15ms", "relay.max > 1us"))
    failed = [case for case in root.iter("testcase") if case.find("failure") is not None]
    assert [(case.get("classname"), case.get("name")) for case in failed] == [
        ("latbench.relay", "max"), ("latbench.kafka", "p99")
    ]  # fmt: skip
    failure = failed[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "kafka.p99 is 1.02 ms, the limit is <= 1.00 ms"
    assert root.get("failures") == "2"


def test_a_limit_on_an_unknown_percentile_is_an_error() -> None:
    root = junit(make_result(hops=make_hops(count=500)), limits=("p99 > 15ms",))
    assert case_of(root, "end_to_end", "p99").find("error") is not None
    assert root.get("errors") == "1"


@pytest.mark.parametrize(
    "changes",
    [{"findings": (LOST,)}, {"status": RunStatus.FAILED, "failure": "no broker"}],
    ids=["invalid", "failed"],
)
def test_every_case_of_a_run_that_cannot_be_believed_is_an_error(
    changes: dict[str, object],
) -> None:
    root = junit(make_result(**changes), limits=("p99 > 1us",))
    assert root.get("errors") == root.get("tests") == str(7 * len(HOPS))
    assert root.get("failures") == "0"


def test_what_was_allowed_is_no_error() -> None:
    root = junit(make_result(findings=(msgspec.structs.replace(LOST, allowed=True),)))
    assert root.get("errors") == "0"


def test_several_runs_are_several_suites() -> None:
    root = junit(make_result(), make_result(hops=make_hops(scale=50)), limits=("p99 > 15ms",))
    assert [suite.get("failures") for suite in root] == ["0", "1"]
    assert root.get("tests") == str(2 * 7 * len(HOPS))


@given(st.text(max_size=20))
def test_junit_is_xml_whatever_a_run_failed_of(failure: str) -> None:
    junit(make_result(status=RunStatus.FAILED, failure=failure))


# --- Markdown


def markdown(result: RunResult, *limits: str) -> str:
    judged = [(each.verdict, str(each)) for each in limited(result, *limits)]
    return draw_markdown(
        result, findings_of(result), advice_of(result), "bench-results/run.parquet", judged
    )


def test_markdown_of_a_valid_run() -> None:
    assert_golden("markdown-valid", markdown(make_result(), "p99 > 15ms"))


def test_markdown_of_a_run_with_doubts() -> None:
    result = make_result(
        findings=(SKIPPED, MISSED, LOST),
        counts=make_counts(lost=12),
        lost_ranges=((7, 9), (40, 48)),
        lost_range_count=2,
        hops=make_hops(count=5000),
        config=make_config(name="a|b"),
        said=("relay: 1 | 2 <b>",),
    )
    assert_golden("markdown-invalid", markdown(result, "p99.9 > 1ms", "p50 > 1us"))


@pytest.mark.parametrize(
    ("changes", "limits", "verdict"),
    [
        ({}, [], "valid"),
        ({}, ["p99 > 15ms"], "valid, all limits held"),
        ({}, ["p99 > 15ms", "p50 > 1us"], "1 of 2 limits broken"),
        ({"hops": make_hops(count=500)}, ["p99 > 15ms"], "valid, but too few ticks for a limit"),
        ({"findings": (LOST,)}, ["p50 > 1us"], "not a valid measurement"),
        ({"status": RunStatus.FAILED, "failure": "no broker"}, [], "failed"),
    ],
)
def test_the_heading_has_the_verdict(
    changes: dict[str, object], limits: list[str], verdict: str
) -> None:
    heading = markdown(make_result(**changes), *limits).splitlines()[0]
    assert heading == f"## latbench run 5f1c09ab: {verdict}"


def test_every_row_of_a_table_has_as_many_cells() -> None:
    text = markdown(make_result(config=make_config(name="a|b"), said=("x | y",)), "p99 > 1us")
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(tables) == 4
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table}
        assert len(widths) == 1, table


@given(st.text(max_size=40))
def test_nothing_in_a_text_is_markup(text: str) -> None:
    shown = escaped(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`*_\[]", shown)


# --- GitHub


def test_findings_become_annotations_the_gravest_first() -> None:
    result = make_result(findings=(SKIPPED, LATE, LOST))
    lines = list(draw_annotations(result, limited(result, "p99 > 1us")))
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::warning", "::notice"]
    assert lines[0] == (
        "::error title=latbench end_to_end.p99::end_to_end.p99 is 1.31 ms, the limit is <= 1.00 µs"
    )
    assert lines[1].startswith("::error title=latbench ticks-lost::12 of 1,510,000 ticks")


def test_what_was_allowed_is_a_notice() -> None:
    result = make_result(findings=(msgspec.structs.replace(LOST, allowed=True),))
    (line,) = draw_annotations(result, ())
    assert line.startswith("::notice title=latbench ticks-lost::")
    assert line.endswith("(allowed)")


def test_a_failure_is_an_error() -> None:
    result = make_result(status=RunStatus.FAILED, failure="100 % of\nthe brokers: gone, all")
    (line,) = draw_annotations(result, ())
    assert line == ("::error title=latbench::the run failed: 100 %25 of%0Athe brokers: gone, all")


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_annotation_is_one_line_that_reads_back(code: str, value: str) -> None:
    result = make_result(findings=(Finding(code=code, values={"value": value}),))
    (line,) = draw_annotations(result, ())
    assert "\n" not in line
    assert "\r" not in line
    head, _, text = line.removeprefix("::").partition("::")
    title = head.partition("title=")[2]
    for escape, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        title, text = title.replace(escape, char), text.replace(escape, char)
    assert title == f"latbench {code}"
    assert text == f"{code}: {json.loads(json.dumps({'value': value}))}"
