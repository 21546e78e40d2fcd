from __future__ import annotations

import re

import pytest

from latbench import findings
from latbench.errors import UsageError
from latbench.findings import SEVERITY, Code, Severity, describe, parse_allowed, severity
from latbench.result import Finding
from tests.evidence import CAUSES
from tests.results import make_result

PROSE = {
    Code.TICKS_LOST: "1,000 of 9,000 ticks never",
    Code.TICKS_MISSED: "1,300 ticks between the first and the last",
    Code.SUBSCRIBERS_MISSED: "1,200 of 151,000,000 ticks never reached their subscriber",
    Code.SUBSCRIBERS_ENDED: "sent 3 of 100 subscribers away",
    Code.RING_OVERRUN: "2,000 rows",
    Code.NEGATIVE_LATENCY: "3,000 latencies of kafka are below zero",
    Code.WARMUP_UNSETTLED: "had not settled after a warm-up of 2 min 1 s",
    Code.LATENCY_DRIFTED: "from 2.00 ms in the first third to 600 µs in the last",
    Code.HICCUPS: "the relay woke 1.70 ms late at p99.9, of end_to_end's 3.26 ms",
    Code.GENERATOR_LATE: "late by 1.10 ms at p99, of end_to_end's 1.31 ms",
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
    Code.CONSUMER_ERRORS: "1,007 errors",
    Code.CPU_STOLEN: "took 12.3 % of the CPU time",
    Code.FEW_CPUS: "2 CPUs for 4 processes",
    Code.POWER_SAVING: "the CPU governor is schedutil",
    Code.FEW_SAMPLES: "p99.9 of end_to_end takes 100,000 measured ticks, there are 60,000",
    Code.WARMUP_SETTLED: "a warm-up of 17 s",
    Code.SOURCE_SKIPPED: "1,006 lines",
}


def make_finding(code: Code) -> Finding:
    return Finding(code=code, values=CAUSES[code][1])


def test_every_code_has_a_severity_a_cause_and_a_prose() -> None:
    assert set(SEVERITY) == set(CAUSES) == set(findings._PROSE) == set(Code)


@pytest.mark.parametrize("code", Code)
def test_each_finding_is_told_on_one_line_with_its_values(code: Code) -> None:
    told = describe(make_finding(code))
    assert PROSE.get(code, "") in told
    assert not re.search(r"[{}\n]|None|\bns\b", told)
    assert told == told.strip().rstrip(".")


def test_a_drift_is_told_with_the_cause_that_its_direction_suggests() -> None:
    falls = Finding(code=Code.LATENCY_DRIFTED, values={"first": 2_000_000, "last": 600_000})
    rises = Finding(code=Code.LATENCY_DRIFTED, values={"first": 600_000, "last": 2_000_000})
    assert describe(falls).endswith(": the warm-up was too short")
    assert describe(rises).endswith(": it does not keep up, or it ages")


def test_a_single_cpu_is_told_as_one() -> None:
    found = Finding(code=Code.FEW_CPUS, values={"cpus": 1, "processes": 4})
    assert describe(found).startswith("1 CPU for 4 processes ")


@pytest.mark.parametrize("code", Code)
def test_only_invalid_findings_make_figures_unbelievable(code: Code) -> None:
    result = make_result(findings=(make_finding(code),))
    assert findings.is_valid(result) is (SEVERITY[code] is not Severity.INVALID)
    assert findings.is_valid(make_result(findings=()))


def test_what_was_allowed_makes_no_run_invalid_but_what_was_not_does() -> None:
    lost = Finding(code=Code.TICKS_LOST, values={"lost": 1, "sent": 9}, allowed=True)
    overrun = Finding(code=Code.RING_OVERRUN, values={"rows": 1})
    assert findings.is_valid(make_result(findings=(lost,)))
    assert not findings.is_valid(make_result(findings=(lost, overrun)))


def test_a_finding_of_a_later_version_is_a_warning_told_as_it_is() -> None:
    later = Finding(code="moon-phase", values={"percent": 80, "name": "gibbous"})
    assert severity(later) is Severity.WARNING
    assert describe(later) == "moon-phase: {'percent': 80, 'name': 'gibbous'}"
    assert findings.is_valid(make_result(findings=(later,)))


@pytest.mark.parametrize("code", [code for code in Code if CAUSES[code][1]])
def test_a_finding_with_other_values_than_it_has_today_is_told_as_it_is(code: Code) -> None:
    told = describe(Finding(code=code, values={"novelty": "7"}))
    assert told == f"{code}: {{'novelty': '7'}}"


def test_a_finding_with_words_for_numbers_is_told_as_it_is() -> None:
    for code, (_, values) in CAUSES.items():
        words = dict.fromkeys(values, "many")
        if values and code != Code.POWER_SAVING:  # which takes any word
            assert describe(Finding(code=code, values=dict(words))) == f"{code}: {words}"


def test_codes_to_allow_are_taken_once_each_in_their_order() -> None:
    codes = [Code.TICKS_LOST, Code.RING_OVERRUN, Code.TICKS_LOST]
    assert parse_allowed(codes) == (Code.TICKS_LOST, Code.RING_OVERRUN)
    assert parse_allowed([]) == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tick-lost", "did you mean ticks-lost?"),
        ("warmup-unsetled", "did you mean warmup-unsettled?"),
        ("TICKS-LOST", "there are nothing-measured, ticks-lost, "),
        ("", "there are nothing-measured, ticks-lost, "),
        ("ticks-lost,reordered", ""),
    ],
)
def test_a_code_that_is_not_looked_for_is_refused_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_allowed([Code.TICKS_LOST, text])
    assert caught.value.message == f"finding {text!r} is not there to allow"
    assert hint in caught.value.hint
    assert caught.value.hint
