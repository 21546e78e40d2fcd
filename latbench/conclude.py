"""From a spool to a result: join, analyse, judge, and write the result file, in one pass."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from latbench import __version__
from latbench.analysis import HopFigures, RateFigures, TailFigures
from latbench.assembly import TickTable, assemble
from latbench.errors import LatbenchError, reason
from latbench.findings import judge
from latbench.result import Counts, RunResult, RunStatus
from latbench.spool import SpoolReader, Tally
from latbench.store import ResultWriter


def conclude(
    spool: SpoolReader, status: RunStatus, failure: str = "", output: Path | None = None
) -> RunResult:
    """The result of the run that left `spool`; also written to `output` when that is given.

    Memory is bounded by a block of ticks, whatever the run's length. The file appears under its
    name only when it is whole.
    """
    preface = spool.preface
    config = preface.config
    measured_from_ns = preface.start_ns + config.warmup_ns
    hops, tail, rate, counts = HopFigures(), TailFigures(), RateFigures(), _Counter()
    temporary = spool.path / "result.parquet"
    writer: ResultWriter | None = None
    try:
        if output:
            writer = ResultWriter(temporary, preface.symbols)
        for table in assemble(spool.rows()):
            columns = table.columns
            measured = columns["due_ns"] >= measured_from_ns
            stamps = {
                name: column[measured] for name, column in columns.items() if name.endswith("_ns")
            }
            hops.record(stamps)
            tail.record(stamps)
            rate.record(stamps)
            counts.add(table, measured)
            if writer:
                writer.write(table, ~measured)
        summaries = hops.summaries(rate.span_ns)
        tally = spool.read_tally()
        final_counts = counts.with_tally(tally)
        result = RunResult(
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
            counts=final_counts,
            hops=summaries,
            tail=tail.summarise(next(hop for hop in summaries if hop.hop == "end_to_end")),
            findings=judge(
                config=config,
                broker=preface.broker,
                counts=final_counts,
                hops=summaries,
                scheduled_hz=rate.scheduled_hz,
                achieved_hz=rate.achieved_hz,
                status=status,
            ),
            said=tally.said,
        )
        if writer and output:
            writer.close(result, hops.histograms)
            _publish(temporary, output)
    except BaseException:
        if writer:
            writer.abandon()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return result


def _publish(temporary: Path, output: Path) -> None:
    try:
        temporary.replace(output)
    except OSError as error:
        raise LatbenchError(f"can't write {output}: {reason(error)}", "choose --output") from None


class _Counter:
    """Counts of a result that come from the rows."""

    def __init__(self) -> None:
        self.sent = self.measured = self.relayed = self.acked = self.consumed = 0

    def add(self, table: TickTable, measured: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        columns = table.columns
        self.sent += len(table)
        self.measured += int(np.count_nonzero(measured))
        self.relayed += int(np.count_nonzero(columns["relay_in_ns"] >= 0))
        self.acked += int(np.count_nonzero(columns["acked_ns"] >= 0))
        self.consumed += int(np.count_nonzero(columns["consumed_ns"] >= 0))

    def with_tally(self, tally: Tally) -> Counts:
        return Counts(
            sent=self.sent,
            warmup=self.sent - self.measured,
            measured=self.measured,
            relayed=self.relayed,
            acked=self.acked,
            consumed=self.consumed,
            lost=self.sent - self.consumed,
            duplicates=tally.duplicates,
            reordered=tally.reordered,
            unknown=tally.unknown,
            malformed=tally.malformed,
            delivery_errors=tally.delivery_errors,
            relay_backpressure=tally.relay_backpressure,
            relay_backpressure_ns=tally.relay_backpressure_ns,
            generator_backpressure=tally.generator_backpressure,
            generator_backpressure_ns=tally.generator_backpressure_ns,
            ring_overruns=tally.ring_overruns,
            source_skipped=tally.source_skipped,
        )
