"""Student's t distribution: how many standard errors a difference may have by chance.

W. S. Gosset, "The probable error of a mean", Biometrika 6 (1908); the finite series for whole
degrees of freedom are M. Abramowitz and I. Stegun, "Handbook of Mathematical Functions" (1964),
26.7.3 and 26.7.4.
"""

from __future__ import annotations

import functools
import math
from typing import Final

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
