"""Noise of latencies from run to run, on a logarithmic scale, as tests and benchmarks make it.

Each has the standard deviation `noise` (0.03: runs differ by 3 %), but for the last kinds, which
add slow runs to it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, float], Values]


def normal(rng: np.random.Generator, count: int, noise: float) -> Values:
    return rng.normal(0, noise, count)


def student(rng: np.random.Generator, count: int, noise: float) -> Values:
    """Three degrees: heavy tails on both sides."""
    return rng.standard_t(3, count) * noise / math.sqrt(3)


def skewed(rng: np.random.Generator, count: int, noise: float) -> Values:
    """Log-normal: the slow ones are much slower."""
    sigma = 0.8
    spread = math.sqrt((math.exp(sigma**2) - 1) * math.exp(sigma**2))
    return (rng.lognormal(0, sigma, count) - math.exp(sigma**2 / 2)) * noise / spread


def with_slow_runs(rng: np.random.Generator, count: int, noise: float) -> Values:
    """One run in ten is slow, by ten times the noise on average."""
    slow = rng.random(count) < 0.1
    return normal(rng, count, noise) + np.where(slow, rng.exponential(10 * noise, count), 0)


def correlated(rng: np.random.Generator, count: int, noise: float, correlation: float) -> Values:
    """Each run resembles the one before: an autoregressive process of the first order."""
    shocks = rng.normal(0, noise * math.sqrt(1 - correlation**2), count)
    values = np.empty(count)
    last = rng.normal(0, noise)
    for index in range(count):
        last = correlation * last + shocks[index]
        values[index] = last
    return values


NOISES: Final[Mapping[str, Noise]] = {
    "normal": normal,
    "t, 3 degrees": student,
    "log-normal": skewed,
    "one run in ten slow": with_slow_runs,
    "neighbours correlate by 0.3": functools.partial(correlated, correlation=0.3),
    "neighbours correlate by 0.5": functools.partial(correlated, correlation=0.5),
}
