from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.config import MAX_AUTO_WARMUP_NS
from latbench.settling import WINDOW_S
from latbench.supervisor import TALLY_INTERVAL_NS
from latbench.warmup import LEAD_NS, Warmup
from tests.results import make_config

STEADY_NS = 600_000
WAKES_PER_S = 20


@dataclasses.dataclass
class Known:
    """What the collector knows of the seconds so far."""

    seconds: int = 0
    p50_per_second: tuple[int, ...] = ()


def make_auto(limit_ns: int = MAX_AUTO_WARMUP_NS) -> Warmup:
    return Warmup(make_config(warmup_ns=limit_ns, warmup_auto=True))


def follow(warmup: Warmup, medians_ns: Sequence[int], phase_ns: int = 0) -> int | None:
    """Look twenty times a second as the supervisor does; the moment the end was known."""
    known = Known()
    for wake in range(len(medians_ns) * WAKES_PER_S + WAKES_PER_S):
        elapsed_ns = wake * NS_PER_S // WAKES_PER_S + phase_ns
        over = min(elapsed_ns // NS_PER_S, len(medians_ns))
        known.seconds, known.p50_per_second = over, tuple(medians_ns[:over])
        if warmup.settle(elapsed_ns, known):
            return elapsed_ns
    return None


def test_a_warm_up_of_a_given_length_is_as_long_as_given() -> None:
    warmup = Warmup(make_config(warmup_ns=2_500_000_000))
    assert warmup.ends_after_ns == 2_500_000_000
    assert warmup.settle(0, Known())
    assert warmup.length_ns(9 * NS_PER_S) == 2_500_000_000
    assert warmup.settled


def test_a_warm_up_ends_by_itself_once_the_latency_is_steady() -> None:
    warmup = make_auto()
    falling = [20_000_000 >> second for second in range(5)]
    known_at_ns = follow(warmup, falling + [STEADY_NS] * 40)
    assert warmup.settled
    assert known_at_ns is not None
    # two windows of steady seconds, or nearly so
    assert 2 * WINDOW_S * NS_PER_S <= known_at_ns <= (5 + 2 * WINDOW_S) * NS_PER_S
    assert warmup.ends_after_ns == known_at_ns + NS_PER_S


@given(st.integers(0, NS_PER_S // WAKES_PER_S - 1), st.integers(0, 8))
def test_a_warm_up_ends_with_a_whole_second_far_enough_ahead(phase_ns: int, rising: int) -> None:
    warmup = make_auto()
    medians = [STEADY_NS * (rising + 2 - second) for second in range(rising)]
    known_at_ns = follow(warmup, medians + [STEADY_NS] * 20, phase_ns)
    assert known_at_ns is not None
    assert warmup.ends_after_ns is not None
    assert warmup.ends_after_ns % NS_PER_S == 0
    assert LEAD_NS <= warmup.ends_after_ns - known_at_ns < LEAD_NS + NS_PER_S
    assert warmup.length_ns(known_at_ns) == warmup.ends_after_ns
    assert warmup.length_ns(900 * NS_PER_S) == warmup.ends_after_ns


def test_an_end_that_is_known_stays() -> None:
    warmup = make_auto()
    follow(warmup, [STEADY_NS] * 12)
    ends_after_ns = warmup.ends_after_ns
    assert warmup.settle(50 * NS_PER_S, Known(50, (1, 1000) * 5))
    assert (warmup.ends_after_ns, warmup.settled) == (ends_after_ns, True)


def test_what_never_settles_is_measured_after_the_limit_and_told() -> None:
    warmup = make_auto(limit_ns=15 * NS_PER_S)
    known_at_ns = follow(warmup, [STEADY_NS << second for second in range(30)])
    assert known_at_ns == 15 * NS_PER_S
    assert warmup.ends_after_ns == 16 * NS_PER_S
    assert not warmup.settled


def test_what_settles_at_the_limit_has_settled() -> None:
    warmup = make_auto(limit_ns=2 * WINDOW_S * NS_PER_S)
    follow(warmup, [STEADY_NS] * 20)
    assert warmup.settled


def test_each_second_is_looked_at_once() -> None:
    warmup, steady = make_auto(), Known(10, (STEADY_NS,) * 9 + (0,))
    assert not warmup.settle(10 * NS_PER_S, steady)
    steady.p50_per_second = (STEADY_NS,) * 10  # not how it stood when the second was over
    assert not warmup.settle(10 * NS_PER_S + 50 * NS_PER_MS, steady)
    steady.seconds = 11
    assert warmup.settle(11 * NS_PER_S, steady)


@pytest.mark.parametrize("elapsed_ns", [-150 * NS_PER_MS, 0, 7 * NS_PER_S])
def test_while_nobody_knows_its_end_no_tick_until_the_next_tally_is_measured(
    elapsed_ns: int,
) -> None:
    warmup = make_auto()
    assert warmup.ends_after_ns is None
    assert not warmup.settled
    # a run that is killed leaves the tally of up to a second ago
    assert warmup.length_ns(elapsed_ns) > elapsed_ns + TALLY_INTERVAL_NS
