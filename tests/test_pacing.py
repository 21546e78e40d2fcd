from __future__ import annotations

from itertools import islice
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench import pacing
from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.pacing import BLOCK_TICKS, Offsets, due_offset_ns, offset_blocks

rates = st.integers(min_value=1, max_value=1_000_000)
seeds = st.integers(min_value=0, max_value=2**32 - 1)
random_arrivals = st.sampled_from([Arrivals.POISSON, Arrivals.BURST])


def offsets(arrivals: Arrivals, rate_hz: int, seed: int = 1, blocks: int = 3) -> Offsets:
    return np.concatenate(list(islice(offset_blocks(arrivals, rate_hz, seed), blocks)))


@given(rates, st.integers(min_value=0, max_value=10**15))
def test_a_constant_tick_is_due_at_its_exact_place_rounded_down(rate_hz: int, seq: int) -> None:
    due_ns = due_offset_ns(seq, rate_hz)
    assert due_ns * rate_hz <= seq * NS_PER_S < (due_ns + 1) * rate_hz


@given(rates)
def test_constant_blocks_hold_the_same_integers_as_the_plain_formula(rate_hz: int) -> None:
    found = offsets(Arrivals.CONSTANT, rate_hz)
    assert found.dtype == np.int64
    assert len(found) == 3 * BLOCK_TICKS
    borders = (0, 1, BLOCK_TICKS - 1, BLOCK_TICKS, BLOCK_TICKS + 1, 2 * BLOCK_TICKS, -1)
    for place in borders:
        seq = place % len(found)
        assert found[place] == due_offset_ns(seq, rate_hz)


@pytest.mark.parametrize("rate_hz", [1, 3, 7, 999, 1000, 30_011, 999_983, 1_000_000])
def test_the_constant_schedule_never_drifts(rate_hz: int) -> None:
    found = offsets(Arrivals.CONSTANT, rate_hz, blocks=2)
    assert found.tolist() == [seq * NS_PER_S // rate_hz for seq in range(2 * BLOCK_TICKS)]


class _From:
    """`numpy` for `pacing`, but `arange` begins at another tick."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __getattr__(self, name: str) -> object:
        return cast(object, getattr(np, name))

    def arange(self, begin: int, end: int, dtype: type[np.int64]) -> Offsets:
        return np.arange(begin + self.first, end + self.first, dtype=dtype)


@given(rates, st.integers(min_value=0, max_value=2**42))
def test_ticks_beyond_nine_billion_are_due_without_overflow(rate_hz: int, beyond: int) -> None:
    # seq * 10^9 leaves int64 at 9.2e9 ticks: 2.5 hours at the highest rate
    first = (2**63 - 1) // NS_PER_S + beyond
    if first * NS_PER_S // rate_hz > 2**62:  # due in more than a century
        first = 2**62 // NS_PER_S * rate_hz
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pacing, "np", _From(first))
        found = next(offset_blocks(Arrivals.CONSTANT, rate_hz, 1))
    assert found.tolist() == [
        due_offset_ns(seq, rate_hz) for seq in range(first, first + BLOCK_TICKS)
    ]


@given(random_arrivals, rates, seeds)
def test_random_schedules_never_go_back(arrivals: Arrivals, rate_hz: int, seed: int) -> None:
    found = offsets(arrivals, rate_hz, seed)
    assert found[0] >= 0
    assert (np.diff(found) >= 0).all()


@given(random_arrivals, rates, seeds)
def test_the_same_seed_gives_the_same_schedule_and_another_one_another(
    arrivals: Arrivals, rate_hz: int, seed: int
) -> None:
    found = offsets(arrivals, rate_hz, seed)
    assert (found == offsets(arrivals, rate_hz, seed)).all()
    assert (found != offsets(arrivals, rate_hz, seed + 1)).any()


@given(rates, seeds)
def test_a_seed_does_not_move_a_constant_schedule(rate_hz: int, seed: int) -> None:
    ours, first = (offsets(Arrivals.CONSTANT, rate_hz, number, 1) for number in (seed, 1))
    assert (ours == first).all()


@given(rates, seeds)
@settings(max_examples=30)
def test_poisson_keeps_the_mean_rate_and_its_gaps_vary_as_much_as_their_mean(
    rate_hz: int, seed: int
) -> None:
    found = offsets(Arrivals.POISSON, rate_hz, seed, blocks=8)
    gaps_ns = np.diff(found, prepend=0).astype(np.float64)
    n = len(gaps_ns)
    # the mean of n exponential gaps has a relative standard error of 1/√n, their
    # coefficient of variation one of about 1/√n too: six of them, once in 5e8 examples
    assert gaps_ns.mean() * rate_hz / NS_PER_S == pytest.approx(1, abs=6 / np.sqrt(n) + 1e-6)
    assert gaps_ns.std() / gaps_ns.mean() == pytest.approx(1, abs=6 / np.sqrt(n))


@given(rates, seeds)
@settings(max_examples=20)
def test_poisson_gaps_do_not_depend_on_each_other(rate_hz: int, seed: int) -> None:
    gaps = np.diff(offsets(Arrivals.POISSON, rate_hz, seed, blocks=4)).astype(np.float64)
    correlation = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]
    assert abs(correlation) < 6 / np.sqrt(len(gaps))


@given(seeds)
@settings(max_examples=20)
def test_burst_keeps_the_mean_rate_over_many_regimes(seed: int) -> None:
    # 24,576 ticks at 20/s are 20 minutes: about 600 pairs of a quiet and an active spell.
    # The count over T has the variance of its regimes: 2 σ² τ / T relative to the mean squared,
    # σ² = Σ share (factor - 1)² = 1.78, τ = 0.18 s the regimes' correlation time
    found = offsets(Arrivals.BURST, 20, seed)
    span_s = found[-1] / NS_PER_S
    deviation = np.sqrt(2 * 1.78 * 0.18 / span_s + 1 / len(found))
    assert len(found) / span_s / 20 == pytest.approx(1, abs=6 * deviation)


@given(seeds)
@settings(max_examples=20)
def test_burst_gaps_vary_clearly_more_than_poisson_gaps(seed: int) -> None:
    gaps = np.diff(offsets(Arrivals.BURST, 1000, seed)).astype(np.float64)
    assert gaps.std() / gaps.mean() > 1.15


def test_burst_is_at_five_times_the_rate_a_tenth_of_the_time() -> None:
    rate_hz, window_ns = 1000, NS_PER_S // 50
    found = offsets(Arrivals.BURST, rate_hz, seed=3, blocks=60)
    per_window = np.bincount(found // window_ns)[:-1]  # 20 on average: 11 quiet, 100 active
    active = per_window > 50
    assert active.mean() == pytest.approx(0.1, abs=0.03)
    assert per_window[per_window < 30].mean() == pytest.approx(20 * 0.5 / 0.9, rel=0.05)
    assert np.median(per_window[active]) == pytest.approx(100, rel=0.05)


def test_a_burst_schedule_remembers_no_more_regimes_than_a_block_has() -> None:
    blocks = offset_blocks(Arrivals.BURST, 1, 1)  # a block is over two hours: 8,000 spells
    remembered = []
    for _ in range(10):
        next(blocks)
        remembered.append(len(blocks.gi_frame.f_locals["ends_s"]))  # type: ignore[attr-defined]
    assert max(remembered) < 1.5 * remembered[0]
