"""How ticks can be spread over time: the name alone, for options and plans.

Apart from the schedules themselves (`pacing`), because those need numpy, which takes 60 ms to
import: the command line and three of the stages do without.
"""

from __future__ import annotations

import enum


class Arrivals(enum.StrEnum):
    """How ticks are spread over time at a given mean rate."""

    CONSTANT = "constant"
    POISSON = "poisson"
    BURST = "burst"
