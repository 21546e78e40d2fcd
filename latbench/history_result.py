"""What the history of a scenario is: runs, trends, change points, as plain values."""

from __future__ import annotations

import enum

import msgspec

from latbench.trend_key import SeriesKey, Unused


class HistoryRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a scenario."""

    file: str
    run_id: str
    started_unix_ns: int
    git_revision: str
    """`+` behind it: with uncommitted changes; "": not in a checkout."""
    unused: Unused | None
    why: str
    """Particulars of that: findings, a failure."""


class HopMove(msgspec.Struct, frozen=True, kw_only=True):
    """What a part of `end_to_end` (or the machine's timers) did where that changed."""

    hop: str
    from_ns: float
    to_ns: float
    is_change_point: bool
    """Whether it has a change point of its own there, in this direction."""

    @property
    def ratio(self) -> float:
        """After to before; 0 where there was nothing before."""
        return self.to_ns / self.from_ns if self.from_ns else 0.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change point of one percentile of one hop."""

    hop: str
    percentile: str
    run: int
    """The first run after it, as a place in `Scenario.runs`."""
    started_unix_ns: int
    revision_before: str
    revision_after: str
    """Of the used run before, and of the first after."""
    from_ns: float
    to_ns: float
    """Medians of the runs between this change point and the ones beside it."""
    magnitude: float
    """`to_ns / from_ns − 1`."""
    p_value: float
    runs_before: int
    runs_after: int
    moved: tuple[HopMove, ...] = ()
    """Of `end_to_end`: its parts, the one that changed most first; then `hiccup`, where known."""

    @property
    def subject(self) -> str:
        """`end_to_end.p99`."""
        return f"{self.hop}.{self.percentile}"

    @property
    def is_worse(self) -> bool:
        """Whether it takes longer since then."""
        return self.to_ns > self.from_ns


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """Runs between two change points."""

    first_run: int
    last_run: int
    """Places in `Scenario.runs`."""
    runs: int
    median_ns: float


class Latest(enum.StrEnum):
    """How the newest runs stand to those before the last change point."""

    WORSE = "worse"
    BETTER = "better"
    UNCHANGED = "unchanged"
    """There is no change point."""
    TOO_FEW_RUNS = "too-few-runs"


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """One percentile of one hop over the used runs that know it."""

    hop: str
    percentile: str
    runs: tuple[int, ...]
    """Places in `Scenario.runs`."""
    values_ns: tuple[int, ...]
    unused_runs: tuple[int, ...]
    unused_values_ns: tuple[int, ...]
    """The same of runs that are only shown."""
    latest: Latest
    levels: tuple[Level, ...]
    changes: tuple[Change, ...]

    @property
    def subject(self) -> str:
        """`end_to_end.p99`."""
        return f"{self.hop}.{self.percentile}"


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """Software or a setting of the machine that changed with an event."""

    name: str
    before: str
    after: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Change points of several trends at the same place."""

    run: int
    """The first run after it, as a place in `Scenario.runs`."""
    started_unix_ns: int
    revision_before: str
    revision_after: str
    changes: tuple[Change, ...]
    differing: tuple[Differing, ...]
    """What changed between the used run before and the first after, besides the revision."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """All runs that can be compared, and what became of them."""

    scenario_id: str
    key: SeriesKey
    runs: tuple[HistoryRun, ...]
    """By the time of their start."""
    trends: tuple[Trend, ...]
    events: tuple[Event, ...]
    """By time."""

    @property
    def used(self) -> int:
        """How many runs trends are made of."""
        return sum(run.unused is None for run in self.runs)

    def trend(self, hop: str, percentile: str) -> Trend | None:
        """The trend of that name; None where no used run knows the percentile."""
        return next(
            (each for each in self.trends if (each.hop, each.percentile) == (hop, percentile)), None
        )


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that is there, whether analysed or not."""

    scenario_id: str
    key: SeriesKey
    runs: int
    used: int
    first_unix_ns: int
    last_unix_ns: int
    """When its first and its last run started."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds: the scenarios that were looked into, and a list of all."""

    listed: tuple[Listed, ...]
    """The one with most used runs first."""
    scenarios: tuple[Scenario, ...]
    hosts_alone: int
    """So many scenarios fewer there would be if hosts did not count."""
