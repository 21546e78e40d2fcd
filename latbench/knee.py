"""The search for the highest rate that holds: which rate to measure next, and when it is found.

Pure: a generator that yields the rate to measure and is sent what came of it. Single measurements
lie now and then (a stall of the machine breaks a p99), so no rate is given up for one failure and
none is accepted for one success.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Generator
from typing import Final

import msgspec

STEP_FACTOR: Final = 2
CONFIRMATIONS: Final = 3
"""An answer is measured so often again; more than half of them must hold."""
MAX_REJECTIONS: Final = 4
"""So many answers that don't hold when measured again say that the noise is larger than what is
looked for: the search ends without one."""
_DIGITS: Final = 3


class Purpose(enum.StrEnum):
    """Why a rate is measured."""

    STEP = "step"
    """Upwards, each twice the rate before."""
    BISECT = "bisect"
    """Between a rate that held and one that did not."""
    REPEAT = "repeat"
    """It failed: once more, for one failure may be the machine's."""
    CONFIRM = "confirm"
    """It is the answer if it holds again."""


class Verdict(enum.Enum):
    """What came of a measurement."""

    HOLDS = "holds"
    FAILS = "fails"
    FAILS_CLEARLY = "fails clearly"
    """Beyond doubt: it need not be repeated."""


class Probe(msgspec.Struct, frozen=True):
    """A measurement to make."""

    rate_hz: int
    purpose: Purpose


class Ending(enum.StrEnum):
    """How a search ended."""

    FOUND = "found"
    NONE_HOLDS = "none-holds"
    """Not even the lowest rate does."""
    INCONCLUSIVE = "inconclusive"
    """`MAX_REJECTIONS` answers failed when measured again."""


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    ending: Ending
    rate_hz: int | None
    """The highest rate that holds; None: there is none, or no telling."""
    fails_hz: int | None
    """The lowest rate that is known to fail; None: the highest that was allowed holds."""
    held: int = 0
    """How many of the `CONFIRMATIONS` held."""
    rejected_hz: tuple[int, ...] = ()
    """Answers that did not hold when they were measured again."""


Search = Generator[Probe, Verdict, Knee]


def search(from_hz: int, to_hz: int, resolution: float) -> Search:
    """Find the highest rate from `from_hz` to `to_hz` that holds.

    Geometric steps up to the first failure, bisection (on a logarithmic scale) until what holds
    and what fails differ by `resolution` (0.05: 5 %) at most, then `CONFIRMATIONS` measurements of
    the answer. If those fail, it counts as failed and the search goes on below it. A failure is
    believed when it comes twice, or was a clear one.

    For verdicts that depend on the rate alone, and change once from holding to failing, the answer
    holds and fails_hz ≤ rate_hz × (1 + resolution), or they are neighbouring whole numbers.
    """
    held: list[int] = []
    fails_hz: int | None = None
    rate_hz = from_hz
    while (yield from _holds(rate_hz, Purpose.STEP)):
        held.append(rate_hz)
        if rate_hz == to_hz:
            break
        rate_hz = min(rate_hz * STEP_FACTOR, to_hz)
    else:
        fails_hz = rate_hz
    rejected: list[int] = []
    while held:
        while fails_hz is not None and (middle_hz := _between(held[-1], fails_hz, resolution)):
            if (yield from _holds(middle_hz, Purpose.BISECT)):
                held.append(middle_hz)
            else:
                fails_hz = middle_hz
        answer_hz = held.pop()
        confirmed = yield from _confirm(answer_hz)
        if confirmed * 2 > CONFIRMATIONS:
            return Knee(
                ending=Ending.FOUND,
                rate_hz=answer_hz,
                fails_hz=fails_hz,
                held=confirmed,
                rejected_hz=tuple(rejected),
            )
        fails_hz = answer_hz
        rejected.append(answer_hz)
        if held and len(rejected) == MAX_REJECTIONS:
            return _without_answer(Ending.INCONCLUSIVE, fails_hz, rejected)
    assert fails_hz is not None
    return _without_answer(Ending.NONE_HOLDS, fails_hz, rejected)


def _without_answer(ending: Ending, fails_hz: int, rejected: list[int]) -> Knee:
    return Knee(ending=ending, rate_hz=None, fails_hz=fails_hz, rejected_hz=tuple(rejected))


def _holds(rate_hz: int, purpose: Purpose) -> Generator[Probe, Verdict, bool]:
    """One measurement, or where it fails the majority of three."""
    verdict = yield Probe(rate_hz, purpose)
    if verdict is not Verdict.FAILS:
        return verdict is Verdict.HOLDS
    for _ in range(2):
        # the second failure decides; after a success the third measurement does
        again = yield Probe(rate_hz, Purpose.REPEAT)
        if again is not Verdict.HOLDS:
            return False
    return True


def _confirm(rate_hz: int) -> Generator[Probe, Verdict, int]:
    """How often the rate held; it is not measured on when most have failed."""
    held = failed = 0
    while held + failed < CONFIRMATIONS and failed * 2 < CONFIRMATIONS:
        if (yield Probe(rate_hz, Purpose.CONFIRM)) is Verdict.HOLDS:
            held += 1
        else:
            failed += 1
    return held


def _between(holds_hz: int, fails_hz: int, resolution: float) -> int | None:
    """A rate about half-way on a logarithmic scale; None where they are as near as they should."""
    if fails_hz - holds_hz <= 1 or fails_hz <= holds_hz * (1 + resolution):
        return None
    middle = math.sqrt(holds_hz * fails_hz)
    # 11,300 is easier to read and to type than 11,314
    step = 10 ** max(math.floor(math.log10(middle)) + 1 - _DIGITS, 0)
    rounded = round(middle / step) * step
    return rounded if holds_hz < rounded < fails_hz else (holds_hz + fails_hz) // 2
