"""Signals that ask a command to end, as a flag to be looked at."""

from __future__ import annotations

import signal
from types import FrameType

from latbench.endings import ASKING_TO_END


class Signals:
    """Turns signals that ask for an end into a flag; the previous handlers come back after."""

    def __init__(self) -> None:
        self.first = 0
        self.count = 0

    def __enter__(self) -> Signals:
        self._before = {number: signal.getsignal(number) for number in ASKING_TO_END}
        for number in ASKING_TO_END:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.first = self.first or number
        self.count += 1


class Interrupted(Exception):  # noqa: N818 (an outcome, not an error)
    """A signal came before there was anything to report."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
