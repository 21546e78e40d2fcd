"""What an A/B session was asked for and gave: plain values, all that its report is made from."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from typing import Final

import msgspec

from latbench.comparison import Comparison
from latbench.config import words_without_secrets
from latbench.gates import Gate
from latbench.result import RunResult

AB_SCHEMA_VERSION: Final = 1
"""Of the session's file.

1 (0.1.0): a row a run; metadata `latbench.ab` holds an `AbResult` as JSON.
"""

PAIRS: Final = 10
MOST_PAIRS: Final = 20


class Side(enum.StrEnum):
    """One of the two that are compared."""

    A = "a"
    B = "b"


class Phase(enum.StrEnum):
    """What a run of a session is for."""

    DISCARDED = "discarded"
    """The first pair: it warms the broker, the caches and the CPUs."""
    CALIBRATION = "calibration"
    """A against A: what the machine's own noise comes to."""
    MEASURED = "measured"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One side: what is run."""

    command: tuple[str, ...]
    """What stands in the place of `latbench`; empty: this installation."""
    options: tuple[str, ...]
    """Of `latbench run`, for this side alone."""

    def without_secrets(self) -> Variant:
        """The same with passwords and keys blotted out: what may be stored and shown."""
        return Variant(
            command=words_without_secrets(self.command),
            options=words_without_secrets(self.options),
        )


class AbPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared, how often, and by what."""

    a: Variant
    b: Variant
    common: tuple[str, ...]
    """Options of `latbench run` for both sides."""
    gates: tuple[Gate, ...]
    pairs: int = PAIRS
    """Measured until the first look; where that does not decide, `most_pairs` are."""
    most_pairs: int = MOST_PAIRS
    seed: int = 1
    """Of the order within pairs."""
    calibrate: bool = False

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many pairs it is decided."""
        return tuple(dict.fromkeys((self.pairs, self.most_pairs)))

    def without_secrets(self) -> AbPlan:
        """The same with passwords and keys blotted out: what may be stored and shown."""
        return msgspec.structs.replace(
            self,
            a=self.a.without_secrets(),
            b=self.b.without_secrets(),
            common=words_without_secrets(self.common),
        )


class AbRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a session."""

    number: int
    """From 1 on, in the order of running."""
    pair: int
    """From 1 on within its phase."""
    side: Side
    """In a calibration both are runs of A, called so in turn."""
    phase: Phase
    result: RunResult
    histograms: dict[str, str]
    """By hop: HdrHistogram V2, compressed, base64."""
    file: str = ""
    """Its result file, where that is kept."""


class AbStatus(enum.StrEnum):
    """How a session ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class AbResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a session."""

    schema: int = AB_SCHEMA_VERSION
    latbench: str
    """The version that made it."""
    status: AbStatus
    failure: str = ""
    """Why a failed session failed, in one line."""
    started_unix_ns: int
    elapsed_ns: int
    plan: AbPlan
    runs: tuple[AbRun, ...]
    noise: dict[str, float] = {}
    """By a gate's subject: the largest share that A may differ from A by, by the calibration."""
    comparison: Comparison | None
    """None where no pair was measured, and no run was seen that spoils it."""

    def results(self, side: Side, phase: Phase = Phase.MEASURED) -> tuple[RunResult, ...]:
        """The results of a side's runs of whole pairs, in the order of pairs."""
        return tuple(run.result for run in self.runs_of(side, phase))

    def runs_of(self, side: Side, phase: Phase = Phase.MEASURED) -> tuple[AbRun, ...]:
        """A side's runs of whole pairs, in the order of pairs."""
        of_phase = [run for run in self.runs if run.phase is phase]
        whole = {run.pair for run in of_phase if run.side is Side.A} & {
            run.pair for run in of_phase if run.side is Side.B
        }
        mine = [run for run in of_phase if run.side is side and run.pair in whole]
        return tuple(sorted(mine, key=lambda run: run.pair))


def order_of_pairs(seed: int) -> Iterator[tuple[Side, Side]]:
    """Which side comes first in each pair, without end: blocks of two, ABBA or BAAB at random.

    In a block each side has the same mean place in time, so a steady drift favours neither.
    """
    chooser = random.Random(seed)
    straight, turned = (Side.A, Side.B), (Side.B, Side.A)
    while True:
        if chooser.random() < 0.5:
            yield straight
            yield turned
        else:
            yield turned
            yield straight
