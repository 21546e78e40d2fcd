"""A queueing curve through measured points: latency at rates that were not measured.

The model is L(λ) = a + b · ρ / (1 − ρ) with ρ = λ / C. It is the shape of waiting in any queue
with one server (Pollaczek–Khinchine for M/G/1; Kingman 1961 for G/G/1 in heavy traffic, where b
holds the variability): `a` is the latency without waiting, `C` the rate at which the queue has no
end. Percentiles of an M/M/1 queue's sojourn time, which is exponential, are multiples of its mean
and so have the same shape. Nothing in it knows of batches or of CPUs that sleep when little is
due: latencies that *fall* with the load are beyond it. How far it is off is measured, on points
left out, and told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

FORMULA: Final = "L(λ) = a + b·ρ/(1−ρ), ρ = λ/C"

MIN_POINTS: Final = 4
"""Three parameters and one point to be wrong about; leaving one out needs five."""
_GRID: Final = 100
_REFINEMENTS: Final = 4
_NEAREST: Final = 0.0005
_FARTHEST: Final = 50.0
"""Capacities tried are so many times the highest rate above it. Farther, the curve is a straight
line over the measured rates, and `C` would be made up."""
_SINGULAR: Final = 1e-12
_NO_WAIT: Final = 1e-6
"""Of the latency without waiting: less is rounding."""

_Floats = npt.NDArray[np.float64]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A fitted curve; latencies in nanoseconds, rates in ticks a second."""

    base_ns: float
    """a: latency without waiting."""
    wait_ns: float
    """b: the wait at half the capacity."""
    capacity_hz: float
    """C: where the curve goes to infinity."""

    def latency_ns(self, rate_hz: float) -> float | None:
        """Predicted latency at a rate; None from the capacity on (a curve without waits: none)."""
        if not self.wait_ns:
            return self.base_ns
        if rate_hz >= self.capacity_hz:
            return None
        return self.base_ns + self.wait_ns * rate_hz / (self.capacity_hz - rate_hz)

    def rate_hz(self, latency_ns: float) -> float | None:
        """The rate at which the curve reaches a latency; None where it never does or always is."""
        if latency_ns <= self.base_ns or self.wait_ns <= 0:
            return None
        waits = (latency_ns - self.base_ns) / self.wait_ns
        return self.capacity_hz * waits / (1 + waits)


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """What the curve through all other points says of one that was left out."""

    rate_hz: int
    measured_ns: float
    predicted_ns: float | None
    """None: the other points put the capacity below this rate."""

    @property
    def error(self) -> float | None:
        """Predicted over measured, less 1: 0.1 is 10 % too high."""
        return None if self.predicted_ns is None else self.predicted_ns / self.measured_ns - 1


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A curve, and how far it is off where it was not fitted."""

    curve: Curve
    points: int
    left_out: tuple[LeftOut, ...]
    """One for each rate (leave-one-out cross-validation); empty with fewer than five."""

    @property
    def errors(self) -> tuple[float | None, ...]:
        """Relative, on points left out; None where the others put the capacity below the rate."""
        return tuple(each.error for each in self.left_out)

    @property
    def median_error(self) -> float | None:
        """Of the absolute errors; None where there are none, or half of them can't be told."""
        if not self.left_out:
            return None
        errors = [np.inf if error is None else abs(error) for error in self.errors]
        value = float(np.quantile(errors, 0.5, method="higher"))
        return value if np.isfinite(value) else None

    @property
    def worst_error(self) -> float | None:
        """The largest of those that can be told."""
        return max((abs(error) for error in self.errors if error is not None), default=None)


def fit(latencies_ns: Mapping[int, float]) -> Fit | None:
    """Fit the curve to latencies by rate; None with fewer than `MIN_POINTS` rates.

    Least squares of the relative error: 10 % of 1 ms count as much as 10 % of 100 ms. For each
    capacity on a logarithmic grid `a` and `b` (neither negative) have a closed form, so the best
    is found without a start value and is the same every time.
    """
    points = {rate: value for rate, value in sorted(latencies_ns.items()) if value > 0}
    if len(points) < MIN_POINTS:
        return None
    left_out = []
    if len(points) > MIN_POINTS:
        for rate_hz, measured_ns in points.items():
            rest = {other: value for other, value in points.items() if other != rate_hz}
            predicted_ns = _fit(rest).latency_ns(rate_hz)
            left_out.append(
                LeftOut(rate_hz=rate_hz, measured_ns=measured_ns, predicted_ns=predicted_ns)
            )
    return Fit(curve=_fit(points), points=len(points), left_out=tuple(left_out))


def _fit(points: Mapping[int, float]) -> Curve:
    rates = np.array(list(points), dtype=np.float64)
    latencies = np.array(list(points.values()), dtype=np.float64)
    # of the distance to the highest rate: near it the curve changes fastest
    nearest, farthest = _NEAREST, _FARTHEST
    for _ in range(_REFINEMENTS):  # each grid is finer, around the best of the one before
        distances = np.geomspace(nearest, farthest, _GRID)
        base, wait, loss = _at_capacities(rates, latencies, rates.max() * (1 + distances))
        best = int(np.argmin(loss))
        nearest, farthest = distances[max(best - 1, 0)], distances[min(best + 1, _GRID - 1)]
    base_ns, wait_ns = float(base[best]), float(wait[best])
    return Curve(
        base_ns=base_ns,
        wait_ns=wait_ns if wait_ns > _NO_WAIT * base_ns else 0.0,
        capacity_hz=float(rates.max() * (1 + distances[best])),
    )


def _at_capacities(
    rates: _Floats, latencies: _Floats, capacities: _Floats
) -> tuple[_Floats, _Floats, _Floats]:
    """For each capacity the best `a` and `b`, both at least 0, and the sum of squares they leave.

    Minimises Σ (a·x + b·y − 1)² with x = 1 / L and y = ρ / (1 − ρ) / L.
    """
    x = np.broadcast_to(1 / latencies, (len(capacities), len(rates)))
    y = rates / (capacities[:, np.newaxis] - rates) / latencies
    xx, xy, yy = (x * x).sum(axis=1), (x * y).sum(axis=1), (y * y).sum(axis=1)
    x1, y1 = x.sum(axis=1), y.sum(axis=1)
    determinant = xx * yy - xy * xy
    is_solvable = determinant > _SINGULAR * xx * yy
    divisor = np.where(is_solvable, determinant, 1.0)
    zero = np.zeros_like(capacities)
    base, wait = (x1 * yy - y1 * xy) / divisor, (y1 * xx - x1 * xy) / divisor
    is_inside = is_solvable & (base >= 0) & (wait >= 0)
    inside = (np.where(is_inside, base, 0.0), np.where(is_inside, wait, 0.0))
    choices = (inside, (x1 / xx, zero), (zero, y1 / yy))  # the edges of what is allowed come last
    losses = np.stack([_loss(x, y, *choice) for choice in choices])
    best = np.argmin(losses, axis=0)
    each = np.arange(len(capacities))
    bases, waits = (
        np.stack([choice[0] for choice in choices]),
        np.stack([choice[1] for choice in choices]),
    )
    return bases[best, each], waits[best, each], losses[best, each]


def _loss(x: _Floats, y: _Floats, base: _Floats, wait: _Floats) -> _Floats:
    errors = base[:, np.newaxis] * x + wait[:, np.newaxis] * y - 1
    squares: _Floats = (errors * errors).sum(axis=1)
    return squares
