from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.clock import WallAnchor, monotonic_ns

stamps = st.integers(min_value=0, max_value=2**62)


@given(stamps, stamps, stamps, stamps)
def test_differences_of_stamps_are_the_same_on_the_wall(
    anchored_ns: int, unix_ns: int, first_ns: int, second_ns: int
) -> None:
    anchor = WallAnchor(monotonic_ns=anchored_ns, unix_ns=unix_ns)
    assert anchor.to_unix_ns(anchored_ns) == unix_ns
    moved_ns = anchor.to_unix_ns(second_ns) - anchor.to_unix_ns(first_ns)
    assert moved_ns == second_ns - first_ns


def test_the_tightest_of_five_readings_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # readings before and after the wall clock's; the third pair is the closest
    monotonic = iter([100, 190, 200, 260, 300, 310, 400, 450, 500, 511])
    wall = itertools.count(7_000)
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic_ns", lambda: next(monotonic))
        patched.setattr(time, "time_ns", lambda: next(wall))
        anchor = WallAnchor.take()
    assert anchor == WallAnchor(monotonic_ns=305, unix_ns=7_002)
    assert not list(monotonic)


def test_an_anchor_taken_now_tells_the_present_time() -> None:
    anchor = WallAnchor.take()
    # the clocks are read one after the other: wide enough for a stalled machine
    assert anchor.to_unix_ns(monotonic_ns()) == pytest.approx(time.time_ns(), abs=5_000_000_000)
