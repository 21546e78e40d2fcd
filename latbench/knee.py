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
MAX_RECOVERIES: Final = 3
"""So often a failure above the answer may turn out to have been the machine's, then it counts."""
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
    RECHECK = "recheck"
    """It failed and limits the answer from above: does it still? A machine has bad minutes."""


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
    recovered_hz: tuple[int, ...] = ()
    """Rates that failed twice and held later, so that the search went on above them."""


Search = Generator[Probe, Verdict, Knee]


def search(from_hz: int, to_hz: int, resolution: float) -> Search:
    """Find the highest rate from `from_hz` to `to_hz` that holds.

    Geometric steps up to the first failure, bisection (on a logarithmic scale) until what holds
    and what fails differ by `resolution` (0.05: 5 %) at most, then `CONFIRMATIONS` measurements of
    the answer. If those fail, it counts as failed and the search goes on below it. A failure is
    believed when it comes twice, or was a clear one. Last the failure above the answer is measured
    once more, minutes later: if it holds twice, the search goes on above it.

    For verdicts that depend on the rate alone, and change once from holding to failing, the answer
    holds and fails_hz ≤ rate_hz × (1 + resolution), or they are neighbouring whole numbers.
    """
    return (yield from _Search(from_hz, to_hz, resolution).run())


class _Search:
    """Two stacks: rates that hold, each higher than the one before, and that fail, each lower."""

    def __init__(self, from_hz: int, to_hz: int, resolution: float) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._resolution = resolution
        self._held: list[int] = []
        self._failed: list[int] = []
        self._certain: set[int] = set()
        """Failures that need no second look."""
        self._confirmed: dict[int, int] = {}
        """How often an answer held again."""
        self._rejected: list[int] = []
        self._recovered: list[int] = []

    def run(self) -> Search:
        """All of it."""
        while True:
            yield from self._step_up()
            yield from self._narrow()
            if not self._held:
                return self._end(Ending.NONE_HOLDS)
            answer_hz = self._held[-1]
            if answer_hz not in self._confirmed:
                held = yield from _confirm(answer_hz)
                if held * 2 < CONFIRMATIONS:
                    self._reject(answer_hz)
                    if self._held and len(self._rejected) == MAX_REJECTIONS:
                        return self._end(Ending.INCONCLUSIVE)
                    continue
                self._confirmed[answer_hz] = held
            if not (yield from self._recovers()):
                return self._end(Ending.FOUND)

    def _step_up(self) -> Generator[Probe, Verdict, None]:
        while not self._failed and (not self._held or self._held[-1] < self._to_hz):
            rate_hz = self._from_hz
            if self._held:
                rate_hz = min(self._held[-1] * STEP_FACTOR, self._to_hz)
            yield from self._measure(rate_hz, Purpose.STEP)

    def _narrow(self) -> Generator[Probe, Verdict, None]:
        while self._held and self._failed:
            middle_hz = _between(self._held[-1], self._failed[-1], self._resolution)
            if middle_hz is None:
                return
            yield from self._measure(middle_hz, Purpose.BISECT)

    def _measure(self, rate_hz: int, purpose: Purpose) -> Generator[Probe, Verdict, None]:
        """One measurement, or where it fails the majority of three."""
        verdict = yield Probe(rate_hz, purpose)
        if verdict is Verdict.FAILS:
            # the second failure decides; after a success the third measurement does
            verdict = yield Probe(rate_hz, Purpose.REPEAT)
            if verdict is Verdict.HOLDS:
                verdict = yield Probe(rate_hz, Purpose.REPEAT)
        if verdict is Verdict.HOLDS:
            self._held.append(rate_hz)
            return
        self._failed.append(rate_hz)
        if verdict is Verdict.FAILS_CLEARLY:
            self._certain.add(rate_hz)

    def _reject(self, answer_hz: int) -> None:
        self._held.pop()
        self._failed.append(answer_hz)
        self._certain.add(answer_hz)
        self._rejected.append(answer_hz)

    def _recovers(self) -> Generator[Probe, Verdict, bool]:
        """Whether the rate that limits the answer holds after all."""
        if not self._failed or len(self._recovered) == MAX_RECOVERIES:
            return False
        rate_hz = self._failed[-1]
        if rate_hz in self._certain:
            return False
        self._certain.add(rate_hz)
        for _ in range(2):
            if (yield Probe(rate_hz, Purpose.RECHECK)) is not Verdict.HOLDS:
                return False
        self._held.append(self._failed.pop())
        self._recovered.append(rate_hz)
        return True

    def _end(self, ending: Ending) -> Knee:
        rate_hz = self._held[-1] if ending is Ending.FOUND else None
        return Knee(
            ending=ending,
            rate_hz=rate_hz,
            fails_hz=self._failed[-1] if self._failed else None,
            held=self._confirmed[rate_hz] if rate_hz is not None else 0,
            rejected_hz=tuple(self._rejected),
            recovered_hz=tuple(self._recovered),
        )


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
