"""Runs of two sides made up for tests: alike but for noise, and for what a side is slower by.

`sides(new=1.3)` are ten runs of each side of which B takes 1.3 times as long in every hop.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from latbench.result import RunResult
from latbench.store import ResultWriter
from latbench.stored import Stored
from tests.results import make_hop, make_result, make_tail
from tests.rows import SYMBOLS

NOISE = 0.02


def make_run(
    number: int, side: str = "a", scale: float = 1.0, slower: str = "", **changes: Any
) -> RunResult:
    """One run of a side; `scale`: of all hops' latencies, or of the part `slower` alone."""
    noise = float(np.exp(np.random.default_rng([number, ord(side)]).normal(0, NOISE)))
    result = make_result()
    tail_ns = dict(result.tail.mean_ns if result.tail else {})
    scales = {hop.hop: scale if slower in {"", hop.hop} else 1.0 for hop in result.hops}
    if slower:
        added_ns = (scale - 1) * (result.hop(slower).percentiles_ns["p50"] or 0)
        for total in ("end_to_end", "service"):
            scales[total] = 1 + added_ns / (result.hop(total).percentiles_ns["p50"] or 1)
    given = {
        "run_id": f"{side}{number:07d}",
        "hops": tuple(make_hop(hop, scale=each * noise) for hop, each in scales.items()),
        "tail": make_tail(
            mean_ns={hop: value * scales[hop] * noise for hop, value in tail_ns.items()}
        ),
    }
    return msgspec.structs.replace(result, **given | changes)


def make_side(
    side: str, count: int = 10, scale: float = 1.0, slower: str = "", **changes: Any
) -> tuple[Stored, ...]:
    """Runs of a side and the files they might lie in."""
    return tuple(
        Stored(
            path=f"{side}/{number:02}.parquet",
            result=make_run(number, side, scale, slower, **changes),
        )
        for number in range(1, count + 1)
    )


def sides(
    new: float = 1.0, slower: str = "", counts: tuple[int, int] = (10, 10), **changes: Any
) -> tuple[tuple[Stored, ...], tuple[Stored, ...]]:
    """A, and B whose latencies are `new` times A's; `changes` are to the results of B."""
    return make_side("a", counts[0]), make_side("b", counts[1], new, slower, **changes)


def write(path: Path, result: RunResult, histograms: Mapping[str, Any] | None = None) -> Path:
    """A result file without rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ResultWriter(path, SYMBOLS).close(result, histograms or {}, {})
    return path


def write_side(directory: Path, stored: tuple[Stored, ...]) -> list[Path]:
    """The results of a side as files of a directory."""
    return [write(directory / Path(each.path).name, each.result) for each in stored]
