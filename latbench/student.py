"""Student's t distribution: how many standard errors a difference may have by chance.

W. S. Gosset, "The probable error of a mean", Biometrika 6 (1908); the finite series for whole
degrees of freedom are M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions" (1964),
26.7.3 and 26.7.4; any degrees, such as Welch's, are the incomplete beta function (26.7.1), whose
continued fraction is NIST's Digital Library of Mathematical Functions, 8.17.22.
"""

from __future__ import annotations

import functools
import math
from typing import Final

_HALVINGS: Final = 60
"""Of a quarter turn: 1e-18 of it, finer than a double."""
_MOST_TERMS: Final = 1000
"""Of a continued fraction that takes some √degrees of them."""
_PRECISION: Final = 1e-15


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


def two_sided_probability(t: float, degrees: float) -> float:
    """How often |t| is exceeded by chance; `degrees` above 0, whole or not. Precise for tiny ones.

    Raises `ValueError` for other degrees, and where `t` is no number.
    """
    if not degrees > 0 or math.isnan(t):
        raise ValueError(f"no probability for t {t}, degrees {degrees}")
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(degrees / (degrees + t * t), t * t / (degrees + t * t), degrees / 2)


def _incomplete_beta(x: float, rest: float, a: float) -> float:
    """Iₓ(a, ½), with `rest` = 1 − x: where x is near 1, the difference would have lost it."""
    b = 0.5
    if not x or not rest:
        return 0.0 if rest else 1.0
    log_front = (
        a * math.log(x) + b * math.log(rest)
        + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )  # fmt: skip
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(x, a, b) / a
    # the fraction converges fast on this side only; the other is its complement
    return 1 - math.exp(log_front) * _beta_fraction(rest, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """1/(1+ d₁/(1+ d₂/(1+ …))), from the front on by Lentz's method."""
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            denominator = 1 / (1 + term * denominator)
            numerator = 1 + term / numerator
            value *= numerator * denominator
        if abs(value - before) <= _PRECISION * abs(value):
            break
    return value
