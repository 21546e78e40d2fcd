"""A consumer on its own: ticks of whoever produces them, measured by the stamps that they carry.

All it can know of a tick is in its message. So there is no count of what was sent, only gaps in
`seq`; no acknowledgements; and no stall of any process but its own. Everything else is as in a run,
the result file included.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from latbench.broker import consumer_properties
from latbench.clock import NS_PER_S, WallAnchor, monotonic_ns
from latbench.collector import Collector, Rings
from latbench.conclude import conclude
from latbench.config import RunConfig
from latbench.control import Ready
from latbench.environment import describe
from latbench.errors import LatbenchError
from latbench.plan import ConsumerPlan
from latbench.processes import Crew
from latbench.recording import CONSUMER
from latbench.result import BrokerFacts, RunResult, RunStatus, Snapshot, StageSnapshot
from latbench.sampler import Sampler
from latbench.signals import Signals
from latbench.spool import Preface, SpoolReader, SpoolWriter, spool_path
from latbench.standalone import RING_RATE_HZ, Lone

_TALLY_NS: Final = NS_PER_S


def consume(
    config: RunConfig,
    facts: BrokerFacts,
    output: Path,
    observe: Callable[[Snapshot], None],
) -> RunResult | None:
    """Record the first run that comes until a signal, or for `config.duration_ns`.

    The result file lies at `output` afterwards; None where no tick came. Raises `LatbenchError`,
    and `Interrupted` for a signal before the consumer is ready. No process is left running.
    """
    with Signals() as signals:
        spool = SpoolWriter(spool_path(output))
        session = _Session(config, facts, spool, observe)
        try:
            session.begin(signals)
            session.go_on(signals)
        except BaseException:
            session.end()
            if not session.has_ticks:
                spool.remove()
            raise
        session.end()
        if not session.has_ticks:
            spool.remove()
            return None
        result = conclude(SpoolReader(spool.path), RunStatus.COMPLETE, "", output)
        spool.remove()
        return result


class _Session:
    """A consumer at work; an `Emptied`."""

    def __init__(
        self,
        config: RunConfig,
        facts: BrokerFacts,
        spool: SpoolWriter,
        observe: Callable[[Snapshot], None],
    ) -> None:
        self._config = config
        self._facts = facts
        self._spool = spool
        self._observe = observe
        self._rings = Rings(RING_RATE_HZ, only=CONSUMER)
        self._collector = Collector(self._rings.readers, spool)
        self._sampler = Sampler(spool)
        self._crew = Crew()
        self._crew.hire(CONSUMER, self._rings.descriptors_of(CONSUMER), spool.log_path(CONSUMER))
        self._rings.close_descriptors()
        self._process = self._crew[CONSUMER]
        self._said: list[str] = []
        self._lone = Lone(self._crew, self._process, self, self._said.append)
        self._start_ns = 0
        self._preface: Preface | None = None
        self._next_tally_ns = 0
        self._phase = "consuming"

    @property
    def has_ticks(self) -> bool:
        """Whether any tick came."""
        return self._collector.consumed > 0

    def begin(self, signals: Signals) -> None:
        """Until it is at the topic's end."""
        config = self._config
        plan = ConsumerPlan(
            run_id="",
            cpu=config.pin[0] if config.pin else None,
            hiccups=config.hiccups,
            spin=config.spin,
            realtime=config.realtime,
            compiled=config.compiled,
            kafka_client=config.kafka_client,
            topic=config.topic,
            partitions=self._facts.partitions,
            consumer=consumer_properties(config, self._facts.bootstrap),
        )
        environment = describe()

        def on_ready(ready: Ready) -> None:
            self._start_ns = monotonic_ns()
            self._preface = Preface(
                run_id="",
                config=config.without_secrets(),
                environment=environment,
                broker=self._facts,
                symbols=("",),
                start_ns=self._start_ns,
                anchor=WallAnchor.take(),
                own_cost_ns={CONSUMER: ready.own_cost_ns},
            )
            self._spool.write_preface(self._preface)
            self._collector.begin(self._start_ns)
            self._collector.measure_from(self._start_ns + config.warmup_ns)

        self._lone.begin(plan, signals, on_ready)

    def go_on(self, signals: Signals) -> None:
        """Until a signal comes or the time is over."""
        duration_ns = self._config.duration_ns
        whole_ns = None if duration_ns is None else self._config.warmup_ns + duration_ns
        self._lone.go_on(signals, lambda: self._observe(self._snapshot()), whole_ns)
        self._phase = "draining"
        self._lone.stop(signals)

    def drain(self, *, last: bool = False) -> None:
        """See `Emptied`."""
        now_ns = monotonic_ns()
        self._collector.drain(now_ns, last=last)
        if self._preface is not None and self._process.found != self._preface.run_id:
            self._preface = msgspec.structs.replace(self._preface, run_id=self._process.found)
            self._spool.write_preface(self._preface)
        if not last:
            self._sampler.sample(now_ns, {CONSUMER: self._process.pid})
        if now_ns >= self._next_tally_ns or last:
            self._next_tally_ns = now_ns + _TALLY_NS
            tally = msgspec.structs.replace(self._collector.tally(), said=tuple(self._said[:5]))
            self._spool.write_tally(tally)

    def end(self) -> None:
        """End the process and take the last rows."""
        self._crew.end()
        self.drain(last=True)
        self._spool.close()
        failure = self._crew.failure()
        if failure is not None:
            raise LatbenchError(failure.message, failure.hint)

    def _snapshot(self) -> Snapshot:
        collector, now_ns = self._collector, monotonic_ns()
        tally = collector.tally()
        _, rate_hz = collector.rates(now_ns)
        duration_ns = self._config.duration_ns
        return Snapshot(
            phase=self._phase,
            elapsed_ns=now_ns - self._start_ns,
            total_ns=None if duration_ns is None else duration_ns + self._config.warmup_ns,
            hops=collector.summaries(),
            e2e_p99_per_second_ns=collector.p99_per_second,
            rate_sent_hz=rate_hz,
            rate_consumed_hz=rate_hz,
            sent=collector.consumed,
            consumed=collector.consumed,
            in_flight=0,
            lost=0,
            duplicates=tally.duplicates,
            reordered=tally.reordered,
            errors=tally.unknown + tally.ring_overruns + tally.consumer_errors,
            stages=(
                StageSnapshot(
                    stage=CONSUMER,
                    pid=self._process.pid,
                    state=self._process.state,
                    cpu_share=self._sampler.cpu_share(CONSUMER),
                    rss_bytes=self._sampler.rss_bytes(CONSUMER),
                ),
            ),
            messages=tuple(self._said[:5]),
        )
