"""When each tick is due: open-loop schedules, fixed by rate and seed before the run begins.

A schedule is an endless, non-decreasing sequence of offsets in nanoseconds from the run's start.
It never looks at what happened to earlier ticks; that is what makes the loop open, and what keeps
a stall from hiding the ticks that were due in it (coordinated omission).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S

Offsets = npt.NDArray[np.int64]

BLOCK_TICKS: Final = 8192
"""Ticks per block: 2 ms of preparation, 8 s ahead at 1,000/s and 40 ms at 200,000/s."""

BURST_ACTIVE_SHARE: Final = 0.1
BURST_ACTIVE_FACTOR: Final = 5.0
BURST_ACTIVE_MEAN_S: Final = 0.2
"""`burst`: a tenth of the time five times the rate, for 200 ms at a stretch on average."""

BURST_QUIET_FACTOR: Final = (1 - BURST_ACTIVE_SHARE * BURST_ACTIVE_FACTOR) / (
    1 - BURST_ACTIVE_SHARE
)
BURST_QUIET_MEAN_S: Final = BURST_ACTIVE_MEAN_S * (1 - BURST_ACTIVE_SHARE) / BURST_ACTIVE_SHARE


def due_offset_ns(seq: int, rate_hz: int) -> int:
    """The constant schedule: tick `seq` is due this long after the start, without drift."""
    return seq * NS_PER_S // rate_hz


def offset_blocks(arrivals: Arrivals, rate_hz: int, seed: int) -> Iterator[Offsets]:
    """The schedule in blocks of `BLOCK_TICKS` offsets (int64 ns from the start), without end.

    The same arguments give the same offsets, always from tick 0 on.
    """
    match arrivals:
        case Arrivals.CONSTANT:
            return _constant(rate_hz)
        case Arrivals.POISSON:
            return _poisson(rate_hz, seed)
        case Arrivals.BURST:
            return _burst(rate_hz, seed)


def _constant(rate_hz: int) -> Iterator[Offsets]:
    first = 0
    while True:
        seq = np.arange(first, first + BLOCK_TICKS, dtype=np.int64)
        # split at whole seconds: seq * NS_PER_S alone overflows after 9.2e9 ticks
        yield seq // rate_hz * NS_PER_S + seq % rate_hz * NS_PER_S // rate_hz
        first += BLOCK_TICKS


def _poisson(rate_hz: int, seed: int) -> Iterator[Offsets]:
    rng = np.random.default_rng([seed, 1])
    carry_ns = 0
    while True:
        gaps_s = rng.standard_exponential(BLOCK_TICKS) / rate_hz
        offsets = carry_ns + np.rint(np.cumsum(gaps_s) * NS_PER_S).astype(np.int64)
        carry_ns = int(offsets[-1])
        yield offsets


def _burst(rate_hz: int, seed: int) -> Iterator[Offsets]:
    """A Poisson process whose rate alternates between two regimes (Markov-modulated).

    Unit-rate arrivals are mapped through the inverse of the cumulative rate, which is piecewise
    linear (the time-change theorem for point processes).
    """
    rng = np.random.default_rng([seed, 2])
    regime_rng = np.random.default_rng([seed, 3])
    active = False
    carry = 0.0  # cumulative unit-rate time of the last arrival
    begin_s, begin_mass = 0.0, 0.0  # where the regimes not yet passed begin
    ends_s: list[float] = [0.0]
    ends_mass: list[float] = [0.0]
    while True:
        mass = carry + np.cumsum(rng.standard_exponential(BLOCK_TICKS))
        carry = float(mass[-1])
        while ends_mass[-1] < carry:
            mean_s = BURST_ACTIVE_MEAN_S if active else BURST_QUIET_MEAN_S
            factor = BURST_ACTIVE_FACTOR if active else BURST_QUIET_FACTOR
            span_s = float(regime_rng.standard_exponential()) * mean_s
            begin_s, begin_mass = begin_s + span_s, begin_mass + span_s * factor * rate_hz
            ends_s.append(begin_s)
            ends_mass.append(begin_mass)
            active = not active
        yield np.rint(np.interp(mass, ends_mass, ends_s) * NS_PER_S).astype(np.int64)
        # the regime that holds the last arrival stays, earlier ones are done with
        keep = int(np.searchsorted(ends_mass, carry)) - 1
        del ends_s[:keep], ends_mass[:keep]
