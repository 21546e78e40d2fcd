"""When the generator sets its timer: early enough, and never at the cost of a whole CPU."""

from __future__ import annotations

import random
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, monotonic_ns
from latbench.stages import early_wake
from latbench.stages.early_wake import EarlyWake, wait_awake

times = st.integers(0, 2**62)


def learnt(late_ns: list[int]) -> EarlyWake:
    wake = EarlyWake()
    for each in late_ns:
        wake.was_ready(each)
    return wake


@given(st.lists(st.integers(-NS_PER_MS, NS_PER_MS), max_size=300), times, times)
def test_a_timer_is_never_set_after_the_tick_is_due(
    late_ns: list[int], now_ns: int, due_ns: int
) -> None:
    assert learnt(late_ns).timer_ns(now_ns, due_ns) <= due_ns


@given(st.lists(st.integers(0, NS_PER_MS), max_size=300), times, st.integers(0, NS_PER_MS))
def test_at_most_a_quarter_of_a_gap_is_waited_awake(
    late_ns: list[int], now_ns: int, gap_ns: int
) -> None:
    due_ns = now_ns + gap_ns
    assert 4 * (due_ns - learnt(late_ns).timer_ns(now_ns, due_ns)) <= gap_ns


@given(st.lists(st.integers(0, 10 * NS_PER_MS), max_size=3000))
def test_the_lead_stays_within_bounds_whatever_a_machine_does(late_ns: list[int]) -> None:
    assert 0 <= learnt(late_ns).lead_ns <= early_wake._MOST_NS


def test_nine_ticks_of_ten_are_ready_in_time_once_it_has_learnt() -> None:
    chance = random.Random(7)
    wake = learnt([int(chance.lognormvariate(0, 0.3) * 60_000) for _ in range(1000)])
    in_time = 0
    for _ in range(5000):
        late_ns = int(chance.lognormvariate(0, 0.3) * 60_000)
        in_time += late_ns <= wake.lead_ns
        wake.was_ready(late_ns)
    assert 0.88 < in_time / 5000 < 0.92


@given(st.integers(NS_PER_MS // 50, NS_PER_MS))
def test_a_machine_that_was_slow_for_a_while_is_found_to_be_faster_again(gap_ns: int) -> None:
    wake = learnt([NS_PER_MS] * 500)
    for _ in range(2000):
        wake.was_ready(10_000)
    assert 9_000 <= wake.lead_ns <= 13_000
    assert gap_ns - wake.timer_ns(0, gap_ns) == min(wake.lead_ns, gap_ns // 4)


def test_a_machine_whose_timers_are_exact_is_waited_for_no_longer_than_a_microsecond() -> None:
    assert learnt([0] * 1000).lead_ns <= 1000


def test_who_waits_awake_comes_back_at_the_first_reading_that_is_not_before() -> None:
    with mock.patch.object(early_wake, "monotonic_ns", side_effect=[10, 19, 23, 40]):
        assert wait_awake(20) == 23
        assert wait_awake(20) == 40


def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    before_ns = monotonic_ns()
    assert before_ns <= wait_awake(before_ns - NS_PER_MS) <= monotonic_ns()
