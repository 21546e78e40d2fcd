"""From runs to verdicts: intervals against what is allowed, and the hop to blame.

S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
Statistics 6 (1979).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from latbench import signed_rank
from latbench.comparison import Allowed, Blame, Change, GateResult, Verdict
from latbench.gates import Gate
from latbench.result import RunResult
from latbench.thresholds import Statistic
from latbench.tick import HOPS, PARTS

ALPHA: Final = 0.05
"""How often a difference may be found where there is none, over all gates and looks."""

SHOWN: Final = ("p50", "p90", "p99", "mean")
"""The statistics that every hop's change is told for."""

_TAIL: Final = frozenset({"p99", "p99.9", "p99.99"})

Floats = npt.NDArray[np.float64]


class Samples(Protocol):
    """One statistic's values of both sides' runs, and what they tell of its change."""

    base: Floats
    new: Floats

    def ratio(self) -> float:
        """The estimate of B over A, as its natural logarithm."""

    def ratio_interval(self, alpha: float) -> tuple[float, float]:
        """What that logarithm lies between with probability 1 − `alpha`; may be infinite."""

    def ratio_p(self, centre: float) -> float:
        """How probable such values are where the logarithm is `centre`, two-sided."""

    def shift(self) -> float:
        """The estimate of B less A, in nanoseconds."""

    def shift_interval(self, alpha: float) -> tuple[float, float]:
        """What that lies between with probability 1 − `alpha`; may be infinite."""


class Pairs:
    """Runs made in pairs, one of each side just after the other: the i-th of both belong together.

    What the machine does meanwhile hits both of a pair, so only differences within pairs count.
    """

    def __init__(self, base: Floats, new: Floats) -> None:
        self.base, self.new = base, new
        self._logs = logarithms(new) - logarithms(base)
        self._differences = new - base

    def ratio(self) -> float:
        """The estimate of B over A, as its natural logarithm."""
        return signed_rank.hodges_lehmann(self._logs)

    def ratio_interval(self, alpha: float) -> tuple[float, float]:
        """What that logarithm lies between with probability 1 − `alpha`; may be infinite."""
        return signed_rank.interval(self._logs, alpha)

    def ratio_p(self, centre: float) -> float:
        """How probable such pairs are where the logarithm is `centre`, two-sided."""
        return signed_rank.p_value(self._logs, centre)

    def shift(self) -> float:
        """The estimate of B less A, in nanoseconds."""
        return signed_rank.hodges_lehmann(self._differences)

    def shift_interval(self, alpha: float) -> tuple[float, float]:
        """What that lies between with probability 1 − `alpha`; may be infinite."""
        return signed_rank.interval(self._differences, alpha)


def logarithms(values_ns: Floats) -> Floats:
    """Natural logarithms of nanoseconds, 0 counted as 1: a clock tells no less."""
    logs: Floats = np.log(np.maximum(values_ns, 1.0))
    return logs


MakeSamples = Callable[[Floats, Floats], Samples]


class Sides:
    """The runs of both sides, and every statistic of theirs as `Samples`."""

    def __init__(
        self, base: Sequence[RunResult], new: Sequence[RunResult], make: MakeSamples
    ) -> None:
        self._base, self._new, self._make = base, new, make

    def samples(self, hop: str, statistic: str) -> Samples | None:
        """Of a hop's statistic; None where a run has too few ticks to tell it."""
        wanted = Statistic(hop=hop, statistic=statistic)
        return self._of(lambda result: wanted.read(result.hops))

    def tail(self, hop: str) -> Samples | None:
        """Of a part's mean over the ticks from `end_to_end`'s p99 up: there parts add exactly."""
        return self._of(lambda result: result.tail.mean_ns.get(hop) if result.tail else None)

    def tail_total(self) -> Samples | None:
        """Of `end_to_end`'s own mean over those ticks."""
        return self._of(lambda result: sum(result.tail.mean_ns.values()) if result.tail else None)

    def _of(self, read: Callable[[RunResult], float | None]) -> Samples | None:
        base, new = [read(each) for each in self._base], [read(each) for each in self._new]
        if not base or not new or None in base or None in new:
            return None
        return self._make(np.array(base, dtype=np.float64), np.array(new, dtype=np.float64))


def decide(
    gates: Sequence[Gate], sides: Sides, alpha: float, calibrated: Mapping[str, float] | None = None
) -> tuple[GateResult, ...]:
    """Every gate's verdict, in their order; `alpha` bounds the errors of all of them together.

    The gates are taken in the order of how clearly they are decided, the first at α/m, the next at
    α/(m−1) and so on (Holm); from the first that is not decided on, the level stays. A gate passes
    where the interval's upper end is below what is allowed, and is a regression where its lower
    end is above. `calibrated` has the share that noise alone came to, by subject.
    """
    found = {gate: sides.samples(gate.hop, gate.statistic) for gate in gates}
    limits = {
        gate: _limit(gate, found[gate], (calibrated or {}).get(gate.subject)) for gate in gates
    }
    known = [(gate, samples) for gate, samples in found.items() if samples is not None]
    known.sort(key=lambda each: each[1].ratio_p(math.log1p(limits[each[0]][0])))
    results = {
        gate: GateResult(
            gate=gate,
            allowed=gate.margin,
            allowed_by=Allowed.MARGIN,
            change=_unknown(gate.hop, gate.statistic, alpha),
            verdict=Verdict.INCONCLUSIVE,
        )
        for gate in gates
    }
    left = len(gates)
    for gate, samples in known:
        level = alpha / left
        allowed, allowed_by = limits[gate]
        verdict = _verdict(samples.ratio_interval(level), math.log1p(allowed))
        results[gate] = GateResult(
            gate=gate,
            allowed=allowed,
            allowed_by=allowed_by,
            change=change_of(gate.hop, gate.statistic, samples, level),
            verdict=verdict,
        )
        if verdict is not Verdict.INCONCLUSIVE:
            left = max(left - 1, 1)
    return tuple(results[gate] for gate in gates)


def _limit(gate: Gate, samples: Samples | None, noise: float | None) -> tuple[float, Allowed]:
    if samples is None:
        return gate.margin, Allowed.MARGIN
    allowed = gate.allowed(statistics.median(samples.base.tolist()))
    if noise is not None and noise > allowed:
        return noise, Allowed.CALIBRATION
    return allowed, Allowed.FLOOR if allowed > gate.margin else Allowed.MARGIN


def _verdict(interval: tuple[float, float], bound: float) -> Verdict:
    low, high = interval
    if high < bound:
        return Verdict.PASS
    return Verdict.REGRESSION if low > bound else Verdict.INCONCLUSIVE


def change_of(hop: str, statistic: str, samples: Samples, alpha: float) -> Change:
    """A statistic's change with its interval at `alpha`."""
    low, high = samples.ratio_interval(alpha)
    shift_low, shift_high = samples.shift_interval(alpha)
    return Change(
        hop=hop,
        statistic=statistic,
        base_ns=statistics.median(samples.base.tolist()),
        new_ns=statistics.median(samples.new.tolist()),
        ratio=math.exp(samples.ratio()),
        ratio_low=_finite(math.exp(low)) if low > -math.inf else None,
        ratio_high=_finite(math.exp(high)) if high < math.inf else None,
        shift_ns=samples.shift(),
        shift_low_ns=_finite(shift_low),
        shift_high_ns=_finite(shift_high),
        confidence=1 - alpha,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _unknown(hop: str, statistic: str, alpha: float) -> Change:
    return Change(
        hop=hop,
        statistic=statistic,
        base_ns=None,
        new_ns=None,
        ratio=None,
        ratio_low=None,
        ratio_high=None,
        shift_ns=None,
        shift_low_ns=None,
        shift_high_ns=None,
        confidence=1 - alpha,
    )


def changes(sides: Sides, alpha: float = ALPHA) -> tuple[Change, ...]:
    """How every hop changed, each interval at `alpha` by itself: to look at, not to decide by."""
    found = []
    for hop, statistic in itertools.product((hop.name for hop in HOPS), SHOWN):
        samples = sides.samples(hop, statistic)
        if samples is None:
            found.append(_unknown(hop, statistic, alpha))
        else:
            found.append(change_of(hop, statistic, samples, alpha))
    return tuple(found)


def blame(results: Sequence[GateResult], sides: Sides, alpha: float = ALPHA) -> tuple[Blame, ...]:
    """For each gate on the total that surely changed: the part whose change explains it.

    That is the one that moved furthest the same way, if it surely did (at α/4: four are looked at)
    or, of a regression, makes up half of the total's change at least. (Named for less, it was the
    wrong one in 3 of 12 sessions with a known delay, each time at a p99 that decided nothing.)
    Percentiles of parts don't add up to the total's, but the parts' means over the slowest ticks
    do: from p99 up those are compared.
    """
    found = (
        _explaining(result, sides, alpha / len(PARTS))
        for result in results
        if result.gate.hop == "end_to_end" and result.change.is_sure
    )
    return tuple(each for each in found if each is not None)


def _explaining(result: GateResult, sides: Sides, alpha: float) -> Blame | None:
    change, is_regression = result.change, result.verdict is Verdict.REGRESSION
    in_tail = change.statistic in _TAIL
    total = sides.tail_total() if in_tail else sides.samples(change.hop, change.statistic)
    if total is None or change.ratio is None:
        return None
    way = 1 if change.ratio > 1 else -1
    total_ns = total.shift()
    moved: list[tuple[float, str, bool]] = []
    for hop in PARTS:
        samples = sides.tail(hop.name) if in_tail else sides.samples(hop.name, change.statistic)
        if samples is None:
            continue
        low, high = samples.shift_interval(alpha)
        is_sure = low > 0 if way > 0 else high < 0
        shift_ns = way * samples.shift()
        if is_sure or (is_regression and shift_ns >= abs(total_ns) / 2):
            moved.append((shift_ns, hop.name, is_sure))
    if not moved:
        return None
    shift_ns, name, is_sure = max(moved)
    return Blame(
        subject=change.subject,
        hop=name,
        shift_ns=way * shift_ns,
        total_shift_ns=total_ns,
        is_sure=is_sure,
    )
