"""One point of a sweep: ticks that pile up, and why it fails."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.knee import Probe, Purpose, Verdict
from latbench.result import Finding, RunResult
from latbench.sweep_points import (
    COLD_PATIENCE_NS,
    GIVE_UP_NS,
    Backlog,
    Overloaded,
    describe_reason,
    make_point,
    overloaded_point,
    reason_word,
    verdict_of,
)
from latbench.sweep_result import STEADY_GROWTH_NS, SweepPoint, steady_values
from tests.results import make_counts, make_hops, make_snapshot
from tests.sweeps import make_plan, queue_point, queue_result

PLAN = make_plan()
PROBE = Probe(10_000, Purpose.BISECT)


def point(result: RunResult, growth_ns: int | None = 0) -> SweepPoint:
    return make_point(3, PROBE, result, PLAN.slos, growth_ns)


def codes(of: SweepPoint) -> list[str]:
    return [reason.code for reason in of.reasons]


# --- judging ----------------------------------------------------------------------------------


def test_a_point_holds_when_its_slo_does_and_its_run_tells() -> None:
    held = point(queue_result(10_000))
    assert held.holds
    assert held.reasons == ()
    assert verdict_of(held) is Verdict.HOLDS
    assert held.is_steady
    assert held.values_ns == (make_hops(scale=1.5)[4].percentiles_ns["p99"],)


@pytest.mark.parametrize(
    ("changes", "code", "word", "text"),
    [
        (
            {"hops": make_hops(scale=10.0)},
            "slo-broken",
            "p99",
            "end_to_end.p99 is 13.1 ms",
        ),
        (
            {"hops": make_hops(count=9000), "counts": make_counts(measured=9000)},
            "slo-unknown",
            "too few ticks",
            "end_to_end.p99 takes 10,000 ticks, there are 9,000",
        ),
        ({"achieved_rate_hz": 9850.0}, "rate-missed", "rate", "rate -1.5 % off"),
        ({"achieved_rate_hz": 10_150.0}, "rate-missed", "rate", "rate +1.5 % off"),
        (
            {"findings": (Finding(code="ticks-lost", values={"lost": 12, "sent": 120_000}),)},
            "ticks-lost",
            "lost",
            "12 of 120,000 ticks were lost",
        ),
        (
            {"findings": (Finding(code="ring-overrun", values={"rows": 5}),)},
            "ring-overrun",
            "ring-overrun",
            "5 rows found their ring full: the supervisor did not keep up",
        ),
    ],
)
def test_a_point_fails_and_says_why(
    changes: dict[str, object], code: str, word: str, text: str
) -> None:
    failed = point(queue_result(10_000, **changes))
    assert codes(failed) == [code]
    assert not failed.holds
    assert verdict_of(failed) is Verdict.FAILS
    assert describe_reason(failed.reasons[0]) == text
    assert reason_word(failed.reasons[0]) == word
    assert failed.is_steady is (code == "slo-broken")


@given(st.floats(-0.0099, 0.0099))
def test_a_rate_within_one_percent_is_as_asked(part: float) -> None:
    assert point(queue_result(10_000, achieved_rate_hz=10_000 * (1 + part))).holds


def test_at_random_the_schedule_says_what_was_asked_for() -> None:
    # Poisson arrivals have 2 % more ticks in ten seconds now and then
    given_ = {"target_rate_hz": 10_200.0, "achieved_rate_hz": 10_200.0}
    assert point(queue_result(10_000, **given_)).holds


def test_a_warning_of_the_run_fails_no_point() -> None:
    warning = Finding(code="few-cpus", values={"cpus": 2, "processes": 4})
    assert point(queue_result(10_000, findings=(warning,))).holds


def test_all_slos_must_hold() -> None:
    plan = make_plan("end_to_end.p99 < 5ms", "websocket.p50 < 1us")
    failed = make_point(1, PROBE, queue_result(10_000), plan.slos, 0)
    assert codes(failed) == ["slo-broken"]
    assert reason_word(failed.reasons[0]) == "websocket.p50"
    assert len(failed.values_ns) == 2


def test_a_backlog_that_grew_has_no_latency_of_its_own() -> None:
    assert point(queue_result(10_000), STEADY_GROWTH_NS).is_steady
    assert not point(queue_result(10_000), STEADY_GROWTH_NS + 1).is_steady
    assert point(queue_result(10_000), None).is_steady


def test_values_are_medians_of_the_steady_points_of_a_rate() -> None:
    points = [
        msgspec.structs.replace(queue_point(rate), values_ns=(value,), overloaded=overloaded)
        for rate, value, overloaded in (
            (2000, 4.0, False), (1000, 3.0, False), (2000, 9.0, False), (2000, 5.0, False),
            (4000, 7.0, True), (8000, None, False),
        )
    ]  # fmt: skip
    assert steady_values(tuple(points)) == {1000: 3.0, 2000: 5.0}


# --- the backlog ------------------------------------------------------------------------------


def backlog(*, cold: bool = False, arrivals: Arrivals = Arrivals.CONSTANT) -> Backlog:
    return Backlog(1000, arrivals, PLAN.slos, cold=cold)


def test_ticks_that_pile_up_end_the_point() -> None:
    looked = backlog()
    behind = GIVE_UP_NS + 10 * NS_PER_MS
    snapshot = make_snapshot(
        phase="measuring",
        elapsed_ns=20 * NS_PER_S,
        total_ns=40 * NS_PER_S,
        consumed=20_000 - behind // NS_PER_MS,
    )
    with pytest.raises(Overloaded) as raised:
        looked.note(snapshot)
    assert raised.value.behind_ns == behind
    ended = overloaded_point(4, PROBE, PLAN.slos, raised.value)
    assert verdict_of(ended) is Verdict.FAILS_CLEARLY
    assert (ended.holds, ended.is_steady, ended.values_ns, ended.hops) == (
        False,
        False,
        (None,),
        (),
    )
    assert describe_reason(ended.reasons[0]) == "3.01 s behind after 20 s"
    assert reason_word(ended.reasons[0]) == "overloaded"
    assert ended.cpu_shares["relay"] == pytest.approx(0.644)


@pytest.mark.parametrize("phase", ["starting", "draining", "writing"])
def test_only_a_run_that_sends_is_looked_at(phase: str) -> None:
    looked = backlog()
    looked.note(make_snapshot(phase=phase, elapsed_ns=20 * NS_PER_S, consumed=0))
    assert looked.growth_ns is None


def test_a_cold_broker_gets_time() -> None:
    late = make_snapshot(elapsed_ns=COLD_PATIENCE_NS, total_ns=None, consumed=0)
    backlog(cold=True).note(late)
    with pytest.raises(Overloaded):
        backlog().note(late)


def test_after_the_last_tick_nothing_more_is_due() -> None:
    backlog().note(make_snapshot(elapsed_ns=90 * NS_PER_S, total_ns=62 * NS_PER_S, consumed=62_000))


def test_a_limit_of_seconds_gives_more_time() -> None:
    plan = make_plan("end_to_end.p99 < 2s")
    late = make_snapshot(elapsed_ns=20 * NS_PER_S, total_ns=None, consumed=5_000)
    Backlog(1000, Arrivals.CONSTANT, plan.slos, cold=False).note(late)


def test_at_random_those_sent_count() -> None:
    snapshot = make_snapshot(elapsed_ns=20 * NS_PER_S, consumed=0, in_flight=100)
    backlog(arrivals=Arrivals.BURST).note(snapshot)  # 20,000 would be due on average
    with pytest.raises(Overloaded):
        backlog(arrivals=Arrivals.BURST).note(
            make_snapshot(elapsed_ns=20 * NS_PER_S, consumed=0, in_flight=3100)
        )


@given(st.integers(0, 500), st.integers(-20, 20), st.integers(12, 60))
def test_growth_is_what_the_last_third_is_behind_more_than_the_first(
    base: int, growth_per_look: int, looks: int
) -> None:
    looked = backlog()
    for look in range(looks):
        elapsed_ns = 10 * NS_PER_S + look * NS_PER_S // 4
        behind = base + 1000 + growth_per_look * look
        looked.note(
            make_snapshot(
                elapsed_ns=elapsed_ns, total_ns=None, consumed=elapsed_ns // NS_PER_MS - behind
            )
        )
    assert looked.growth_ns is not None
    between_thirds = looks - looks // 3
    assert looked.growth_ns == pytest.approx(
        growth_per_look * between_thirds * NS_PER_MS, abs=1.01 * NS_PER_MS
    )


def test_few_looks_tell_no_growth() -> None:
    looked = backlog()
    for _ in range(11):
        looked.note(make_snapshot(elapsed_ns=NS_PER_S, total_ns=None, consumed=900))
    assert looked.growth_ns is None
