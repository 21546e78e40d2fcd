from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import findings
from latbench.config import MAX_SPEED
from latbench.findings import SEVERITY, Code, Severity, describe, judge, severity
from latbench.result import Finding, RunStatus
from tests.results import make_broker, make_config, make_counts, make_hop, make_hops, make_result


def judged(**changes: Any) -> dict[str, dict[str, int | float | str]]:
    """The values of what is found, by code; a quiet run but for `changes`."""
    found = judge(**{**quiet(), **changes})
    assert len({(one.code, one.values.get("hop")) for one in found}) == len(found)
    return {one.code: one.values for one in found}


def quiet() -> dict[str, Any]:
    return {
        "config": make_config(),
        "broker": make_broker(),
        "counts": make_counts(),
        "hops": make_hops(),
        "scheduled_hz": 5000.0,
        "achieved_hz": 5000.0,
        "status": RunStatus.COMPLETE,
    }


def hops_with(hop: str, **changes: Any) -> tuple[Any, ...]:
    return tuple(make_hop(one.hop, **changes) if one.hop == hop else one for one in make_hops())


REPLAY = make_config(source="feed.ws", speed=MAX_SPEED)
CAUSES: dict[Code, tuple[dict[str, Any], dict[str, Any]]] = {
    # what is changed of a quiet run, and the values that are then told
    Code.NOTHING_MEASURED: ({"counts": make_counts(measured=0)}, {}),
    Code.TICKS_LOST: ({"counts": make_counts(lost=1000, sent=9000)}, {"lost": 1000, "sent": 9000}),
    Code.RING_OVERRUN: ({"counts": make_counts(ring_overruns=2000)}, {"rows": 2000}),
    Code.NEGATIVE_LATENCY: (
        {"hops": hops_with("kafka", negative=3000)},
        {"hop": "kafka", "count": 3000},
    ),
    Code.CUT_OFF: (
        {"counts": make_counts(lost=1000), "status": RunStatus.RECOVERED},
        {"lost": 1000},
    ),
    Code.RATE_MISSED: (
        {"achieved_hz": 4900.0},
        {"achieved": 4900.0, "scheduled": 5000.0, "percent": -2.0},
    ),
    Code.LATENCY_OUT_OF_RANGE: (
        {"hops": hops_with("end_to_end", out_of_range=4000)},
        {"hop": "end_to_end", "count": 4000},
    ),
    Code.DUPLICATES: ({"counts": make_counts(duplicates=1001)}, {"count": 1001}),
    Code.REORDERED: ({"counts": make_counts(reordered=1002)}, {"count": 1002}),
    Code.DELIVERY_ERRORS: ({"counts": make_counts(delivery_errors=1003)}, {"count": 1003}),
    Code.RELAY_BACKPRESSURE: (
        {"counts": make_counts(relay_backpressure=1, relay_backpressure_ns=2_500_000_000)},
        {"times": 1, "ns": 2_500_000_000},
    ),
    Code.GENERATOR_BACKPRESSURE: (
        {"counts": make_counts(generator_backpressure=1200, generator_backpressure_ns=7_000_000)},
        {"times": 1200, "ns": 7_000_000},
    ),
    Code.UNKNOWN_MESSAGES: ({"counts": make_counts(unknown=1004)}, {"count": 1004}),
    Code.MALFORMED_MESSAGES: ({"counts": make_counts(malformed=1005)}, {"count": 1005}),
    Code.SOURCE_SKIPPED: ({"counts": make_counts(source_skipped=1006)}, {"count": 1006}),
    Code.NO_SCHEDULE: ({"config": REPLAY}, {}),
    Code.EMBEDDED_BROKER: ({"broker": make_broker(embedded=True)}, {}),
}
PROSE = {
    Code.TICKS_LOST: "1,000 of 9,000 ticks never",
    Code.RING_OVERRUN: "2,000 rows",
    Code.NEGATIVE_LATENCY: "3,000 latencies of kafka are below zero",
    Code.CUT_OFF: "on their way: 1,000 of them stand as not consumed",
    Code.RATE_MISSED: "the rate was 4,900/s instead of 5,000/s (-2.00 %)",
    Code.LATENCY_OUT_OF_RANGE: "4,000 latencies of end_to_end are above 24 h",
    Code.DUPLICATES: "1,001 ticks were consumed twice",
    Code.REORDERED: "1,002 ticks",
    Code.DELIVERY_ERRORS: "1,003 ticks",
    Code.RELAY_BACKPRESSURE: "the producer's queue was full once, 2.50 s in all",
    Code.GENERATOR_BACKPRESSURE: "the socket to the relay was full 1,200 times, 7.00 ms in all",
    Code.UNKNOWN_MESSAGES: "1,004 messages",
    Code.MALFORMED_MESSAGES: "1,005 messages",
    Code.SOURCE_SKIPPED: "1,006 lines",
}


def test_a_quiet_run_has_nothing_to_say() -> None:
    assert judged() == {}


def test_every_code_has_a_severity_a_cause_and_a_prose() -> None:
    assert set(SEVERITY) == set(CAUSES) == set(Code)


@pytest.mark.parametrize("code", Code)
def test_each_cause_is_found_and_nothing_else(code: Code) -> None:
    changes, values = CAUSES[code]
    assert judged(**changes) == {code: values}


@pytest.mark.parametrize("code", Code)
def test_each_finding_is_told_on_one_line_with_its_values(code: Code) -> None:
    (found,) = judge(**{**quiet(), **CAUSES[code][0]})
    told = describe(found)
    assert PROSE.get(code, "") in told
    assert not re.search(r"[{}\n]|None", told)
    assert told == told.strip().rstrip(".")


def test_all_that_is_wrong_is_found_the_gravest_first() -> None:
    counts = make_counts(
        measured=0, lost=1, ring_overruns=1, duplicates=1, reordered=1, delivery_errors=1,
        unknown=1, malformed=1, relay_backpressure=1, generator_backpressure=1, source_skipped=1,
    )  # fmt: skip
    found = judge(
        config=make_config(),
        broker=make_broker(embedded=True),
        counts=counts,
        hops=make_hops(negative=1, out_of_range=1),
        scheduled_hz=5000.0,
        achieved_hz=5100.0,
        status=RunStatus.INTERRUPTED,
    )
    assert {one.code for one in found} == set(Code) - {Code.CUT_OFF, Code.NO_SCHEDULE}
    severities = [severity(one) for one in found]
    gravest_first = [Severity.INVALID, Severity.WARNING, Severity.INFO]
    assert severities == sorted(severities, key=gravest_first.index)
    # side branches and the uncorrected hop are no part of the total
    negative = [one.values["hop"] for one in found if one.code == Code.NEGATIVE_LATENCY]
    assert negative == ["schedule", "websocket", "relay", "kafka", "end_to_end"]


COUNTED = {
    "duplicates": Code.DUPLICATES,
    "reordered": Code.REORDERED,
    "delivery_errors": Code.DELIVERY_ERRORS,
    "unknown": Code.UNKNOWN_MESSAGES,
    "malformed": Code.MALFORMED_MESSAGES,
    "source_skipped": Code.SOURCE_SKIPPED,
}


@given(
    st.fixed_dictionaries({name: st.sampled_from([0, 0, 1, 7]) for name in COUNTED}),
    st.sampled_from([0, 3]),
    st.sampled_from(RunStatus),
)
def test_what_is_found_is_exactly_what_the_counts_say(
    counts: dict[str, int], lost: int, status: RunStatus
) -> None:
    expected: dict[str, dict[str, int]] = {
        COUNTED[name]: {"count": count} for name, count in counts.items() if count
    }
    if lost and status in {RunStatus.RECOVERED, RunStatus.RUNNING}:
        expected[Code.CUT_OFF] = {"lost": lost}
    elif lost:
        expected[Code.TICKS_LOST] = {"lost": lost, "sent": 1_510_000}
    assert judged(counts=make_counts(lost=lost, **counts), status=status) == expected


@pytest.mark.parametrize(
    ("scheduled_hz", "achieved_hz", "missed"),
    [
        (1000.0, 1000.0, False),
        (1000.0, 999.1, False),
        (1000.0, 998.9, True),
        (1000.0, 1000.9, False),
        (1000.0, 1001.1, True),
        (1000.0, 0.0, True),
        (0.0, 5.0, False),  # one tick: no rate
    ],
)
def test_a_rate_is_missed_by_more_than_a_thousandth(
    scheduled_hz: float, achieved_hz: float, missed: bool
) -> None:
    found = judged(scheduled_hz=scheduled_hz, achieved_hz=achieved_hz)
    assert (Code.RATE_MISSED in found) is missed


def test_without_a_schedule_no_rate_is_missed() -> None:
    assert set(judged(config=REPLAY, achieved_hz=9.0)) == {Code.NO_SCHEDULE}


@pytest.mark.parametrize("code", Code)
def test_only_invalid_findings_make_figures_unbelievable(code: Code) -> None:
    result = make_result(findings=judge(**{**quiet(), **CAUSES[code][0]}))
    assert findings.is_valid(result) is (SEVERITY[code] is not Severity.INVALID)
    assert findings.is_valid(make_result())


def test_a_finding_of_a_later_version_is_a_warning_told_as_it_is() -> None:
    later = Finding(code="moon-phase", values={"percent": 80, "name": "gibbous"})
    assert severity(later) is Severity.WARNING
    assert describe(later) == "moon-phase: {'percent': 80, 'name': 'gibbous'}"
    assert findings.is_valid(make_result(findings=(later,)))
