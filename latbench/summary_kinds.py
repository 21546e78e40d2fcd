"""What a file of several runs is of: commands that take runs say so instead of refusing blindly."""

from __future__ import annotations

import enum
from pathlib import Path

from latbench.ab_file import is_ab
from latbench.sweep_file import is_sweep


class SummaryKind(enum.Enum):
    """What made it: in words, and the command."""

    SWEEP = ("a sweep", "sweep")
    SESSION = ("an A/B session", "ab")

    def __init__(self, words: str, command: str) -> None:
        self.words = words
        self.command = command


def summary_kind(path: Path) -> SummaryKind | None:
    """The kind of a file of several runs; None where it is none, whatever else it is."""
    if is_sweep(path):
        return SummaryKind.SWEEP
    return SummaryKind.SESSION if is_ab(path) else None
