"""What a run gave: plain values that everything shown, stored or compared is made from."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from latbench.config import RunConfig

SCHEMA_VERSION: Final = 2
"""Of the result file.

1 (0.1.0): one row a tick sent; metadata `latbench` holds a `RunResult` as JSON, `latbench.hdr` the
hops' histograms (HdrHistogram V2, compressed, base64) by name.
2 (0.1.0): column `stall`; `latbench.hdr` has `hiccup`, too; metadata `latbench.samples` holds what
was sampled once a second and the worst hiccups (Arrow streams, base64); `RunResult` has its members
from `warmup_ns` on, `Finding` has `allowed`; `floor` where `--floor` was given.
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

    def grows_most(self, means_ns: Mapping[str, float]) -> str:
        """The part that differs most from its mean over all ticks."""
        return max(self.mean_ns, key=lambda part: self.mean_ns[part] - means_ns[part])


class StallFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine's own stalls did to the measured ticks.

    A stall is a wake-up of a hiccup meter that came `threshold_ns` late or more. A tick overlaps it
    when it was in that process's hands, or waited for them, at the time.
    """

    threshold_ns: int
    count: int
    """Stalls of all processes within the measured span."""
    ticks: int
    """Measured ticks that overlap one or more."""
    tail_ticks: int
    """Of the ticks from end-to-end p99 up (`TailShare`), those that overlap; 0 without p99."""
    without: HopSummary
    """`end_to_end` over the ticks that overlap none."""


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the run over the measured span."""

    process: str
    """`supervisor` or a stage's name."""
    span_ns: int
    """Between the first and the last of its samples; 0 where there are fewer than two."""
    cpu_ns: int
    """CPU time, user and system, of all its threads."""
    involuntary_switches: int
    """How often the kernel took the CPU away from one of its threads."""
    voluntary_switches: int
    minor_faults: int
    major_faults: int
    """Page faults: without and with reading from a disk."""
    rss_bytes: int
    """Resident memory at the end."""
    peak_rss_bytes: int
    """The most it ever had."""
    descriptors: int
    """Open at the end."""
    hiccups: HopSummary | None
    """How late its meter's thread woke; None without one."""

    @property
    def cpu_share(self) -> float:
        """CPUs in use on average: 1.0 is one of them fully."""
        return self.cpu_ns / self.span_ns if self.span_ns else 0.0


class MachineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All CPUs of the machine over the measured span, as shares of their time (0 to 1)."""

    busy: float
    steal: float
    """Taken by the hypervisor for other virtual machines."""
    iowait: float


class ClientFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Where time goes inside the Kafka clients, by librdkafka's own statistics.

    Means are exact over the measured span (sums over counts), maxima are the greatest of any
    second; None where nothing was counted. From the producer, apart from `fetch_…`.
    """

    queue_mean_ns: float | None
    """A message from `produce` until its request is made: linger, mostly (`int_latency`)."""
    queue_max_ns: int | None
    send_mean_ns: float | None
    """A request from being made until it is written to the socket: with one request in flight it
    waits there for the answer to the one before (`outbuf_latency`)."""
    send_max_ns: int | None
    ack_mean_ns: float | None
    """From a produce request sent to its answer: network, broker, replication (`rtt`)."""
    ack_max_ns: int | None
    throttle_mean_ns: float | None
    """How long the broker said to wait, over the answers that said so or not (`throttle`)."""
    throttle_max_ns: int | None
    batches: int
    batch_messages: float | None
    """Messages a batch, on average."""
    batch_bytes: float | None
    fetch_mean_ns: float | None
    """From a fetch request sent to its answer: mostly waiting for data to come."""


class FanoutFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay's subscribers got; their latency is the hop `fanout`."""

    subscribers: int
    """That connected."""
    ended: int
    """Whose connections the relay ended."""
    expected: int
    """Ticks relayed times subscribers, warm-up included."""
    received: int
    missed: int
    """Expected and not received."""
    dropped: int
    """Of these, given up by the relay because the subscriber was too slow (`--slow-client`)."""
    fewest: int
    most: int
    """What single subscribers received."""
    short: tuple[tuple[int, int], ...] = ()
    """Up to ten subscribers that missed some, by number, and how many: most first."""
    short_count: int = 0
    """How many missed some."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that a reader of the figures should know; `latbench.findings` has the prose."""

    code: str
    values: dict[str, int | float | str] = {}
    allowed: bool = False
    """Accepted knowingly, by `--allow`: it doesn't make the run invalid."""


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


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine and this broker took with next to nothing in between (`latbench.floor`)."""

    measured_unix_ns: int
    """When it was begun."""
    interval_ns: int
    """Between two samples of a probe."""
    probes: tuple[HopSummary, ...]
    """`hop` is the probe: `timer`, `tcp`, `websocket` (both there and back), `ack`, `consume`. One
    without samples is left out (`ack` with `acks=0`)."""

    def p50_ns(self, probe: str) -> int | None:
        """A probe's p50; None where it has too few samples."""
        found = next((each for each in self.probes if each.hop == probe), None)
        return None if found is None else found.percentiles_ns.get("p50")


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
    warmup_ns: int | None = None
    """How long the warm-up was; None: as `config` says (schema 1)."""
    hiccups: HopSummary | None = None
    """How late the wake-ups of all processes' hiccup meters came, together."""
    stalls: StallFigures | None = None
    processes: tuple[ProcessFigures, ...] = ()
    machine: MachineFigures | None = None
    client: ClientFigures | None = None
    own_cost_ns: dict[str, int] = {}
    """By stage: what latbench's own stamping and recording of one tick takes, measured on this
    machine before the first tick."""
    lost_ranges: tuple[tuple[int, int], ...] = ()
    """The first 100 runs of neighbouring `seq` that were lost: first and last of each."""
    lost_range_count: int = 0
    """How many such runs there are."""
    advice: tuple[Finding, ...] = ()
    """What to change; `latbench.advice` has the prose."""
    floor: Floor | None = None
    """Measured just before the run; None without `--floor`."""
    fanout: FanoutFigures | None = None
    """None without subscribers."""

    @property
    def known_warmup_ns(self) -> int:
        """How long the warm-up was, by whatever tells it."""
        return self.config.warmup_ns if self.warmup_ns is None else self.warmup_ns

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
    cpu_share: float | None = None
    """Of one CPU, over the last second; None: not known yet."""
    rss_bytes: int = 0


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
    hiccups: HopSummary | None = None
    """Wake-ups of all hiccup meters since the measuring began."""
    is_warmup_open: bool = False
    """In the warm-up of `--warmup auto`: nobody knows yet how long it will be."""
