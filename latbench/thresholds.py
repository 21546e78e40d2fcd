"""Bounds on a hop's latency, as people write them: `end_to_end.p99 < 5ms`.

The grammar is `HOP.STATISTIC OPERATOR TIME`: HOP a name of `tick.HOPS`; STATISTIC one of
`STATISTICS`; OPERATOR `<` or `<=`; TIME a number with its unit (`ns`, `us`, `µs`, `ms`, `s`).
Blanks around the operator are free.

Where people say what fails instead of what holds, `end_to_end.p99 > 15ms`, OPERATOR is `>` or `>=`
and HOP may be left out: it is `end_to_end` then.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from latbench.clock import NS_PER_S
from latbench.errors import UsageError
from latbench.histogram import HIGHEST_NS, MIN_SAMPLES_BEYOND, PERCENTILES
from latbench.result import HopSummary
from latbench.tick import HOP_BY_NAME
from latbench.units import format_latency, parse_duration_ns

EXAMPLE: Final = "end_to_end.p99 < 5ms"
LIMIT_EXAMPLE: Final = "end_to_end.p99 > 15ms"

_PERCENTS: Final[Mapping[str, float]] = {f"p{percent:g}": percent for percent in PERCENTILES}
PERCENTILE_NAMES: Final = tuple(_PERCENTS)
STATISTICS: Final = (*PERCENTILE_NAMES, "mean", "max")

_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
}
_THRESHOLD: Final = re.compile(
    r"\s*(?P<hop>\w+)\.(?P<statistic>\w+(?:\.\d+)?)\s*(?P<operator>[<>=!≤≥]+)\s*(?P<limit>.*?)\s*"
)
_LIMIT: Final = re.compile(  # a statistic begins with a letter: the 9 of p99.9 alone is none
    r"\s*(?:(?P<hop>\w+)\.)?(?P<statistic>[^\W\d]\w*(?:\.\d+)?)"
    r"\s*(?P<operator>[<>=!≤≥]+)\s*(?P<limit>.*?)\s*"
)
_BOUND_OF_LIMIT: Final[Mapping[str, str]] = {">": "<=", ">=": "<", "=>": "<", "≥": "<"}
_UNIT: Final = re.compile(r"[\d.]+\s*(?:ns|us|µs|μs|ms|s)")


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of one hop, as results have it."""

    hop: str
    statistic: str
    """One of `STATISTICS`."""

    @property
    def subject(self) -> str:
        """Hop and statistic: `end_to_end.p99`."""
        return f"{self.hop}.{self.statistic}"

    @property
    def short_subject(self) -> str:
        """The same without `end_to_end`, which most are about: `p99`, `kafka.p99`."""
        return self.subject.removeprefix("end_to_end.")

    @property
    def percent(self) -> float | None:
        """Of a percentile; None for `mean` and `max`."""
        return _PERCENTS.get(self.statistic)

    @property
    def ticks_needed(self) -> int:
        """Measured ticks from which on the statistic is no guess: 100 of them above a percentile.

        The mean has its error from the spread instead, and the maximum is what it is: 1.
        """
        if self.percent is None:
            return 1
        beyond = round(100 - self.percent, 6)
        return math.ceil(round(MIN_SAMPLES_BEYOND * 100 / beyond, 6))

    def read(self, hops: Sequence[HopSummary]) -> float | None:
        """The statistic in nanoseconds; None where too few ticks tell it."""
        summary = next((each for each in hops if each.hop == self.hop and each.count), None)
        if summary is None:
            return None
        if self.statistic == "mean":
            return summary.mean_ns
        if self.statistic == "max":
            return summary.max_ns
        return summary.percentiles_ns.get(self.statistic)


class Threshold(Statistic, frozen=True, kw_only=True):
    """An upper bound on one statistic of one hop."""

    operator: str
    limit_ns: int

    def __str__(self) -> str:
        return f"{self.subject} {self.operator} {format_latency(self.limit_ns)}"

    def allows(self, value_ns: float) -> bool:
        """Whether a value is within the bound."""
        return _OPERATORS[self.operator](value_ns, self.limit_ns)


def parse_threshold(text: str, option: str = "--slo") -> Threshold:
    """A bound out of `text`; `option` names it in errors. Raises `UsageError` for anything else."""
    match = _THRESHOLD.fullmatch(text)
    example = f"write {option} '{EXAMPLE}'"
    if match is None:
        raise UsageError(f"{option} {text!r} is not HOP.STATISTIC < TIME", example)
    hop, statistic, sign, limit = match.group("hop", "statistic", "operator", "limit")
    check_subject(hop, statistic, option)
    sign = {"≤": "<=", "=<": "<="}.get(sign, sign)
    if sign not in _OPERATORS:
        raise UsageError(f"{option} {text!r} is no upper bound: there are < and <=", example)
    limit_ns = _parse_time(text, limit, option, example)
    return Threshold(hop=hop, statistic=statistic, operator=sign, limit_ns=limit_ns)


def parse_limit(text: str, option: str = "--fail-on") -> Threshold:
    """The bound that holds unless what `text` says is the case: `p99 > 15ms` is p99 <= 15 ms.

    Without a hop it is `end_to_end`; `option` names it in errors. Raises `UsageError` for anything
    else.
    """
    match = _LIMIT.fullmatch(text)
    example = f"write {option} '{LIMIT_EXAMPLE}'"
    if match is None:
        raise UsageError(f"{option} {text!r} is not HOP.STATISTIC > TIME", example)
    hop, statistic, sign, limit = match.group("hop", "statistic", "operator", "limit")
    hop = hop or "end_to_end"
    check_subject(hop, statistic, option)
    if sign not in _BOUND_OF_LIMIT:
        raise UsageError(f"{option} {text!r} says nothing that fails: there are > and >=", example)
    limit_ns = _parse_time(text, limit, option, example)
    return Threshold(
        hop=hop, statistic=statistic, operator=_BOUND_OF_LIMIT[sign], limit_ns=limit_ns
    )


def _parse_time(text: str, limit: str, option: str, example: str) -> int:
    if not _UNIT.fullmatch(limit):  # 5 would be 5 s, and nobody means that of a latency
        raise UsageError(f"{option} {text!r} ends in no time with its unit: {limit!r}", example)
    limit_ns = parse_duration_ns(limit.replace("μ", "µ"), f"{option} limit")
    if limit_ns > HIGHEST_NS:
        raise UsageError(
            f"{option} {text!r} allows more than the {HIGHEST_NS // (3600 * NS_PER_S)} h that are "
            "measured",
            example,
        )
    return limit_ns


def check_subject(hop: str, statistic: str, option: str) -> None:
    """Raise `UsageError` for a hop or a statistic that is not there."""
    _check_name("hop", hop, HOP_BY_NAME, option)
    _check_name("statistic", statistic, STATISTICS, option)


def _check_name(what: str, name: str, known: Iterable[str], option: str) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"{option} names the {what} {name!r}, which is not there", hint)
