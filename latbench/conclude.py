"""From a spool to a result: join, analyse, judge, and write the result file, in one pass."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import numpy as np

from latbench import __version__, client_statistics
from latbench.advice import advise
from latbench.analysis import SecondMedians, summarise
from latbench.assembly import Assembly, Column, TickTable
from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.errors import LatbenchError, reason
from latbench.fanout_figures import FanoutReading
from latbench.figures import TickCounts, TickFigures
from latbench.histogram import Histogram
from latbench.judging import Evidence, judge
from latbench.recording import (
    CONSUMER_STATISTICS,
    HICCUPS,
    MACHINE,
    PROCESSES,
    PRODUCER_STATISTICS,
    SUBSCRIBER,
    USAGE,
    WORST_HICCUP_COLUMNS,
    WORST_HICCUPS,
)
from latbench.result import Counts, RunResult, RunStatus
from latbench.ring import Rows
from latbench.settling import find_drift
from latbench.spool import ROW_FILES, SpoolReader, Tally
from latbench.stalls import Mask, Stalls, hiccup_histogram, worst_wake_ups
from latbench.store import ResultWriter, Samples
from latbench.tick import FANOUT
from latbench.usage import machine_figures, process_figures, thinned

SAMPLES: Final = (USAGE, MACHINE, PRODUCER_STATISTICS, CONSUMER_STATISTICS)
"""The tables of once a second, in the order that the file has them."""
HICCUP_SPAN_NS: Final = 100 * NS_PER_MS
MOST_HICCUPS: Final = 3600
"""Of each process the file keeps the worst of every 100 ms, of runs over 6 min so many at most:
a day's wake-ups are 86 million, which the file has as a histogram."""


def conclude(
    spool: SpoolReader, status: RunStatus, failure: str = "", output: Path | None = None
) -> RunResult:
    """The result of the run that left `spool`; also written to `output` when that is given.

    Memory is bounded by a block of ticks, whatever the run's length, and by the samples of once a
    second. The file appears under its name only when it is whole.
    """
    temporary = spool.path / "result.parquet"
    writer: ResultWriter | None = None
    try:
        if output:
            writer = ResultWriter(temporary, spool.preface.symbols)
        conclusion = _Conclusion(spool)
        for table in conclusion.assembly.tables():
            warmup, stalled = conclusion.add(table)
            if writer:
                writer.write(table, warmup, stalled)
        result = conclusion.result(status, failure)
        if writer and output:
            writer.close(result, conclusion.histograms, conclusion.samples())
            _publish(temporary, output)
    except BaseException:
        if writer:
            writer.abandon()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return result


class _Conclusion:
    """Everything that is worked out from a spool while its ticks go by, in order."""

    def __init__(self, spool: SpoolReader) -> None:
        self.preface = spool.preface
        self.rows = spool.rows()
        self.tally = spool.read_tally()
        self.assembly = Assembly(self.rows, self.tally.sent)
        config, start_ns = self.preface.config, self.preface.start_ns
        warmup_ns = self.tally.warmup_ns
        self.warmup_ns = config.warmup_ns if warmup_ns is None else warmup_ns
        self.from_ns = start_ns + self.warmup_ns
        self.to_ns = self.from_ns
        self.stalls = Stalls(self.rows)
        self.figures, self.seconds = TickFigures(), SecondMedians(self.from_ns)
        self.sampled = {name: self.rows[name][:] for name in SAMPLES}
        """Of a day 35 MB at the most, where ticks are a thousand times that."""
        self.fanout = FanoutReading(self.rows[SUBSCRIBER], self.from_ns, self.tally.subscribers)
        self.missed = 0
        """So many `seq` between the first and the last have no row."""
        self._first_seq: int | None = None
        self._ticks = 0
        self.hiccups = Histogram()
        self.has_meters = any(len(self.rows[ring]) for ring in HICCUPS.values())

    def add(self, table: TickTable) -> tuple[Mask, Mask | None]:
        """Take ticks; which of them belong to the warm-up, and which overlap a stall if known."""
        self._seqs(table.columns["seq"])
        measured = table.columns["due_ns"] >= self.from_ns
        stalled = self.stalls.overlap(table.columns)
        stamps = self.figures.add(table, measured, stalled)
        self.seconds.record(stamps)
        for name in ("sent_ns", "consumed_ns"):
            self.to_ns = max(self.to_ns, int(stamps[name].max(initial=0)))
        return ~measured, stalled if self.has_meters else None

    def _seqs(self, seq: Column) -> None:
        if seq.size:
            first = int(seq[0]) if self._first_seq is None else self._first_seq
            self._first_seq = first
            self._ticks += seq.size
            self.missed = int(seq[-1]) - first + 1 - self._ticks

    @property
    def histograms(self) -> dict[str, Histogram]:
        """What the file keeps, by hop; once `result` was made."""
        found = {**self.figures.hops.histograms, "hiccup": self.hiccups}
        return {**found, FANOUT.name: self.fanout.histogram} if self.tally.subscribers else found

    def samples(self) -> dict[str, Samples]:
        """What was sampled once a second and the worst hiccups, as the file keeps them."""
        tables = {
            name: dict(zip(ROW_FILES[name], thinned(rows).T.copy(), strict=True))
            for name, rows in self.sampled.items()
        }
        return {**tables, WORST_HICCUPS: self._worst_hiccups()}

    def _worst_hiccups(self) -> Samples:
        span_ns = self.to_ns - self.preface.start_ns
        every_ns = max(-(-span_ns // MOST_HICCUPS), HICCUP_SPAN_NS)
        found = []
        for number, process in enumerate(PROCESSES):
            worst = worst_wake_ups(self.rows[HICCUPS[process]], every_ns)
            found.append(np.insert(worst, 1, number, axis=1))
        return dict(zip(WORST_HICCUP_COLUMNS, np.concatenate(found).T.copy(), strict=True))

    def _statistics(self, ring: str) -> Rows:
        """Rows of the seconds that began within the measured span."""
        rows = self.sampled[ring]
        begins = self.from_ns + client_statistics.INTERVAL_MS * NS_PER_MS
        return rows[(rows[:, 0] >= begins) & (rows[:, 0] <= self.to_ns + NS_PER_S)]

    def result(self, status: RunStatus, failure: str) -> RunResult:
        """All of it, once every tick has gone by."""
        preface, config, tally = self.preface, self.preface.config, self.tally
        figures, rate = self.figures, self.figures.rate
        summaries = figures.summaries()
        if tally.subscribers:
            summaries = (*summaries, summarise(FANOUT.name, self.fanout.histogram, rate.span_ns))
        meters = {
            process: hiccup_histogram(self.rows[ring], self.from_ns, self.to_ns)
            for process, ring in HICCUPS.items()
        }
        for meter in meters.values():
            self.hiccups.add(meter)
        hiccups = None
        if self.hiccups.count:
            hiccups = summarise("hiccup", self.hiccups, self.to_ns - self.from_ns)
        stall_count = self.stalls.between(self.from_ns, self.to_ns)
        processes = process_figures(self.sampled[USAGE], meters, self.from_ns, self.to_ns)
        machine = machine_figures(self.sampled[MACHINE], self.from_ns, self.to_ns)
        client = client_statistics.fold(
            self._statistics(PRODUCER_STATISTICS), self._statistics(CONSUMER_STATISTICS)
        )
        counts = _counts(figures.counts, tally, self.assembly.strangers)
        fanout = self.fanout.figures(
            counts.relayed, tally.subscribers_ended, tally.subscriber_drops
        )
        evidence = Evidence(
            config=config,
            environment=preface.environment,
            broker=preface.broker,
            counts=counts,
            fanout=fanout,
            missed=self.missed if config.consumer_alone else 0,
            hops=summaries,
            scheduled_hz=rate.scheduled_hz,
            achieved_hz=rate.achieved_hz,
            status=status,
            consumer_errors=tally.consumer_errors,
            meters={each.process: each.hiccups for each in processes if each.hiccups is not None},
            machine=machine,
            drift=find_drift(self.seconds.whole_seconds()),
            warmup_ns=self.warmup_ns,
            warmup_settled=tally.warmup_settled,
        )
        return RunResult(
            latbench=__version__,
            run_id=preface.run_id,
            status=status,
            failure=failure,
            started_unix_ns=preface.anchor.to_unix_ns(preface.start_ns),
            start_ns=preface.start_ns,
            measured_ns=rate.span_ns,
            target_rate_hz=0.0 if config.as_fast_as_possible else rate.scheduled_hz,
            achieved_rate_hz=rate.achieved_hz,
            config=config,
            environment=preface.environment,
            broker=preface.broker,
            counts=counts,
            hops=summaries,
            tail=figures.tail(),
            findings=judge(evidence),
            said=tally.said,
            warmup_ns=self.warmup_ns,
            hiccups=hiccups,
            stalls=figures.stalls(stall_count) if hiccups else None,
            processes=processes,
            machine=machine,
            client=client,
            own_cost_ns=preface.own_cost_ns,
            floor=preface.floor,
            fanout=fanout,
            lost_ranges=figures.lost.ranges,
            lost_range_count=figures.lost.count,
            advice=advise(config, summaries, client, processes, machine, counts),
        )


def _publish(temporary: Path, output: Path) -> None:
    try:
        temporary.replace(output)
    except OSError as error:
        raise LatbenchError(f"can't write {output}: {reason(error)}", "choose --output") from None


def _counts(rows: TickCounts, tally: Tally, strangers: int) -> Counts:
    """Where every tick went, by the rows and by the counters beside them."""
    return Counts(
        sent=rows.sent,
        warmup=rows.sent - rows.measured,
        measured=rows.measured,
        relayed=rows.relayed,
        acked=rows.acked,
        consumed=rows.consumed,
        lost=rows.sent - rows.consumed,
        duplicates=tally.duplicates,
        reordered=tally.reordered,
        unknown=tally.unknown + strangers,
        malformed=tally.malformed,
        delivery_errors=tally.delivery_errors,
        relay_backpressure=tally.relay_backpressure,
        relay_backpressure_ns=tally.relay_backpressure_ns,
        generator_backpressure=tally.generator_backpressure,
        generator_backpressure_ns=tally.generator_backpressure_ns,
        ring_overruns=tally.ring_overruns,
        source_skipped=tally.source_skipped,
    )
