"""What a run gave: plain values that everything shown, stored or compared is made from."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from latbench.config import RunConfig

SCHEMA_VERSION: Final = 1
"""Of the result file.

1 (0.1.0): one row a tick sent; metadata `latbench` holds a `RunResult` as JSON, `latbench.hdr` the
hops' histograms (HdrHistogram V2, compressed, base64) by name.
"""


class RunStatus(enum.StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    RECOVERED = "recovered"
    """Read from what a killed run left behind."""
    RUNNING = "running"
    """Read while it went on."""


class HopSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One hop's latencies over the measured ticks, in nanoseconds."""

    hop: str
    count: int
    rate_hz: float
    """Ticks of this hop a second of the measured span."""
    min_ns: int
    mean_ns: float
    stdev_ns: float
    max_ns: int
    percentiles_ns: dict[str, int | None]
    """By name (`p50` … `p99.99`); None where fewer than 100 samples lie above it."""
    negative: int = 0
    out_of_range: int = 0
    """Values counted apart: below 0, above 24 h."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Where every tick went; `sent` = `consumed` + `lost`, warm-up included."""

    sent: int
    warmup: int
    """Of those sent."""
    measured: int
    relayed: int
    acked: int
    consumed: int
    """Different ticks of this run."""
    lost: int
    duplicates: int
    """Consumed once more."""
    reordered: int
    """Consumed after a later tick of the same symbol."""
    unknown: int
    """Messages on the topic that are no tick of this run."""
    malformed: int
    """Messages at the relay that are no tick."""
    delivery_errors: int
    """Ticks that the producer gave up."""
    relay_backpressure: int
    """How often the producer's queue was full and the relay stopped reading."""
    relay_backpressure_ns: int
    generator_backpressure: int
    """How often the generator found the socket full and had to wait with ticks that were due."""
    generator_backpressure_ns: int
    ring_overruns: int
    """Rows that no ring had room for."""
    source_skipped: int = 0
    """Lines of a capture that hold no message."""


class TailShare(msgspec.Struct, frozen=True, kw_only=True):
    """What the slowest ticks spent their time on."""

    above_ns: int
    """End-to-end latency from which a tick counts (its p99)."""
    count: int
    mean_ns: dict[str, float]
    """Mean of each of the four parts over these ticks."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that a reader of the figures should know; `latbench.findings` has the prose."""

    code: str
    values: dict[str, int | float | str] = {}


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the software of a run."""

    cpu_model: str
    cpus: int
    governor: str
    """How CPU frequency is chosen; "" where the kernel does not tell (virtual machines)."""
    kernel: str
    memory_bytes: int
    python: str
    libraries: dict[str, str]
    git_revision: str
    """Of the directory the run was started in; `+`: with changes; "": not in a checkout."""
    boot_id: str
    hostname: str


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The broker of a run."""

    kind: str
    """`embedded` or `kafka`."""
    version: str
    bootstrap: str
    partitions: int
    cluster_id: str = ""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a run but its rows."""

    schema: int = SCHEMA_VERSION
    latbench: str
    """The version that wrote it."""
    run_id: str
    status: RunStatus
    failure: str = ""
    """Why a failed run failed, in one line."""
    started_unix_ns: int
    start_ns: int
    """Monotonic moment that the first tick was due from."""
    measured_ns: int
    """The measured span: from the warm-up's end to the last due moment and one interval on."""
    target_rate_hz: float
    """Of the schedule; 0 where there is none."""
    achieved_rate_hz: float
    config: RunConfig
    environment: Environment
    broker: BrokerFacts
    counts: Counts
    hops: tuple[HopSummary, ...]
    tail: TailShare | None
    findings: tuple[Finding, ...]
    said: tuple[str, ...] = ()
    """What the stages had to tell while it went on, the first few."""

    def hop(self, name: str) -> HopSummary:
        """The summary of the hop called `name`."""
        return next(summary for summary in self.hops if summary.hop == name)


class StageSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One process, now."""

    stage: str
    pid: int
    state: str
    """`starting`, `ready`, `running`, `done`, `died`."""
    note: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run while it goes on: what the live view shows. Figures are of measured ticks so far."""

    phase: str
    """`starting`, `warm-up`, `measuring`, `draining`, `writing`."""
    elapsed_ns: int
    """Since the first tick was due."""
    total_ns: int | None
    """Warm-up and duration; None when not known beforehand."""
    hops: tuple[HopSummary, ...]
    e2e_p99_per_second_ns: tuple[int, ...]
    """The last 60 whole seconds; a second without ticks is 0."""
    rate_sent_hz: float
    rate_consumed_hz: float
    """Over the last second."""
    sent: int
    consumed: int
    in_flight: int
    lost: int
    duplicates: int
    reordered: int
    errors: int
    stages: tuple[StageSnapshot, ...]
    messages: tuple[str, ...] = ()
    """What should be said now (back-pressure began, …)."""
