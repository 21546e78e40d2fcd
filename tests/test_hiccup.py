from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_MS, NS_PER_S, monotonic_ns
from latbench.recording import HICCUPS
from latbench.stages import hiccup
from latbench.stages.hiccup import MAX_CATCH_UP, SWITCH_INTERVAL_S, HiccupMeter
from tests.cli import wait_until
from tests.stages import TwoEndedRing

BEGIN_NS = 81_234_567_890_123
TIMEOUT_S = 10.0

Row = tuple[int, int]


class ScriptedClock:
    """Time passes only in sleep, which then ends as late as the script says; then the meter is
    stopped."""

    def __init__(self, late_ns: Sequence[int]) -> None:
        self.now_ns = BEGIN_NS
        self.meter: HiccupMeter | None = None
        self._late_ns = list(late_ns)
        self.slept = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 0.001
        self.now_ns += round(seconds * NS_PER_S) + self._late_ns[self.slept]
        self.slept += 1
        if self.slept == len(self._late_ns):
            assert self.meter is not None
            self.meter._stopped = True


def recorded(late_ns: Sequence[int]) -> list[Row]:
    """What a meter records when its sleeps end so late: deadline since the beginning, lateness."""
    ring, clock = TwoEndedRing(HICCUPS["relay"]), ScriptedClock(late_ns)
    meter = clock.meter = HiccupMeter(ring.writer)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hiccup, "monotonic_ns", clock.monotonic_ns)
        patched.setattr(hiccup, "time", clock)
        patched.setattr(hiccup, "minimise_timer_slack", lambda: None)
        meter._serve()
    assert clock.slept == len(late_ns)
    return [(row["deadline_ns"] - BEGIN_NS, row["late_ns"]) for row in ring.rows()]


def test_each_wake_up_is_recorded_with_its_lateness() -> None:
    late_ns = [0, 1, 60_000, 999_999, 5_000]
    assert recorded(late_ns) == [
        (number * NS_PER_MS, late) for number, late in enumerate(late_ns, start=1)
    ]


def test_each_deadline_that_a_stall_swept_over_is_recorded_as_late_as_it_was() -> None:
    rows = recorded([10_000, 50 * NS_PER_MS + 500_000, 0])
    assert rows[0] == (1 * NS_PER_MS, 10_000)
    missed = rows[1:52]
    assert missed[0] == (2 * NS_PER_MS, 50 * NS_PER_MS + 500_000)
    assert [late // NS_PER_MS for _, late in missed[1:]] == list(range(49, -1, -1))
    assert {deadline + late for deadline, late in missed} == {52_500_000}
    # the next deadline is where it would have been without the stall
    assert rows[52:] == [(53 * NS_PER_MS, 0)]


@pytest.mark.parametrize(("late_ms", "kept"), [(MAX_CATCH_UP - 1, MAX_CATCH_UP), (9000, 4096)])
def test_a_stall_without_end_keeps_its_longest_and_goes_on_in_step(late_ms: int, kept: int) -> None:
    rows = recorded([late_ms * NS_PER_MS, 7])
    assert len(rows) == kept + 1
    assert rows[:kept] == [
        ((1 + missed) * NS_PER_MS, (late_ms - missed) * NS_PER_MS) for missed in range(kept)
    ]
    assert rows[kept] == ((late_ms + 2) * NS_PER_MS, 7)


@given(st.lists(st.integers(0, 20 * NS_PER_MS), min_size=1, max_size=30))
@settings(max_examples=60)
def test_no_deadline_is_left_out_and_none_recorded_before_it_has_passed(late_ns: list[int]) -> None:
    rows = recorded(late_ns)
    assert [deadline for deadline, _ in rows] == [
        number * NS_PER_MS for number in range(1, len(rows) + 1)
    ]
    assert min(late for _, late in rows) >= 0
    # one wake-up for each sleep, and every deadline ends with one of them
    woke = sorted({deadline + late for deadline, late in rows})
    assert len(woke) == len(late_ns)
    # the first deadline of each wake-up is as late as its sleep
    firsts = [late for _, late in (next(of) for _, of in itertools.groupby(rows, sum))]
    assert firsts == late_ns


# --- a real one -------------------------------------------------------------------------------


@pytest.fixture
def ring() -> TwoEndedRing:
    return TwoEndedRing(HICCUPS["relay"])


@pytest.fixture
def meter(ring: TwoEndedRing) -> Iterator[HiccupMeter]:
    meter = HiccupMeter(ring.writer)
    yield meter
    meter.stop()


def test_it_records_a_wake_up_a_millisecond(ring: TwoEndedRing, meter: HiccupMeter) -> None:
    begun_ns = monotonic_ns()
    meter.start()
    rows: list[dict[str, int]] = []

    def enough() -> bool:
        rows.extend(ring.rows())
        return len(rows) >= 50

    wait_until(enough, TIMEOUT_S, "50 wake-ups")
    meter.stop()
    rows += ring.rows()
    ended_ns = monotonic_ns()
    deadlines = np.array([row["deadline_ns"] for row in rows])
    assert (np.diff(deadlines) == NS_PER_MS).all()
    assert begun_ns + NS_PER_MS <= deadlines[0]
    # a deadline that has passed is recorded, however busy this machine is
    assert deadlines[-1] <= ended_ns
    assert all(0 <= row["late_ns"] < ended_ns - begun_ns for row in rows)


def test_stopped_it_records_nothing_more(ring: TwoEndedRing, meter: HiccupMeter) -> None:
    meter.start()
    wait_until(ring.rows, TIMEOUT_S, "a wake-up")
    meter.stop()
    meter.stop()
    ring.rows()
    assert "hiccup" not in {thread.name for thread in threading.enumerate()}
    assert ring.rows() == []


def test_stopped_before_it_began_it_never_measures(ring: TwoEndedRing, meter: HiccupMeter) -> None:
    meter.stop()
    assert ring.rows() == []
    meter.start()  # a run that is ended while it begins
    meter.stop()
    assert len(ring.rows()) <= 1


def test_while_it_measures_other_threads_let_it_have_its_turn(meter: HiccupMeter) -> None:
    before_s = sys.getswitchinterval()
    assert before_s > 10 * SWITCH_INTERVAL_S
    meter.start()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    meter.stop()
    assert sys.getswitchinterval() == pytest.approx(before_s)
