"""Student's t distribution: how many standard errors a difference may have by chance.

W. S. Gosset, "The probable error of a mean", Biometrika 6 (1908); the finite series for whole
degrees of freedom are M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions" (1964),
26.7.3 and 26.7.4. For degrees that are not whole (F. E. Satterthwaite, Biometrics Bulletin 2, 1946)
the density is integrated.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_HALVINGS: Final = 60
"""Of a quarter turn: 1e-18 of it, finer than a double."""


@functools.cache  # the same for all 84 shifts of a selftest
def two_sided_quantile(probability: float, degrees: int) -> float:
    """The t that |t| exceeds with that probability (0 < p < 1), by chance; `degrees` from 1 on."""
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no quantile for probability {probability}, degrees {degrees}")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if 1 - _within(middle, degrees) > probability:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """The probability that |t| is at most √degrees · tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(1 + is_odd, degrees, 2):
        total += term
        term *= k / (k + 1) * cosine * cosine
    return (angle + sine * total) * 2 / math.pi if is_odd else sine * total


_NODES: Final = 100


def two_sided_probability(t: float, degrees: float) -> float:
    """The probability that |t| is as large by chance; `degrees` from 1 on, whole or not.

    With t = √degrees · cot φ the density is sinᵈ⁻¹ φ, from 0 to a quarter turn: two integrals of
    it by Gauss and Legendre. Off by less than 1e-8 of itself, down to 1e-40.
    """
    if not degrees >= 1:
        raise ValueError(f"no probability for degrees {degrees}")
    if math.isinf(t):
        return 0.0
    angle = math.atan2(math.sqrt(degrees), abs(t))
    return min(_integral(angle, degrees) / _integral(math.pi / 2, degrees), 1.0)


def _integral(angle: float, degrees: float) -> float:
    """Of sin to the power degrees − 1, from 0 to `angle`; φ = u² takes the corner at 0 away."""
    nodes, weights = _rule()
    end = math.sqrt(angle)
    u = (nodes + 1) * end / 2
    values = np.sin(u * u) ** (degrees - 1) * 2 * u
    return float(values @ weights) * end / 2


@functools.cache
def _rule() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights
