"""What a selftest came to: by how much each hop grew, and whether that is what was put in.

Compared are medians of the rows in the run's result file.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from latbench.clock import NS_PER_MS, NS_PER_US
from latbench.result import BrokerFacts
from latbench.selftest_turns import DELAYS_NS, MIN_ROUNDS, PLACES, Turn
from latbench.store import read_ticks
from latbench.student import two_sided_quantile
from latbench.tick import HOPS, STAMPS, Hop

SETTLING_NS: Final = 50 * NS_PER_MS
"""A tick due so soon after a turn's begin may meet the delay of the turn before."""
LEAVING_NS: Final = 25 * NS_PER_MS
"""One due so late in a turn may reach the place when the next has begun."""

ALLOWED_SHARE: Final = 0.05
ALLOWED_NS: Final = 200 * NS_PER_US
"""Or so much, where that is more. Two medians of 80 ticks without any delay are up to 100 µs apart
on a virtual machine whose two CPUs have other things to do."""

FALSE_ALARMS: Final = 0.01
"""In so many selftests of a pipeline without fault one of all its shifts may be beyond its
uncertainty. All of 84 together: each at 99 % of its own had a shift beyond it in most selftests,
and the suite on a busy machine met one that was beyond what is allowed as well."""


class Verdict(enum.StrEnum):
    """What a shift says."""

    OK = "ok"
    """As injected, within what is allowed."""
    OFF = "off"
    """Not as injected, beyond what is allowed and beyond doubt."""
    NOISY = "noisy"
    """Beyond what is allowed, but by less than it is uncertain: this machine can't tell now."""


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """By how much one hop's p50 grew while one place was delayed."""

    place: str
    delay_ns: int
    hop: str
    injected_ns: int
    """What it should have grown by: the delay, or 0 for a hop that the place is not in."""
    measured_ns: int | None
    """What it did grow by; None: no tick to tell."""
    uncertainty_ns: int | None
    """What the machine may have made of it, by the spread between turns; None: not known."""
    ticks: int

    @property
    def error_ns(self) -> int | None:
        """Measured less injected."""
        return None if self.measured_ns is None else self.measured_ns - self.injected_ns

    @property
    def verdict(self) -> Verdict:
        """Whether that is what was injected."""
        if self.error_ns is None or self.uncertainty_ns is None:
            return Verdict.NOISY
        beyond_ns = abs(self.error_ns) - allowed_ns(self.delay_ns)
        if beyond_ns <= 0:
            return Verdict.OK
        return Verdict.OFF if beyond_ns > self.uncertainty_ns else Verdict.NOISY


def allowed_ns(delay_ns: int) -> int:
    """How far a shift may be from what was injected."""
    return max(int(delay_ns * ALLOWED_SHARE), ALLOWED_NS)


Values = npt.NDArray[np.int64]
Columns = Mapping[str, Values]


def read_columns(path: Path) -> Columns:
    """All stamps of a result file, and `stall`, column by column; negative where missing."""
    names = [*(f"{stamp}_ns" for stamp in STAMPS), "stall"]
    tables = list(read_ticks(path, names))
    return {name: np.concatenate([table.columns[name] for table in tables]) for name in names}


def judge(columns: Columns, start_ns: int, turns: Sequence[Turn]) -> tuple[Shift, ...]:
    """Every hop's shift at every place and delay.

    A hop's p50 in a place's turns of one delay, less its p50 in the turns without delay of the
    *other* places: those lie around and between, and a place's own turns without delay are so
    judged like all others. Ticks that a stall of the machine has touched, as the file marks them,
    are left out on both sides. A hop that no tick has (`ack` with `acks=0`) is left out.
    A shift's uncertainty is the bound for all of them together (C. E. Bonferroni, 1936).
    """
    offsets_ns = columns["due_ns"] - start_ns
    smooth = columns["stall"] == 0
    ticks_of = {turn: smooth & _is_within(offsets_ns, turn) for turn in turns}
    latencies_of = {hop: _latencies(columns, hop) for hop in HOPS}
    hops = [hop for hop, latencies in latencies_of.items() if (latencies >= 0).any()]
    kinds = list(itertools.product(PLACES, DELAYS_NS))
    chance = FALSE_ALARMS / (len(hops) * len(kinds) or 1)
    shifts: list[Shift] = []
    for hop in hops:
        latencies = latencies_of[hop]
        samples = {turn: _known(latencies[ticks]) for turn, ticks in ticks_of.items()}
        for place, delay_ns in kinds:
            own = [t for t in turns if (t.place, t.delay_ns) == (place.name, delay_ns)]
            others = [t for t in turns if t.place != place.name and not t.delay_ns]
            now, before = _P50([samples[t] for t in own]), _P50([samples[t] for t in others])
            shifts.append(
                Shift(
                    place=place.name,
                    delay_ns=delay_ns,
                    hop=hop.name,
                    injected_ns=delay_ns if hop.name in place.hops else 0,
                    measured_ns=round(now.ns - before.ns) if now.count and before.count else None,
                    uncertainty_ns=now.uncertainty_with(before, chance),
                    ticks=now.count,
                )
            )
    return tuple(shifts)


def _latencies(columns: Columns, hop: Hop) -> Values:
    """By tick; -1 where one of the two stamps is missing."""
    start, end = columns[hop.start_column], columns[hop.end_column]
    return np.where((start >= 0) & (end >= 0), end - start, -1)


def _known(latencies: Values) -> Values:
    return latencies[latencies >= 0]


def _is_within(offsets_ns: Values, turn: Turn) -> npt.NDArray[np.bool_]:
    """Which ticks were due in the turn, and met its delay and no other for certain."""
    begins_ns, ends_ns = turn.begins_ns + SETTLING_NS, turn.ends_ns - LEAVING_NS
    return (offsets_ns >= begins_ns) & (offsets_ns < ends_ns)


class _P50:
    """The median over some turns, and how sure it is by the medians of each."""

    def __init__(self, samples: Sequence[Values]) -> None:
        everything = np.concatenate(samples)
        self.count = len(everything)
        self.ns = float(np.median(everything)) if self.count else 0.0
        by_turn = [float(np.median(sample)) for sample in samples if len(sample)]
        self._turns = len(by_turn)
        self._variance = float(np.var(by_turn, ddof=1)) / self._turns if self._turns > 1 else 0.0

    def uncertainty_with(self, other: _P50, chance: float) -> int | None:
        """What the difference exceeds with that probability; None with too few turns with ticks.

        The fewer turns of the two tell the degrees of freedom: the bound is never too narrow.
        """
        turns = min(self._turns, other._turns)
        if turns < MIN_ROUNDS // 2:
            return None
        standard_error = math.sqrt(self._variance + other._variance)
        return round(two_sided_quantile(chance, turns - 1) * standard_error)


class SelftestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a selftest came to."""

    broker: BrokerFacts
    ws_engine: str
    step_ns: int
    shifts: tuple[Shift, ...]
    """Every hop at every place and delay, those that must not grow as well."""
    problems: tuple[str, ...] = ()
    """Why the run itself is no valid measurement."""

    def of_verdict(self, verdict: Verdict) -> tuple[Shift, ...]:
        """The shifts that say so."""
        return tuple(shift for shift in self.shifts if shift.verdict is verdict)

    @property
    def rows(self) -> tuple[Shift, ...]:
        """The shifts of the hops that each delay lies in."""
        own = {(place.name, hop) for place in PLACES for hop in place.own_hops}
        return tuple(shift for shift in self.shifts if (shift.place, shift.hop) in own)

    @property
    def agrees(self) -> bool:
        """Whether a valid run has measured what was injected.

        Each hop that a delay lies in must be within what is allowed. Of all others none may be off
        beyond doubt: those are 68 shifts, of totals that add up their parts' noise for the most
        part, of which on a busy machine one or two are 10 µs beyond the allowed ones.
        """
        known = all(shift.verdict is Verdict.OK for shift in self.rows)
        return known and not self.problems and not self.of_verdict(Verdict.OFF)
