"""What a run is held against when it is over, all of it known before it begins.

Limits (`--fail-on`), and the results of earlier runs (`--baseline`). What can be refused without
measuring anything is refused before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from latbench import likeness
from latbench.clock import NS_PER_S
from latbench.comparing import StoredComparison, compare
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.gates import Gate, parse_gates
from latbench.rank_sum import MAX_VALUES
from latbench.result import RunResult
from latbench.stored import Stored
from latbench.stored_sides import Side, Skip, label, read_directory
from latbench.thresholds import Threshold, parse_limit
from latbench.units import format_count, format_duration, format_rate

FAIL_ON = "--fail-on"
MAX_REGRESSION = "--max-regression"


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Earlier results of the same load, and how much worse a new one may be."""

    side: Side
    gates: tuple[Gate, ...]

    def compare(self, result: RunResult, path: Path) -> tuple[StoredComparison, Side, Side]:
        """The run at `path` against them; what that has replaced is none of them."""
        kept = tuple(e for e in self.side.stored if Path(e.path).resolve() != path.resolve())
        base = Side(self.side.label, kept)
        new = Side(str(path), (Stored(path=str(path), result=result),))
        return compare(base.stored, new.stored, self.gates), base, new


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run is held against."""

    limits: tuple[Threshold, ...] = ()
    baseline: Baseline | None = None
    strict: bool = False


def prepare(
    config: RunConfig,
    *,
    fail_on: Sequence[str],
    baseline: Path | None,
    max_regression: Sequence[str],
    strict: bool,
    tell: Skip,
) -> Checks:
    """The checks that the options ask for; `UsageError` for what this run can't be held against.

    `tell` gets a line for each file that is passed over.
    """
    limits = tuple(parse_limit(text, FAIL_ON) for text in fail_on)
    for limit in limits:
        _check_ticks(config, f"{FAIL_ON} {limit.subject}", limit.ticks_needed)
    if baseline is None:
        given = MAX_REGRESSION if max_regression else "--strict" if strict else ""
        if given:
            raise UsageError(
                f"{given} is for a comparison, and there is none", "add --baseline DIR"
            )
        return Checks(limits=limits)
    gates = parse_gates(max_regression, MAX_REGRESSION)
    for gate in gates if max_regression else ():
        _check_ticks(config, f"{MAX_REGRESSION} {gate.subject}", gate.ticks_needed)
    side = _read_baseline(config, baseline, tell)
    return Checks(limits=limits, baseline=Baseline(side=side, gates=gates), strict=strict)


def _check_ticks(config: RunConfig, what: str, needed: int) -> None:
    """Refuse what a run of so many ticks can't tell; how many a replay has is its file's matter."""
    if config.is_replay:
        return
    ticks = config.tick_rate_hz * config.bounded_duration_ns // NS_PER_S
    if ticks < needed:
        seconds = math.ceil(needed / config.tick_rate_hz)
        raise UsageError(
            f"{what} takes {format_count(needed)} measured ticks to be known, and "
            f"{format_duration(config.bounded_duration_ns)} at "
            f"{format_rate(config.tick_rate_hz)} give {format_count(ticks)}",
            f"write --duration {seconds}s, or name a lower percentile",
        )


def _read_baseline(config: RunConfig, directory: Path, tell: Skip) -> Side:
    """The results in a directory that a run of `config` can be compared with."""
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        raise UsageError(f"--baseline {directory} {what}", "name a directory of results")
    stored = read_directory(directory, tell)
    wanted = {"broker": _kind(config), **likeness.load(config)}
    others = [(each, _unlike(each, wanted)) for each in stored]
    alike = tuple(each for each, unlike in others if not unlike)
    if not alike:
        nearest, names = min(others, key=lambda other: len(other[1]))
        there = _known(nearest)
        told = ", ".join(f"{name} is {there[name]} there, {wanted[name]} here" for name in names)
        raise UsageError(
            f"none of {format_count(len(stored))} results in {directory} is of this run's load: "
            f"{told}",
            "measure with the options of the base, or name another directory",
        )
    if not any(likeness.unfit(each.result, each.path, "A") is None for each in alike):
        raise UsageError(
            f"no result in {directory} of this run's load is complete and valid",
            "measure the base again",
        )
    if len(alike) < len(stored):
        tell(f"{directory}: {len(stored) - len(alike)} of {len(stored)} are of another load")
    if len(alike) > MAX_VALUES:
        tell(f"{directory}: the latest {MAX_VALUES:,} of {len(alike):,} are compared with")
        alike = tuple(sorted(alike, key=lambda each: each.result.started_unix_ns)[-MAX_VALUES:])
    return Side(label([directory]), alike)


def _kind(config: RunConfig) -> str:
    return "embedded" if config.is_embedded else "kafka"


def _known(stored: Stored) -> dict[str, str]:
    return {"broker": stored.result.broker.kind, **likeness.load(stored.result.config)}


def _unlike(stored: Stored, wanted: dict[str, str]) -> list[str]:
    """What of a stored run is different, by name."""
    there = _known(stored)
    return [name for name in wanted if there.get(name) != wanted[name]]
