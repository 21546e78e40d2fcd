"""A result that lies in a file."""

from __future__ import annotations

import msgspec

from latbench.result import RunResult


class Stored(msgspec.Struct, frozen=True):
    """A result and the file it lies in."""

    path: str
    result: RunResult
