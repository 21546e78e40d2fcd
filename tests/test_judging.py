from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.findings import SEVERITY, Code, Severity, severity
from latbench.histogram import Histogram
from latbench.judging import POWER_SAVING, judge
from latbench.result import MachineFigures, RunStatus
from latbench.settling import Drift
from tests.evidence import (
    AUTO,
    CAUSES,
    REPLAY,
    Values,
    hops_with,
    late_by,
    make_evidence,
    with_percentiles,
)
from tests.results import (
    make_broker,
    make_config,
    make_counts,
    make_environment,
    make_fanout,
    make_hops,
)


def judged(**changes: Any) -> dict[str, Values]:
    """The values of what is found, by code; a quiet run but for `changes`."""
    found = judge(make_evidence(**changes))
    assert len({(one.code, one.values.get("hop")) for one in found}) == len(found)
    return {one.code: one.values for one in found}


def test_a_quiet_run_has_nothing_to_say() -> None:
    assert judged() == {}


@pytest.mark.parametrize("code", Code)
def test_each_cause_is_found_and_nothing_else(code: Code) -> None:
    changes, values = CAUSES[code]
    assert judged(**changes) == {code: values}


def test_all_that_is_wrong_is_found_the_gravest_first() -> None:
    counts = make_counts(
        lost=1, ring_overruns=1, duplicates=1, reordered=1, delivery_errors=1,
        unknown=1, malformed=1, relay_backpressure=1, generator_backpressure=1, source_skipped=1,
    )  # fmt: skip
    found = judge(
        make_evidence(
            config=AUTO,
            environment=make_environment(cpus=1, governor="ondemand"),
            broker=make_broker(embedded=True),
            counts=counts,
            hops=tuple(
                with_percentiles(hop.hop, p50=5_000_000, p99=9_000_000, p999=None)
                for hop in make_hops()
            ),
            achieved_hz=5100.0,
            status=RunStatus.INTERRUPTED,
            consumer_errors=1,
            fanout=make_fanout(missed=1, ended=1),
            missed=1,
            meters={"relay": with_percentiles("hiccup", p99=8_000_000)},
            machine=MachineFigures(busy=0.5, steal=0.4, iowait=0.0),
            drift=Drift(first_ns=1e6, last_ns=2e6),
            warmup_settled=False,
        )
    )
    assert {one.code for one in found} == set(Code) - {
        # these exclude, or are excluded by, some of the others
        Code.CUT_OFF, Code.NO_SCHEDULE, Code.NOTHING_MEASURED, Code.WARMUP_SETTLED,
        Code.DELAYS_INJECTED,
        # of hops, see below
        Code.NEGATIVE_LATENCY, Code.LATENCY_OUT_OF_RANGE,
    }  # fmt: skip
    severities = [severity(one) for one in found]
    gravest_first = [Severity.INVALID, Severity.WARNING, Severity.INFO]
    assert severities == sorted(severities, key=gravest_first.index)
    assert set(severities) == set(Severity)


@pytest.mark.parametrize("member", ["negative", "out_of_range"])
def test_what_a_hop_counts_apart_is_found_of_each_but_the_sum_of_others(member: str) -> None:
    found = judge(make_evidence(hops=make_hops(**{member: 2})))
    hops = [one.values["hop"] for one in found]
    assert hops == ["schedule", "websocket", "relay", "kafka", "end_to_end", "ack"]


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
    on_their_way = 0
    if status in {RunStatus.RECOVERED, RunStatus.RUNNING}:
        on_their_way = max(lost - counts["delivery_errors"], 0)
    if on_their_way:
        expected[Code.CUT_OFF] = {"lost": on_their_way}
    if lost > on_their_way:
        expected[Code.TICKS_LOST] = {"lost": lost - on_their_way, "sent": 1_510_000}
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


def test_without_a_schedule_no_rate_is_missed_and_no_generator_late() -> None:
    found = judged(config=REPLAY, achieved_hz=9.0, hops=late_by(1_200_000))
    assert set(found) == {Code.NO_SCHEDULE}


# --- steadiness -------------------------------------------------------------------------------


def test_a_warm_up_of_a_given_length_is_not_judged() -> None:
    assert judged(warmup_settled=False, warmup_ns=NS_PER_S) == {}


@pytest.mark.parametrize("settled", [True, False])
def test_a_warm_up_that_never_ended_is_not_judged(settled: bool) -> None:
    counts = make_counts(measured=0)
    found = judged(config=AUTO, counts=counts, warmup_settled=settled)
    assert set(found) == {Code.NOTHING_MEASURED}


# --- stalls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p99", "p999", "latency_p999", "told"),
    [
        (121_000, 1_630_000, 3_260_000, None),  # just half
        (121_000, 1_630_001, 3_260_000, "p99.9"),
        # where one of them has no p99.9 it is the p99 of both
        (121_000, 1_630_001, None, None),
        (655_000, 1_630_001, None, None),
        (655_001, 1_630_001, None, "p99"),
        (655_001, None, 3_260_000, "p99"),
        # a higher percentile decides alone
        (655_001, 1_630_000, 3_260_000, None),
        (None, None, 3_260_000, None),
    ],
)
def test_hiccups_are_told_from_half_of_the_latency_on_at_the_highest_percentile_of_both(
    p99: int | None, p999: int | None, latency_p999: int | None, told: str | None
) -> None:
    end_to_end = with_percentiles("end_to_end", p999=latency_p999)
    found = judged(
        meters={"relay": with_percentiles("hiccup", p99=p99, p999=p999)},
        hops=tuple(end_to_end if hop.hop == "end_to_end" else hop for hop in make_hops()),
    )
    assert found.get(Code.HICCUPS, {}).get("percentile") == told


def test_without_meters_or_ticks_there_are_no_hiccups_to_tell() -> None:
    severe = with_percentiles("hiccup", p999=9_000_000)
    assert judged(meters={}) == {}
    assert Code.HICCUPS in judged(meters={"relay": severe})
    assert judged(meters={"relay": severe}, hops=hops_with("end_to_end", count=0)) == {}


@pytest.mark.parametrize(
    ("late_ns", "latency_ns", "told"),
    [
        (1_000_000, 1_310_000, False),  # not above 1 ms
        (1_000_001, 1_310_000, True),
        (999_999, 1_310_000, False),
        (2_000_000, 20_000_000, False),  # not above a tenth
        (2_000_001, 20_000_000, True),
        (None, None, False),  # too few ticks for a p99
    ],
)
def test_a_generator_is_late_above_a_millisecond_and_a_tenth_of_the_total(
    late_ns: int | None, latency_ns: int | None, told: bool
) -> None:
    changed = {
        "schedule": with_percentiles("schedule", p99=late_ns),
        "end_to_end": with_percentiles("end_to_end", p99=latency_ns),
    }
    found = judged(hops=tuple(changed.get(hop.hop, hop) for hop in make_hops()))
    assert (Code.GENERATOR_LATE in found) is told


@pytest.mark.parametrize(
    ("late_ns", "latency_ns", "told"),
    [
        (1_300_000, 1_310_000, False),  # a millisecond above what was asked for
        (1_300_001, 1_310_000, True),
        (2_300_000, 20_000_000, False),
        (2_300_001, 20_000_000, True),
    ],
)
def test_what_coalescing_holds_up_does_not_make_a_generator_late(
    late_ns: int, latency_ns: int, told: bool
) -> None:
    changed = {
        "schedule": with_percentiles("schedule", p99=late_ns),
        "end_to_end": with_percentiles("end_to_end", p99=latency_ns),
    }
    hops = tuple(changed.get(hop.hop, hop) for hop in make_hops())
    assert (Code.GENERATOR_LATE in judged(hops=hops, config=make_config(coalesce_ns=300_000))) is (
        told
    )
    assert Code.GENERATOR_LATE in judged(hops=hops)


# --- the machine ------------------------------------------------------------------------------


@pytest.mark.parametrize(("steal", "told"), [(0.0, False), (0.01, False), (0.0101, True)])
def test_cpu_time_is_stolen_above_a_hundredth(steal: float, told: bool) -> None:
    found = judged(machine=MachineFigures(busy=0.5, steal=steal, iowait=0.0))
    assert (Code.CPU_STOLEN in found) is told


def test_without_samples_of_the_machine_nothing_is_said_of_it() -> None:
    assert judged(machine=None) == {}


@pytest.mark.parametrize(
    ("bootstrap", "processes"),
    [
        ("localhost:9092", 4),
        ("127.0.0.1:9092", 4),
        ("127.8.9.1:9092", 4),
        ("[::1]:9092", 4),
        ("localhost:9092,10.0.0.7:9092", 4),
        ("10.0.0.7:9092", 3),
        ("10.0.0.7:9092,localhost:9092", 3),
        ("[2001:db8::1]:9092", 3),
        ("kafka.example:9092", 3),
    ],
)
def test_cpus_are_few_below_one_for_each_process_a_broker_here_included(
    bootstrap: str, processes: int
) -> None:
    broker = make_broker(bootstrap=bootstrap)
    assert judged(broker=broker, environment=make_environment(cpus=processes)) == {}
    found = judged(broker=broker, environment=make_environment(cpus=processes - 1))
    assert found == {Code.FEW_CPUS: {"cpus": processes - 1, "processes": processes}}


@pytest.mark.parametrize("governor", [*sorted(POWER_SAVING), "performance", "userspace", ""])
def test_a_governor_that_lowers_clocks_is_told(governor: str) -> None:
    found = judged(environment=make_environment(cpus=8, governor=governor))
    assert (Code.POWER_SAVING in found) is (governor in POWER_SAVING)


# --- samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "percentile", "needed"),
    [
        (1, "p50", 200),
        (199, "p50", 200),
        (200, "p99", 10_000),
        (9_999, "p99", 10_000),
        (10_000, "p99.9", 100_000),
        (99_999, "p99.9", 100_000),
        (100_000, None, 0),
    ],
)
def test_the_first_percentile_that_takes_more_ticks_is_told_and_how_many(
    count: int, percentile: str | None, needed: int
) -> None:
    found = judged(hops=make_hops(count=count))
    expected = {"percentile": percentile, "needed": needed, "count": count}
    assert found == ({Code.FEW_SAMPLES: expected} if percentile else {})


@pytest.mark.parametrize(("percent", "needed"), [(50.0, 200), (99.0, 10_000), (99.9, 100_000)])
def test_as_many_ticks_as_are_told_to_be_needed_are_just_enough(
    percent: float, needed: int
) -> None:
    histogram = Histogram()
    histogram.count = needed - 1
    assert histogram.percentiles([percent]) == [None]
    histogram.count = needed
    assert histogram.percentiles([percent]) != [None]


def test_where_no_tick_arrived_no_sample_is_missed() -> None:
    assert judged(hops=make_hops(count=0)) == {}


# --- what is allowed --------------------------------------------------------------------------


@pytest.mark.parametrize("code", Code)
def test_an_allowed_finding_is_still_found_and_marked(code: Code) -> None:
    changes, values = CAUSES[code]
    config = changes.get("config", make_config())
    others = tuple(other for other in Code if other != code)
    for allow, allowed in (((code,), True), (others, False), ((), False)):
        allowing = msgspec.structs.replace(config, allow=allow)
        (found,) = judge(make_evidence(**{**changes, "config": allowing}))
        assert (found.code, found.values, found.allowed) == (code, values, allowed)
        assert severity(found) is SEVERITY[code]


def test_the_process_that_stalls_most_is_told_and_the_supervisor_is_on_no_ticks_way() -> None:
    meters = {
        "supervisor": with_percentiles("hiccup", p999=9_000_000),
        "generator": with_percentiles("hiccup", p999=100_000),
        "consumer": with_percentiles("hiccup", p999=2_500_000),
    }
    assert judged(meters=meters)[Code.HICCUPS]["process"] == "consumer"
    del meters["consumer"]
    assert Code.HICCUPS not in judged(meters=meters)


def test_ticks_that_the_producer_gave_up_are_lost_however_the_run_ended() -> None:
    counts = make_counts(lost=1000, sent=9000, delivery_errors=300)
    found = judged(counts=counts, status=RunStatus.RECOVERED)
    assert found[Code.CUT_OFF] == {"lost": 700}
    assert found[Code.TICKS_LOST] == {"lost": 300, "sent": 9000}
    found = judged(counts=counts, status=RunStatus.COMPLETE)
    assert Code.CUT_OFF not in found
    assert found[Code.TICKS_LOST]["lost"] == 1000
