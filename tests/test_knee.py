"""The search for the highest rate that holds, against pipelines made up for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from latbench.knee import (
    CONFIRMATIONS,
    MAX_RECOVERIES,
    MAX_REJECTIONS,
    STEP_FACTOR,
    Ending,
    Knee,
    Probe,
    Purpose,
    Verdict,
    search,
)

RATES = st.integers(1, 1_000_000)
RESOLUTIONS = st.floats(0.005, 0.5)


def run(
    from_hz: int, to_hz: int, resolution: float, measure: Callable[[Probe], Verdict]
) -> tuple[Knee, list[Probe]]:
    """Follow a search to its end."""
    probes: list[Probe] = []
    going = search(from_hz, to_hz, resolution)
    try:
        probe = next(going)
        while True:
            probes.append(probe)
            probe = going.send(measure(probe))
    except StopIteration as ended:
        knee = ended.value
    assert isinstance(knee, Knee)
    return knee, probes


def verdict(*, holds: bool) -> Verdict:
    return Verdict.HOLDS if holds else Verdict.FAILS


def most_probes(from_hz: int, to_hz: int, resolution: float) -> int:
    """No search takes more: steps and bisections three times, each answer three times."""
    steps = math.ceil(math.log(to_hz / from_hz) / math.log(STEP_FACTOR)) + 1
    # a bisection's rate is rounded, to three digits, so its interval may be a little above half
    bisections = math.ceil(2 * math.log2(math.log(STEP_FACTOR) / math.log1p(resolution)) + 4)
    each = 3 * steps + 3 * max(bisections, 1) * 2 + CONFIRMATIONS + 2
    return (1 + MAX_REJECTIONS + MAX_RECOVERIES) * each


@given(RATES, RATES, RATES, RESOLUTIONS)
def test_a_step_is_found_within_the_resolution(a: int, b: int, knee_hz: int, part: float) -> None:
    from_hz, to_hz = sorted((a, b))
    knee, probes = run(from_hz, to_hz, part, lambda probe: verdict(holds=probe.rate_hz <= knee_hz))
    assert all(from_hz <= probe.rate_hz <= to_hz for probe in probes)
    if knee_hz < from_hz:
        assert knee == Knee(ending=Ending.NONE_HOLDS, rate_hz=None, fails_hz=from_hz)
        assert len(probes) == 2  # one failure may be the machine's
        return
    assert knee.ending is Ending.FOUND
    assert knee.rate_hz is not None
    assert knee.rate_hz <= knee_hz
    assert knee.held == CONFIRMATIONS
    assert knee.rejected_hz == knee.recovered_hz == ()
    last = [Probe(knee.rate_hz, Purpose.CONFIRM)] * CONFIRMATIONS
    if knee.fails_hz is not None:
        last.append(Probe(knee.fails_hz, Purpose.RECHECK))
    assert probes[-len(last) :] == last
    if knee_hz >= to_hz:
        assert (knee.rate_hz, knee.fails_hz) == (to_hz, None)
        return
    assert knee.fails_hz is not None
    assert knee.fails_hz > knee_hz
    near = knee.fails_hz <= knee.rate_hz * (1 + part)
    assert near or knee.fails_hz - knee.rate_hz == 1


@given(RATES, RATES, RATES, RESOLUTIONS, st.randoms(use_true_random=False))
def test_one_wrong_measurement_of_each_rate_makes_no_wrong_answer(
    a: int, b: int, knee_hz: int, part: float, chance: Random
) -> None:
    from_hz, to_hz = sorted((a, b))
    lies: dict[int, int] = {}
    seen: Counter[int] = Counter()

    def measure(probe: Probe) -> Verdict:
        number = seen[probe.rate_hz]
        seen[probe.rate_hz] += 1
        lies.setdefault(probe.rate_hz, chance.randrange(8))
        return verdict(holds=(probe.rate_hz <= knee_hz) ^ (lies[probe.rate_hz] == number))

    knee, _ = run(from_hz, to_hz, part, measure)
    assert knee.fails_hz is None or knee.fails_hz > knee_hz
    if knee.ending is Ending.INCONCLUSIVE:
        assert len(knee.rejected_hz) == MAX_REJECTIONS
    elif knee.rate_hz is not None:
        assert knee.rate_hz <= knee_hz
        if knee.fails_hz is None:
            assert knee.rate_hz == to_hz
        else:
            near = knee.fails_hz <= knee.rate_hz * (1 + part)
            assert near or knee.fails_hz - knee.rate_hz == 1


@given(RATES, RATES, RATES, RESOLUTIONS)
def test_a_first_failure_is_forgiven_at_every_rate(
    a: int, b: int, knee_hz: int, part: float
) -> None:
    from_hz, to_hz = sorted((a, b))
    seen: Counter[int] = Counter()

    def measure(probe: Probe) -> Verdict:
        seen[probe.rate_hz] += 1
        return verdict(holds=probe.rate_hz <= knee_hz and seen[probe.rate_hz] > 1)

    knee, _ = run(from_hz, to_hz, part, measure)
    honest, _ = run(from_hz, to_hz, part, lambda probe: verdict(holds=probe.rate_hz <= knee_hz))
    assert (knee.ending, knee.rate_hz, knee.fails_hz) == (
        honest.ending,
        honest.rate_hz,
        honest.fails_hz,
    )


def test_a_lucky_rate_is_rejected_and_the_search_goes_on_below_it() -> None:
    seen: Counter[int] = Counter()

    def measure(probe: Probe) -> Verdict:
        seen[probe.rate_hz] += 1
        lucky = probe.rate_hz == 8000 and seen[probe.rate_hz] == 1
        return verdict(holds=probe.rate_hz <= 5000 or lucky)

    knee, probes = run(1000, 1_000_000, 0.05, measure)
    assert knee.ending is Ending.FOUND
    assert knee.rejected_hz == (8000,)
    assert knee.rate_hz is not None
    assert 5000 / 1.05 <= knee.rate_hz <= 5000
    assert Probe(8000, Purpose.CONFIRM) in probes


def test_a_bad_minute_at_a_rate_is_found_out_later() -> None:
    """Both measurements of 16,000/s fall into a minute in which nothing holds."""
    seen: Counter[int] = Counter()

    def measure(probe: Probe) -> Verdict:
        seen[probe.rate_hz] += 1
        unlucky = probe.rate_hz == 16_000 and seen[probe.rate_hz] <= 2
        return verdict(holds=probe.rate_hz <= 50_000 and not unlucky)

    knee, probes = run(1000, 1_000_000, 0.05, measure)
    assert knee.recovered_hz == (16_000,)
    assert knee.rate_hz is not None
    assert 50_000 / 1.05 <= knee.rate_hz <= 50_000
    # the lower answer had been confirmed before
    assert len([probe for probe in probes if probe.purpose is Purpose.CONFIRM]) == 6


def test_an_answer_that_was_confirmed_needs_that_once() -> None:
    """16,000/s fails, holds when it is looked at again, and fails when it is to be the answer."""
    script = iter([False, False, True, True, False, False])

    def measure(probe: Probe) -> Verdict:
        if probe.rate_hz == 16_000:
            return verdict(holds=next(script))
        return verdict(holds=probe.rate_hz < 16_000)

    knee, probes = run(1000, 16_000, 0.05, measure)
    assert (knee.ending, knee.recovered_hz, knee.rejected_hz) == (
        Ending.FOUND,
        (16_000,),
        (16_000,),
    )
    assert knee.rate_hz is not None
    assert (knee.fails_hz, knee.held) == (16_000, CONFIRMATIONS)
    assert probes.count(Probe(knee.rate_hz, Purpose.CONFIRM)) == CONFIRMATIONS


def test_two_of_three_are_enough_and_told() -> None:
    confirmations = 0

    def measure(probe: Probe) -> Verdict:
        nonlocal confirmations
        if probe.purpose is Purpose.CONFIRM:
            confirmations += 1
        return verdict(holds=probe.rate_hz <= 3000 and confirmations != 2)

    knee, _ = run(3000, 3001, 0.05, measure)
    assert (knee.ending, knee.rate_hz, knee.held) == (Ending.FOUND, 3000, 2)


def test_answers_that_never_hold_again_end_it_without_one() -> None:
    knee, probes = run(
        1000, 64_000, 0.05, lambda probe: verdict(holds=probe.purpose is not Purpose.CONFIRM)
    )
    assert knee.ending is Ending.INCONCLUSIVE
    assert knee.rate_hz is None
    assert len(knee.rejected_hz) == MAX_REJECTIONS
    assert list(knee.rejected_hz) == sorted(knee.rejected_hz, reverse=True)
    # the third is not measured when two have failed
    confirmations = [probe for probe in probes if probe.purpose is Purpose.CONFIRM]
    assert len(confirmations) == 2 * MAX_REJECTIONS


def test_a_lowest_rate_that_held_by_luck_does_not_hold() -> None:
    knee, _ = run(
        1000, 1000, 0.05, lambda probe: verdict(holds=probe.purpose is not Purpose.CONFIRM)
    )
    assert (knee.ending, knee.rate_hz, knee.fails_hz) == (Ending.NONE_HOLDS, None, 1000)


@given(RATES, RATES, RESOLUTIONS, st.randoms(use_true_random=False))
def test_it_ends_whatever_comes_and_says_nothing_that_contradicts_itself(
    a: int, b: int, part: float, chance: Random
) -> None:
    from_hz, to_hz = sorted((a, b))
    limit = most_probes(from_hz, to_hz, part)
    count = 0

    def measure(probe: Probe) -> Verdict:
        nonlocal count
        count += 1
        assert count <= limit
        assert from_hz <= probe.rate_hz <= to_hz
        return chance.choice(list(Verdict))

    knee, _ = run(from_hz, to_hz, part, measure)
    assert (knee.rate_hz is None) == (knee.ending is not Ending.FOUND)
    if knee.rate_hz is not None and knee.fails_hz is not None:
        assert knee.rate_hz < knee.fails_hz


def test_what_fails_clearly_is_not_measured_twice() -> None:
    _, probes = run(
        1000,
        1_000_000,
        0.05,
        lambda probe: Verdict.HOLDS if probe.rate_hz <= 5000 else Verdict.FAILS_CLEARLY,
    )
    assert not {Purpose.REPEAT, Purpose.RECHECK} & {probe.purpose for probe in probes}


@given(RATES, RATES, RATES)
def test_rates_between_are_easy_to_read(a: int, b: int, knee_hz: int) -> None:
    from_hz, to_hz = sorted((a, b))
    _, probes = run(from_hz, to_hz, 0.05, lambda probe: verdict(holds=probe.rate_hz <= knee_hz))
    for probe in probes:
        if probe.purpose is Purpose.BISECT and probe.rate_hz > 1000:
            assert len(str(probe.rate_hz).rstrip("0")) <= 3
