"""Results over time: what was normal, and where it changed.

Pure: results in, a `Scenario` out. Only runs that can be compared stand in one row
(`trend_key.series_key`), and only good ones are used (`trend_key.unused_because`). `e_divisive`
tells where a level changed from logarithms of a percentile's values, one a run: noise and
regressions multiply a latency. A level is the median of its runs' values, and a change the ratio
of two: percentiles are never averaged.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from latbench.e_divisive import LEAST_VALUES, find_change_points, segments
from latbench.errors import UsageError
from latbench.history_result import (
    Change,
    Differing,
    Event,
    History,
    HistoryRun,
    HopMove,
    Latest,
    Level,
    Listed,
    Scenario,
    Trend,
)
from latbench.result import Environment, HopSummary, RunResult
from latbench.stored import Stored
from latbench.tick import HOPS, PARTS
from latbench.trend_key import SeriesKey, series_key, unused_because

TOTAL: Final = "end_to_end"
HICCUP: Final = "hiccup"
"""No hop: how late the machine's timers were. It has trends, as it tells the machine's changes."""
SUBJECTS: Final = (*(hop.name for hop in HOPS), HICCUP)
NEAR: Final = 2
"""Change points of different trends up to so many runs apart are one event: each is that sure."""


def build_history(
    stored: Sequence[Stored], *, wanted: str = "", everything: bool = False, any_host: bool = False
) -> History:
    """The history of the largest scenario, of all, or of those that `wanted` names.

    `wanted`: the beginning of a scenario's id, or its runs' name. Raises `UsageError` where no
    scenario is called that.
    """
    groups = group(stored, any_host=any_host)
    listed = tuple(_listed(key, members) for key, members in groups.items())
    if wanted:
        chosen = [key for key in groups if key.name == wanted or key.scenario_id.startswith(wanted)]
        if not chosen:
            there = ", ".join(each.scenario_id for each in listed)
            raise UsageError(f"--scenario {wanted!r} is not there", f"there are {there}")
    else:
        chosen = list(groups) if everything else list(groups)[:1]
    return History(
        listed=listed,
        scenarios=tuple(analyse(key, groups[key]) for key in chosen),
        hosts_alone=len(groups) - len(group(stored, any_host=True)),
    )


def _listed(key: SeriesKey, members: Sequence[Stored]) -> Listed:
    return Listed(
        scenario_id=key.scenario_id,
        key=key,
        runs=len(members),
        used=sum(unused_because(each.result) is None for each in members),
        first_unix_ns=members[0].result.started_unix_ns,
        last_unix_ns=members[-1].result.started_unix_ns,
    )


def group(stored: Iterable[Stored], *, any_host: bool = False) -> dict[SeriesKey, list[Stored]]:
    """Results that can be compared together, each group in order of time, the largest group first.

    Groups are compared by their used runs, then by all of them, then by id.
    """
    groups: dict[SeriesKey, list[Stored]] = collections.defaultdict(list)
    for each in stored:
        groups[series_key(each.result, any_host=any_host)].append(each)

    def size(item: tuple[SeriesKey, list[Stored]]) -> tuple[int, int, str]:
        used = sum(unused_because(each.result) is None for each in item[1])
        return -used, -len(item[1]), item[0].scenario_id

    by_time = {
        key: sorted(members, key=lambda each: (each.result.started_unix_ns, each.result.run_id))
        for key, members in groups.items()
    }
    return dict(sorted(by_time.items(), key=size))


def analyse(key: SeriesKey, members: Sequence[Stored]) -> Scenario:
    """All trends of one group (in order of time) with their change points."""
    runs = tuple(map(_as_run, members))
    used = [place for place, run in enumerate(runs) if run.unused is None]
    results = {place: members[place].result for place in used}
    others = {place: members[place].result for place in range(len(runs)) if place not in results}
    found = [
        _trend(
            subject,
            percentile,
            runs,
            _values(subject, percentile, results),
            _values(subject, percentile, others),
        )
        for subject in SUBJECTS
        for percentile in _percentiles_of(subject, results.values())
    ]
    trends = tuple(_explained(trend, found) for trend in found)
    return Scenario(
        scenario_id=key.scenario_id,
        key=key,
        runs=runs,
        trends=trends,
        events=tuple(_events(trends, used, results)),
    )


def _as_run(stored: Stored) -> HistoryRun:
    unused = unused_because(stored.result)
    return HistoryRun(
        file=stored.path,
        run_id=stored.result.run_id,
        started_unix_ns=stored.result.started_unix_ns,
        git_revision=stored.result.environment.git_revision,
        unused=unused[0] if unused else None,
        why=unused[1] if unused else "",
    )


def _summary(result: RunResult, subject: str) -> HopSummary | None:
    if subject == HICCUP:
        return result.hiccups
    return next((hop for hop in result.hops if hop.hop == subject), None)


def _percentiles_of(subject: str, results: Iterable[RunResult]) -> list[str]:
    """Those that any of the results knows, in their order."""
    known: dict[str, None] = {}
    for result in results:
        summary = _summary(result, subject)
        if summary is not None:
            known |= dict.fromkeys(n for n, value in summary.percentiles_ns.items() if value)
    return sorted(known, key=lambda name: float(name[1:]))


def _values(subject: str, percentile: str, results: Mapping[int, RunResult]) -> dict[int, int]:
    """The percentile of each run that knows it, by place."""
    values: dict[int, int] = {}
    for place, result in results.items():
        summary = _summary(result, subject)
        value = summary.percentiles_ns.get(percentile) if summary is not None else None
        if value:  # 0 ns has no logarithm, and is no latency but two stamps of one moment
            values[place] = value
    return values


def _trend(
    subject: str,
    percentile: str,
    runs: Sequence[HistoryRun],
    values: Mapping[int, int],
    unused: Mapping[int, int],
) -> Trend:
    places, values_ns = tuple(values), tuple(values.values())
    points = find_change_points(list(map(math.log, values_ns)))
    levels = [
        Level(
            first_run=places[start],
            last_run=places[end - 1],
            runs=end - start,
            median_ns=float(np.median(values_ns[start:end])),
        )
        for start, end in segments([point.index for point in points], len(places))
        if end > start
    ]
    changes = []
    for point, before, after in zip(points, levels, levels[1:], strict=False):
        changes.append(
            Change(
                hop=subject,
                percentile=percentile,
                run=after.first_run,
                started_unix_ns=runs[after.first_run].started_unix_ns,
                revision_before=runs[before.last_run].git_revision,
                revision_after=runs[after.first_run].git_revision,
                from_ns=before.median_ns,
                to_ns=after.median_ns,
                magnitude=after.median_ns / before.median_ns - 1,
                p_value=point.p_value,
                runs_before=before.runs,
                runs_after=after.runs,
            )
        )
    return Trend(
        hop=subject,
        percentile=percentile,
        runs=places,
        values_ns=values_ns,
        unused_runs=tuple(unused),
        unused_values_ns=tuple(unused.values()),
        latest=_latest(len(places), changes),
        levels=tuple(levels),
        changes=tuple(changes),
    )


def _latest(count: int, changes: Sequence[Change]) -> Latest:
    if count < LEAST_VALUES:
        return Latest.TOO_FEW_RUNS
    if not changes:
        return Latest.UNCHANGED
    return Latest.WORSE if changes[-1].is_worse else Latest.BETTER


# --- what happened together -----------------------------------------------------------------------


def _explained(trend: Trend, all_trends: Sequence[Trend]) -> Trend:
    """`end_to_end`'s trend with what its parts did at each change; others as they are."""
    if trend.hop != TOTAL or not trend.changes:
        return trend
    beside = {each.hop: each for each in all_trends if each.percentile == trend.percentile}
    changes = []
    for number, change in enumerate(trend.changes):
        before, after = trend.levels[number], trend.levels[number + 1]
        moves = [
            move
            for part in PARTS
            if (move := _move(beside.get(part.name), change, before, after)) is not None
        ]
        moves.sort(
            key=lambda move: -(move.to_ns - move.from_ns) * math.copysign(1, change.magnitude)
        )
        hiccup = _move(beside.get(HICCUP), change, before, after)
        moved = (*moves, *([hiccup] if hiccup is not None else []))
        changes.append(msgspec.structs.replace(change, moved=moved))
    return msgspec.structs.replace(trend, changes=tuple(changes))


def _move(trend: Trend | None, change: Change, before: Level, after: Level) -> HopMove | None:
    """What a trend did over the same runs; None where it lacks either side."""
    if trend is None:
        return None
    sides = [
        [
            value
            for place, value in zip(trend.runs, trend.values_ns, strict=True)
            if level.first_run <= place <= level.last_run
        ]
        for level in (before, after)
    ]
    if not all(sides):
        return None
    near = [
        own
        for own in trend.changes
        if _distance(trend, own.run, change.run) <= NEAR and own.is_worse == change.is_worse
    ]
    return HopMove(
        hop=trend.hop,
        from_ns=float(np.median(sides[0])),
        to_ns=float(np.median(sides[1])),
        is_change_point=bool(near),
    )


def _distance(trend: Trend, one: int, other: int) -> int:
    """How many of a trend's runs lie between two places."""
    low, high = sorted((one, other))
    return sum(low <= place < high for place in trend.runs)


def _events(
    trends: Sequence[Trend], used: Sequence[int], results: Mapping[int, RunResult]
) -> Iterator[Event]:
    """Change points within `NEAR` runs of each other, together; `end_to_end` says where."""
    number = {place: index for index, place in enumerate(used)}
    changes = sorted(
        (change for trend in trends for change in trend.changes),
        key=lambda change: (change.hop != TOTAL, change.p_value),
    )
    anchored: dict[int, list[Change]] = {}
    for change in changes:  # the surest first: the others lie around it
        anchor = min(
            (at for at in anchored if abs(number[at] - number[change.run]) <= NEAR),
            key=lambda at: abs(number[at] - number[change.run]),
            default=change.run,
        )
        anchored.setdefault(anchor, []).append(change)
    order = {(trend.hop, trend.percentile): index for index, trend in enumerate(trends)}
    for place in sorted(anchored):
        before = used[number[place] - 1]
        old, new = results[before].environment, results[place].environment
        yield Event(
            run=place,
            started_unix_ns=results[place].started_unix_ns,
            revision_before=old.git_revision,
            revision_after=new.git_revision,
            changes=tuple(
                sorted(anchored[place], key=lambda each: order[each.hop, each.percentile])
            ),
            differing=tuple(
                _differing(
                    _software(results[before].latbench, old),
                    _software(results[place].latbench, new),
                )
            ),
        )


def _software(latbench: str, environment: Environment) -> dict[str, str]:
    """What may change under a series, as it is in one run."""
    return {
        "latbench": latbench,
        "Python": environment.python,
        **environment.libraries,
        "kernel": environment.kernel,
        "governor": environment.governor,
        "memory": str(environment.memory_bytes),
        "host": environment.hostname,
        "boot": environment.boot_id,
    }


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Differing]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            yield Differing(name=name, before=old, after=new)
