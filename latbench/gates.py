"""What a gate is: a statistic of a hop, and how much worse it may get.

The grammar is `HOP.STATISTIC=MARGIN`: HOP and STATISTIC as in `thresholds`, HOP left out means
`end_to_end`; MARGIN a share such as `10%`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S, NS_PER_US
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.thresholds import Statistic, check_subject
from latbench.units import format_count

FLOOR_NS: Final = 50 * NS_PER_US
"""A change smaller than this is nobody's concern, whatever share of a short latency it is: about
what placement alone moves a loopback connection by (80 µs between CPUs, 8 µs on one)."""

MAX_MARGIN: Final = 10.0
EXAMPLE: Final = "end_to_end.p99=10%"

_GATE: Final = re.compile(
    r"\s*(?:(?P<hop>\w+)\.)?(?P<statistic>[a-z]\w*(?:\.\d+)?)\s*=\s*(?P<margin>.*?)\s*"
)


class Gate(Statistic, frozen=True, kw_only=True):
    """By how much one statistic of one hop may get worse."""

    margin: float
    """0.1: ten per cent."""
    floor_ns: int = FLOOR_NS
    """A change up to this many nanoseconds is always allowed."""

    def allowed(self, base_ns: float) -> float:
        """The share that a statistic of `base_ns` may grow by: the margin, or the floor's.

        0 counts as 1: a clock tells no less, and JSON has no infinity.
        """
        return max(self.margin, self.floor_ns / max(base_ns, 1.0))

    def __str__(self) -> str:
        return f"{self.subject} +{self.margin * 100:g} %"


def check_ticks(gates: Sequence[Gate], config: RunConfig) -> None:
    """Raise `UsageError` where a run of this configuration has too few ticks for a gate.

    How many a replay has, and how they are spread at random, only the run tells.
    """
    if config.is_replay or config.arrivals is not Arrivals.CONSTANT:
        return
    ticks = config.tick_rate_hz * config.bounded_duration_ns // NS_PER_S
    for gate in gates:
        if gate.ticks_needed > ticks:
            raise UsageError(
                f"{gate.subject} takes {format_count(gate.ticks_needed)} ticks a run to be known, "
                f"there are {format_count(ticks)}",
                "lengthen --duration, raise --tick-rate, or gate a lower percentile",
            )


DEFAULT_GATES: Final = (
    Gate(hop="end_to_end", statistic="p50", margin=0.05),
    Gate(hop="end_to_end", statistic="p99", margin=0.10),
)


def parse_gates(texts: Sequence[str], option: str = "--gate") -> tuple[Gate, ...]:
    """The gates of an option that may be repeated, each subject once; the default ones of none."""
    gates = tuple(parse_gate(text, option) for text in texts)
    subjects = [gate.subject for gate in gates]
    for subject in subjects:
        if subjects.count(subject) > 1:
            raise UsageError(f"{option} names {subject} twice", "write it once")
    return gates or DEFAULT_GATES


def parse_gate(text: str, option: str = "--gate") -> Gate:
    """A gate out of `text`; `option` names it in errors. Raises `UsageError` for anything else."""
    example = f"write {option} {EXAMPLE}"
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text!r} is not HOP.STATISTIC=PERCENT", example)
    hop, statistic = match["hop"] or "end_to_end", match["statistic"]
    check_subject(hop, statistic, option)
    if statistic == "max":
        raise UsageError(
            f"{option} {text!r} gates the maximum, which is one tick and no property of a run",
            f"gate a percentile: {option} {hop}.p99=10%",
        )
    return Gate(hop=hop, statistic=statistic, margin=_margin(text, match["margin"], option))


def _margin(text: str, margin: str, option: str) -> float:
    example = f"write {option} {EXAMPLE}"
    if not margin.endswith("%"):
        raise UsageError(f"{option} {text!r} ends in no share: {margin!r}", example)
    try:
        value = float(margin.removesuffix("%")) / 100
    except ValueError:
        value = math.nan
    if not 0 < value <= MAX_MARGIN:
        raise UsageError(f"{option} {text!r} is not between 0% and {MAX_MARGIN:.0%}", example)
    return value
