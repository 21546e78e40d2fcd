"""Several runs as one: their histograms added, never their percentiles averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from latbench.analysis import summarise
from latbench.errors import ExitCode, LatbenchError, UsageError
from latbench.export.hlog import HICCUP, draw_whole
from latbench.export.limits import doubt
from latbench.histogram import Histogram
from latbench.likeness import fingerprint, setting
from latbench.result import HopSummary, RunResult
from latbench.store import read_histograms
from latbench.tick import HOPS

_LIKE: Final = frozenset({"seed", "duration"})
"""Runs that differ in these alone measure the same."""


class MergedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs that were named."""

    file: str
    run_id: str
    started_unix_ns: int
    measured_ns: int
    count: int
    """Ticks with an end-to-end latency."""
    left_out: str = ""
    """Why it is in no figure; "": it is in all."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was not the same in all runs that were merged."""

    what: str
    values: tuple[str, ...]
    """Each once, in order of the files."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs' ticks give together."""

    runs: tuple[MergedRun, ...]
    measured_ns: int
    """The sum of their measured spans; rates are over it."""
    hops: tuple[HopSummary, ...]
    hiccups: HopSummary | None
    differences: tuple[Difference, ...]
    embedded: bool
    """Whether the broker of any was embedded."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A run to be merged."""

    file: str
    result: RunResult
    read: Callable[[], Mapping[str, Histogram]]
    """Gives its histograms by hop: 2.4 MB, which are not kept for longer than they are added."""


class NothingToMergeError(LatbenchError):
    """All runs that were named are left out."""

    exit_code = ExitCode.INVALID


def histograms_of(path: Path, result: RunResult) -> dict[str, Histogram]:
    """The histograms of a result file with their exact figures, by hop, and `hiccup`.

    Raises `LatbenchError` where they are damaged, lack, or tell otherwise than the result.
    """
    encoded = read_histograms(path)
    summaries = {summary.hop: summary for summary in result.hops}
    if result.hiccups is not None:
        summaries[HICCUP] = result.hiccups
    histograms = {}
    for name, summary in summaries.items():
        if name not in encoded:
            raise LatbenchError(f"{path} lacks the histogram of {name}", "run it again")
        try:
            histogram = _decoded(encoded[name], summary)
        except ValueError as error:
            raise LatbenchError(
                f"{path} has a damaged histogram of {name}: {error}", "run it again"
            ) from None
        if histogram.count != summary.count:
            raise LatbenchError(
                f"{path} has {histogram.count:,} latencies of {name} in its histogram, and tells "
                f"of {summary.count:,}",
                "it was changed after its run: run it again",
            )
        histograms[name] = histogram
    return histograms


def _decoded(encoded: str, summary: HopSummary) -> Histogram:
    return Histogram.decode(
        encoded,
        min_ns=summary.min_ns,
        max_ns=summary.max_ns,
        mean_ns=summary.mean_ns,
        stdev_ns=summary.stdev_ns,
        negative=summary.negative,
        out_of_range=summary.out_of_range,
    )


def add(parts: Sequence[Part]) -> dict[str, Histogram]:
    """The sum of histograms by hop; those of hiccups where all have one."""
    names = [hop.name for hop in HOPS]
    if all(part.result.hiccups is not None for part in parts):
        names.append(HICCUP)
    total = {name: Histogram() for name in names}
    for part in parts:
        histograms = part.read()
        for name, histogram in total.items():
            histogram.add(histograms[name])
    return total


def merge_runs(parts: Sequence[Part], *, take_all: bool) -> tuple[Merged, dict[str, Histogram]]:
    """The figures of all runs together, and their histograms by hop.

    Runs that failed or are no valid measurement are left out unless `take_all`. Raises `UsageError`
    for a run that is named twice, `NothingToMergeError` where none is left.
    """
    _refuse_twice(parts)
    reasons = {part.file: "" if take_all else doubt(part.result) for part in parts}
    used = [part for part in parts if not reasons[part.file]]
    if not used:
        raise NothingToMergeError(
            f"none of the {len(parts)} runs is a valid measurement"
            if len(parts) > 1
            else f"{parts[0].file} is no valid measurement: {reasons[parts[0].file]}",
            "latbench report FILE says why; --all takes them all the same",
        )
    histograms = add(used)
    span_ns = sum(part.result.measured_ns for part in used)
    hiccups = histograms.get(HICCUP)
    merged = Merged(
        runs=tuple(_told(part, reasons[part.file]) for part in parts),
        measured_ns=span_ns,
        hops=tuple(summarise(hop.name, histograms[hop.name], span_ns) for hop in HOPS),
        hiccups=None if hiccups is None else summarise(HICCUP, hiccups, span_ns),
        differences=tuple(differences([part.result for part in used])),
        embedded=any(part.result.config.is_embedded for part in used),
    )
    return merged, histograms


def draw_log(merged: Merged, histograms: Mapping[str, Histogram]) -> str:
    """The histograms as a log of HdrHistogram: one interval that spans all runs."""
    used = [run for run in merged.runs if not run.left_out]
    begin_unix_ns = min(run.started_unix_ns for run in used)
    end_unix_ns = max(run.started_unix_ns + run.measured_ns for run in used)
    told = f"latbench merge of runs {', '.join(run.run_id for run in used)}"
    return draw_whole(told, begin_unix_ns, end_unix_ns - begin_unix_ns, histograms)


def _refuse_twice(parts: Sequence[Part]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        run_id = part.result.run_id
        if run_id in seen:
            raise UsageError(
                f"{seen[run_id]} and {part.file} are the same run, {run_id}", "name each run once"
            )
        seen[run_id] = part.file


def _told(part: Part, left_out: str) -> MergedRun:
    result = part.result
    return MergedRun(
        file=part.file,
        run_id=result.run_id,
        started_unix_ns=result.started_unix_ns,
        measured_ns=result.measured_ns,
        count=result.hop("end_to_end").count,
        left_out=left_out,
    )


def differences(results: Sequence[RunResult]) -> Iterator[Difference]:
    """What was not the same in all: machine, broker, load, settings, versions."""
    told = [_particulars(result) for result in results]
    for what in dict.fromkeys(name for each in told for name in each):
        values = tuple(dict.fromkeys(each.get(what, "none") for each in told))
        if len(values) > 1:
            yield Difference(what=what, values=values)


def _particulars(result: RunResult) -> dict[str, str]:
    """By name, in words; without what makes no other measurement of a run."""
    told = {
        **fingerprint(result),
        "host": result.environment.hostname,
        **setting(result),
    }
    return {name: value for name, value in told.items() if name not in _LIKE}
