"""Verdicts from runs that are made up: what is decided, at which level, and who is to blame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench import signed_rank
from latbench.comparison import Allowed, Blame, Change, GateResult, Verdict, overall
from latbench.deciding import ALPHA, SHOWN, Floats, Pairs, Sides, blame, changes, decide
from latbench.gates import Gate, parse_gate, parse_gates
from latbench.result import RunResult
from latbench.tick import HOPS
from tests.ab import PART_NAMES, noisy_pairs, noisy_result
from tests.results import make_hop, make_hops, make_result, make_tail


def decided(
    base: Sequence[RunResult],
    new: Sequence[RunResult],
    *gates: str,
    alpha: float = ALPHA,
    calibrated: Mapping[str, float] | None = None,
) -> tuple[GateResult, ...]:
    return decide(parse_gates(gates), Sides(base, new, Pairs), alpha, calibrated)


def verdicts(results: Sequence[GateResult]) -> list[Verdict]:
    return [each.verdict for each in results]


def without(runs: Sequence[RunResult], statistic: str) -> list[RunResult]:
    """Runs whose ticks are too few for a percentile."""
    return [
        msgspec.structs.replace(
            run,
            hops=tuple(
                msgspec.structs.replace(hop, percentiles_ns=hop.percentiles_ns | {statistic: None})
                for hop in run.hops
            ),
        )
        for run in runs
    ]


# --- verdicts


def test_runs_that_differ_by_nothing_but_noise_pass() -> None:
    results = decided(*noisy_pairs(1, 10))
    assert verdicts(results) == [Verdict.PASS, Verdict.PASS]
    assert overall(results) is Verdict.PASS
    for each in results:
        change = each.change
        assert change.ratio_low is not None
        assert change.ratio_high is not None
        assert change.ratio is not None
        assert change.ratio_low < 1 < change.ratio_high < 1 + each.allowed
        assert change.ratio_low <= change.ratio <= change.ratio_high
        assert not change.is_sure


def test_a_new_side_that_is_slower_by_more_than_is_allowed_is_a_regression() -> None:
    results = decided(*noisy_pairs(2, 10, times=1.25))
    assert verdicts(results) == [Verdict.REGRESSION, Verdict.REGRESSION]
    assert overall(results) is Verdict.REGRESSION
    for each in results:
        assert each.change.is_sure
        assert each.change.ratio == pytest.approx(1.25, rel=0.03)
        assert each.change.base_ns is not None
        assert each.change.shift_ns == pytest.approx(each.change.base_ns * 0.25, rel=0.15)
        assert each.change.shift_low_ns is not None
        assert each.change.shift_high_ns is not None
        assert each.change.shift_low_ns < each.change.shift_ns < each.change.shift_high_ns


def test_one_that_is_slower_by_less_than_is_allowed_passes_though_it_surely_is() -> None:
    (result,) = decided(*noisy_pairs(3, 20, spread=0.005, times=1.04), "p99=10%")
    assert result.verdict is Verdict.PASS
    assert result.change.is_sure


def test_one_that_is_slower_by_about_what_is_allowed_is_inconclusive() -> None:
    (result,) = decided(*noisy_pairs(4, 10, spread=0.05, times=1.1), "p99=10%")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert overall((result,)) is Verdict.INCONCLUSIVE


def test_a_faster_side_passes_and_is_surely_faster() -> None:
    results = decided(*noisy_pairs(5, 10, times=0.8))
    assert verdicts(results) == [Verdict.PASS, Verdict.PASS]
    assert all(each.change.is_sure for each in results)


def test_runs_without_the_percentile_are_inconclusive_and_their_change_unknown() -> None:
    base, new = noisy_pairs(6, 10)
    new[3:4] = without(new[3:4], "p99")
    results = decided(base, new, "p99=10%", "p50=10%")
    assert verdicts(results) == [Verdict.INCONCLUSIVE, Verdict.PASS]
    unknown = results[0].change
    assert (unknown.ratio, unknown.base_ns, unknown.shift_low_ns) == (None, None, None)
    assert not unknown.is_sure
    assert results[0].allowed_by is Allowed.MARGIN
    assert overall(results) is Verdict.INCONCLUSIVE


def test_without_runs_all_is_inconclusive() -> None:
    results = decided([], [])
    assert verdicts(results) == [Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert all(each.ratio is None for each in changes(Sides([], [], Pairs)))


def test_too_few_pairs_have_an_estimate_and_no_bounds() -> None:
    (result,) = decided(*noisy_pairs(7, 5, times=3), "p99=10%")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.change.ratio == pytest.approx(3, rel=0.1)
    assert (result.change.ratio_low, result.change.ratio_high) == (None, None)
    assert (result.change.shift_low_ns, result.change.shift_high_ns) == (None, None)
    assert not result.change.is_sure
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


def test_a_hop_that_takes_no_time_at_all_is_compared_and_can_be_written() -> None:
    # at --speed max *due* is *sent*
    zero = make_hop(
        "schedule", min_ns=0, mean_ns=0.0, max_ns=0, percentiles_ns={"p50": 0, "p99": 0}
    )
    hops = (zero, *make_hops()[1:])
    runs = [make_result(hops=hops)] * 10
    (result,) = decided(runs, runs, "schedule.p50=10%")
    assert result.verdict is Verdict.PASS
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


@pytest.mark.parametrize(
    ("each", "all_of_them"),
    [
        ((Verdict.PASS, Verdict.PASS), Verdict.PASS),
        ((Verdict.PASS, Verdict.INCONCLUSIVE), Verdict.INCONCLUSIVE),
        ((Verdict.INCONCLUSIVE, Verdict.REGRESSION), Verdict.REGRESSION),
        ((Verdict.REGRESSION, Verdict.PASS), Verdict.REGRESSION),
    ],
)
def test_the_gravest_verdict_is_that_of_all(
    each: tuple[Verdict, ...], all_of_them: Verdict
) -> None:
    (made,) = decided(*noisy_pairs(1, 6), "p50=5%")
    gates = tuple(msgspec.structs.replace(made, verdict=verdict) for verdict in each)
    assert overall(gates) is all_of_them


# --- what is allowed


def test_a_share_of_a_short_latency_gives_way_to_50_microseconds() -> None:
    base, new = noisy_pairs(8, 10, by_us={"relay": 20.0})  # of 7 µs
    gates = ("relay.p50=5%", "end_to_end.p99=10%")
    relay, total = decided(base, new, *gates)
    assert relay.allowed_by is Allowed.FLOOR
    assert relay.allowed == pytest.approx(50 / 7.12, rel=0.1)
    assert relay.verdict is Verdict.PASS
    assert total.allowed_by is Allowed.MARGIN
    assert total.allowed == 0.1


def test_what_calibration_found_widens_a_gate_and_never_narrows_it() -> None:
    base, new = noisy_pairs(9, 10, times=1.2)
    assert verdicts(decided(base, new)) == [Verdict.REGRESSION, Verdict.REGRESSION]
    noise = {"end_to_end.p50": 0.4, "end_to_end.p99": 0.01}
    p50, p99 = decided(base, new, calibrated=noise)
    assert (p50.verdict, p50.allowed, p50.allowed_by) == (Verdict.PASS, 0.4, Allowed.CALIBRATION)
    assert (p99.verdict, p99.allowed, p99.allowed_by) == (Verdict.REGRESSION, 0.1, Allowed.MARGIN)


# --- several gates


def shares(confidences: Sequence[float]) -> list[float]:
    """α over the level that each interval has."""
    return [round(ALPHA / (1 - confidence), 6) for confidence in confidences]


GATES = ("p50=5%", "websocket.p99=5%", "kafka.p99=15%", "relay.mean=5%")


def test_gates_come_back_in_their_order_whichever_is_clearest() -> None:
    base, new = noisy_pairs(10, 20, by_us={"kafka": 400})
    results = decided(base, new, *GATES)
    assert [each.gate for each in results] == [parse_gate(text) for text in GATES]
    turned = decided(base, new, *reversed(GATES))
    assert [each.gate for each in turned] == [parse_gate(text) for text in reversed(GATES)]
    # and the order in which they were written decides nothing
    by_subject = {each.gate.subject: each.verdict for each in turned}
    assert {each.gate.subject: each.verdict for each in results} == by_subject


def test_each_gate_that_is_decided_leaves_more_to_the_next() -> None:
    results = decided(*noisy_pairs(11, 20, spread=0.005), *GATES)
    assert verdicts(results) == [Verdict.PASS] * 4
    assert sorted(shares([each.change.confidence for each in results])) == [1, 2, 3, 4]


def test_from_the_first_gate_that_is_not_decided_on_the_level_stays() -> None:
    base, new = noisy_pairs(12, 10, spread=0.0)
    chooser = np.random.default_rng(12)
    new = [
        noisy_result(chooser, spread=0.0, by_us={"kafka": float(chooser.choice([0.0, 400.0]))})
        for _ in new
    ]
    base = [noisy_result(chooser, spread=0.0) for _ in base]
    results = decided(base, new, "websocket.p99=5%", "kafka.p99=10%", "p99=10%")
    assert verdicts(results) == [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert shares([each.change.confidence for each in results]) == [3, 2, 2]


def test_a_gate_that_nobody_can_tell_keeps_its_share_of_the_errors() -> None:
    base, new = noisy_pairs(13, 10)
    results = decided(without(base, "p99.9"), new, "p99.9=5%", "p50=5%")
    assert verdicts(results) == [Verdict.INCONCLUSIVE, Verdict.PASS]
    assert shares([results[1].change.confidence]) == [2]


@given(st.integers(0, 10_000), st.floats(0.9, 1.2), st.sampled_from([ALPHA, ALPHA / 2]))
def test_the_interval_that_is_told_is_the_one_that_decided_at_the_level_it_says(
    seed: int, times: float, alpha: float
) -> None:
    base, new = noisy_pairs(seed, 10, spread=0.04, times=times)
    sides = Sides(base, new, Pairs)
    results = decided(base, new, "p50=5%", "p99=10%", "kafka.p90=10%", alpha=alpha)
    levels = []
    for each in results:
        change = each.change
        samples = sides.samples(each.gate.hop, each.gate.statistic)
        assert samples is not None
        level = 1 - change.confidence
        levels.append(round(alpha / level))
        low, high = samples.ratio_interval(level * (1 + 1e-9))
        assert change.ratio_low == pytest.approx(math.exp(low))
        assert change.ratio_high == pytest.approx(math.exp(high))
        bound = 1 + each.allowed
        expected = Verdict.INCONCLUSIVE
        if math.exp(high) < bound:
            expected = Verdict.PASS
        elif math.exp(low) > bound:
            expected = Verdict.REGRESSION
        assert each.verdict is expected
    # Holm's: 3, 2, 1, as far as gates are decided
    undecided = verdicts(results).count(Verdict.INCONCLUSIVE)
    steps = [3, 2, 1][: 3 - undecided] + [max(undecided, 1)] * undecided
    assert sorted(levels, reverse=True) == steps


# --- every hop


def test_every_hop_is_told_at_every_statistic_by_an_interval_of_its_own() -> None:
    base, new = noisy_pairs(14, 10, by_us={"kafka": 300})
    told = changes(Sides(base, new, Pairs))
    assert [(each.hop, each.statistic) for each in told] == [
        (hop.name, statistic) for hop in HOPS for statistic in SHOWN
    ]
    assert {each.confidence for each in told} == {1 - ALPHA}
    of = {(each.hop, each.statistic): each for each in told}
    assert of["kafka", "p50"].is_sure
    assert of["kafka", "p50"].shift_ns == pytest.approx(300_000, rel=0.1)
    assert not of["relay", "p50"].is_sure


@pytest.mark.parametrize(
    ("low", "high", "is_sure"),
    [
        (1.01, 1.2, True),
        (0.8, 0.99, True),
        (0.9, 1.1, False),
        (1.0, 1.2, False),
        (None, None, False),
    ],
)
def test_a_change_is_sure_when_its_interval_leaves_none_out(
    low: float | None, high: float | None, is_sure: bool
) -> None:
    (made,) = decided(*noisy_pairs(1, 6), "p50=5%")
    change: Change = msgspec.structs.replace(made.change, ratio_low=low, ratio_high=high)
    assert change.is_sure is is_sure


# --- blame


def blamed(base: Sequence[RunResult], new: Sequence[RunResult], *gates: str) -> tuple[Blame, ...]:
    return blame(decided(base, new, *gates), Sides(base, new, Pairs))


@pytest.mark.parametrize("part", PART_NAMES)
@pytest.mark.parametrize("statistic", ["p50", "p90", "p99", "mean"])
def test_the_part_that_a_delay_was_put_into_is_blamed(part: str, statistic: str) -> None:
    base, new = noisy_pairs(15, 10, by_us={part: 800})
    (found,) = blamed(base, new, f"{statistic}=10%")
    assert (found.subject, found.hop) == (f"end_to_end.{statistic}", part)
    assert found.shift_ns == pytest.approx(800_000, rel=0.1)
    assert found.total_shift_ns == pytest.approx(800_000, rel=0.2)


@pytest.mark.parametrize("part", PART_NAMES)
def test_the_part_that_became_faster_is_named_for_an_improvement(part: str) -> None:
    fast, slow = noisy_pairs(16, 10, by_us={part: 800})
    (result,) = decided(slow, fast, "p50=10%")
    assert result.verdict is Verdict.PASS
    (found,) = blamed(slow, fast, "p50=10%")
    assert found.hop == part
    assert found.shift_ns == pytest.approx(-800_000, rel=0.1)
    assert found.total_shift_ns == pytest.approx(-800_000, rel=0.2)


def test_none_is_blamed_where_nothing_changed() -> None:
    assert blamed(*noisy_pairs(17, 20)) == ()


def test_only_gates_on_the_total_have_a_part_to_blame() -> None:
    base, new = noisy_pairs(18, 10, by_us={"kafka": 800})
    assert decided(base, new, "kafka.p50=10%")[0].verdict is Verdict.REGRESSION
    assert blamed(base, new, "kafka.p50=10%", "service.p50=10%") == ()


def test_a_total_that_no_part_surely_explains_blames_none() -> None:
    base, new = noisy_pairs(19, 10)
    doubled = [
        msgspec.structs.replace(
            each,
            hops=tuple(
                make_hop("end_to_end", scale=2.0) if hop.hop == "end_to_end" else hop
                for hop in each.hops
            ),
        )
        for each in new
    ]
    assert decided(base, doubled, "p50=10%")[0].change.is_sure
    assert blamed(base, doubled, "p50=10%") == ()


@pytest.mark.parametrize("statistic", ["p99", "p99.9", "p99.99"])
def test_from_p99_on_the_means_over_the_slowest_ticks_tell(statistic: str) -> None:
    base, new = noisy_pairs(20, 10, by_us={"kafka": 3000})
    # percentiles say kafka, the slowest ticks' own times say relay
    tails = [make_tail(), make_tail(mean_ns={**make_tail().mean_ns, "relay": 3_024_300.0})]
    base = [msgspec.structs.replace(each, tail=tails[0]) for each in base]
    new = [msgspec.structs.replace(each, tail=tails[1]) for each in new]
    (found,) = blamed(base, new, f"{statistic}=10%")
    assert found.hop == "relay"
    assert found.shift_ns == pytest.approx(3_000_000)
    assert found.total_shift_ns == pytest.approx(3_000_000)
    (below,) = blamed(base, new, "p90=10%")
    assert below.hop == "kafka"


def test_without_tails_nobody_is_blamed_for_a_tail() -> None:
    base, new = noisy_pairs(21, 10, by_us={"kafka": 3000})
    new[2] = msgspec.structs.replace(new[2], tail=None)
    assert decided(base, new, "p99=10%")[0].verdict is Verdict.REGRESSION
    assert blamed(base, new, "p99=10%") == ()


# --- how often it errs

SESSIONS = 400


def looks(base: Floats, new: Floats, gate: Gate) -> Verdict:
    """What a session of 10 and, where they don't decide, 20 pairs comes to."""
    for pairs in (10, 20):
        samples = _Only(Pairs(base[:pairs], new[:pairs]))
        (result,) = decide((gate,), samples, ALPHA / 2)
        if result.verdict is not Verdict.INCONCLUSIVE:
            return result.verdict
    return Verdict.INCONCLUSIVE


class _Only(Sides):
    """Sides of which one statistic is known."""

    def __init__(self, samples: Pairs) -> None:
        super().__init__([], [], Pairs)
        self._samples = samples

    def samples(self, hop: str, statistic: str) -> Pairs:
        return self._samples


def sessions(seed: int, slower: float, spread: float = 0.08) -> list[Verdict]:
    """Sessions on a machine that drifts, and stalls now and then (Student's t, 3 degrees)."""
    chooser = np.random.default_rng(seed)
    found = []
    for _ in range(SESSIONS):
        drift = np.cumsum(chooser.normal(0, 0.05, 20))
        logs = math.log(5e6) + drift + spread * chooser.standard_t(3, (2, 20))
        base, new = np.exp(logs)
        found.append(looks(base, new * (1 + slower), parse_gate("p99=10%")))
    return found


def test_of_400_sessions_without_a_change_few_find_a_regression() -> None:
    found = sessions(1, slower=0.0)
    assert found.count(Verdict.REGRESSION) <= 0.05 * SESSIONS
    assert found.count(Verdict.PASS) > SESSIONS / 2


def test_sessions_whose_change_is_just_what_is_allowed_rarely_find_a_regression() -> None:
    # the worst case of all that must pass: α/2 at each look, half of that above
    found = sessions(2, slower=0.10)
    assert found.count(Verdict.REGRESSION) <= 0.05 * SESSIONS
    assert found.count(Verdict.PASS) <= 0.05 * SESSIONS


def test_of_400_sessions_that_are_slower_by_a_quarter_nearly_all_find_it() -> None:
    found = sessions(3, slower=0.25, spread=0.03)
    assert found.count(Verdict.REGRESSION) >= 0.95 * SESSIONS
    assert Verdict.PASS not in found


def test_a_whole_interval_stands_on_its_level_and_no_other() -> None:
    base, new = noisy_pairs(22, 10)
    (result,) = decided(base, new, "p50=5%", alpha=0.01)
    logs = [
        math.log(b.hop("end_to_end").percentiles_ns["p50"] or 0)
        - math.log(a.hop("end_to_end").percentiles_ns["p50"] or 0)
        for a, b in zip(base, new, strict=True)
    ]
    low, high = signed_rank.interval(np.array(logs), 0.01)
    assert result.change.confidence == 0.99
    assert (result.change.ratio_low, result.change.ratio_high) == pytest.approx(
        (math.exp(low), math.exp(high))
    )
