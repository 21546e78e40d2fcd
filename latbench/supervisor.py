"""One run: start the stages, let them work, gather what they record, end them.

Never on a tick's way: it wakes 20 times a second to empty the rings, and tells the view four times.
"""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from latbench.assignment import Assignment
from latbench.broker import prepare_topics
from latbench.clock import NS_PER_MS, NS_PER_S, WallAnchor, monotonic_ns
from latbench.collector import Collector, Rings
from latbench.control import Start, Stop, Until
from latbench.errors import LatbenchError
from latbench.launch import Detour, Launch, Straight
from latbench.processes import Crew
from latbench.publishing import TOPICS, Publisher
from latbench.recording import PROCESSES
from latbench.result import Environment, RunResult, RunStatus, Snapshot, StageSnapshot
from latbench.sampler import Sampler
from latbench.signals import Interrupted, Signals
from latbench.spool import Preface, SpoolReader, SpoolWriter, Tally, spool_path
from latbench.stages.hiccup import HiccupMeter
from latbench.warmup import Warmup

DRAIN_INTERVAL_NS: Final = 50 * NS_PER_MS
VIEW_INTERVAL_NS: Final = 250 * NS_PER_MS
TALLY_INTERVAL_NS: Final = NS_PER_S

START_LEAD_NS: Final = 50 * NS_PER_MS
"""From the word to start until the first tick is due. The generator makes its first block
meanwhile: 18 ms, most of it for the market's tables."""
REPLAY_LEAD_NS: Final = 150 * NS_PER_MS
"""The same where it has a file to open."""

CUT_SHORT_DRAIN_NS: Final = 2 * NS_PER_S
"""How long a run that was interrupted or failed waits without progress for ticks on their way."""
FAILURE_SETTLE_S: Final = 0.2
_SAID_KEPT: Final = 5

Observer = Callable[[Snapshot], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, and what it gave."""

    result: RunResult
    signal: int = 0
    """The signal that ended it early; 0: none."""
    log_tail: tuple[str, ...] = ()
    """Of the stage that failed."""


def run(
    assignment: Assignment,
    observe: Observer,
    detour: Detour | None = None,
    crew: Crew | None = None,
) -> Outcome:
    """Make the run; its result file lies at `assignment.output` afterwards.

    `crew` may have processes that were started ahead; they are taken once the output is known to be
    free (`NameTakenError`), and ended with the run.
    `detour` leads the stages' connections over something else than the straight way.
    Raises `LatbenchError` when the run could not begin or its result not be written, `Interrupted`
    when a signal came before the first tick. Whatever happens no process is left running.
    """
    with Signals() as signals:
        spool = SpoolWriter(spool_path(assignment.output))
        session = _Session(
            assignment, spool, signals, observe, detour or Straight(), crew or Crew()
        )
        try:
            session.start()
        except BaseException:
            with contextlib.suppress(LatbenchError):  # the first error is the one to tell
                session.end_stages()
            spool.remove()  # nothing was measured
            raise
        try:
            session.measure()
            session.drain()
        finally:
            session.end_stages()
        return session.conclude()


class _Session:
    """The state of a run that goes on."""

    def __init__(
        self,
        assignment: Assignment,
        spool: SpoolWriter,
        signals: Signals,
        observe: Observer,
        detour: Detour,
        crew: Crew,
    ) -> None:
        self.assignment = assignment
        self.config = assignment.config
        self.spool = spool
        self.signals = signals
        self.observe = observe
        self.detour = detour
        self.run_id = secrets.token_hex(4)
        self.phase = "starting"
        self.start_ns = 0
        self.failure = ""
        self.log_tail: tuple[str, ...] = ()
        self.said: list[str] = []
        self._rings = Rings(assignment.peak_rate_hz, self.config.subscribers)
        self._meter = HiccupMeter(self._rings.writer_of_supervisor())
        self._sampler = Sampler(spool)
        self.warmup = Warmup(self.config)
        self.collector = Collector(self._rings.readers, spool)
        self.crew = crew
        self._next_view_ns = 0
        self._next_tally_ns = 0
        self._publisher: Publisher | None = None
        self._last_said = ""

    # --- beginning ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start all stages and wait until each is ready; then the first tick is due."""
        launch = Launch(
            self.assignment, self.crew, self.run_id, self.detour, self._hear_until_signalled
        )
        if self.config.floor:
            # nothing else is to be started beside it: only importing is a CPU for 0.2 s a process
            launch.hire_broker(self._rings, self.spool)
            facts = launch.prepare_broker()
            self.phase = "floor"
            floor = launch.measure_floor(facts, self.spool.path)
            self.phase = "starting"
            launch.hire(self._rings, self.spool)
            described = self._get_ready()
        else:
            floor = None
            launch.hire(self._rings, self.spool)
            described = self._get_ready()
            facts = launch.prepare_broker()
        if self.config.publish_stats:
            prepare_topics(self.config, facts.bootstrap, TOPICS)
        own_cost_ns = launch.give_work(facts)
        lead_ns = REPLAY_LEAD_NS if self.config.is_replay else START_LEAD_NS
        self.start_ns = monotonic_ns() + lead_ns
        anchor = WallAnchor.take()
        self.spool.write_preface(
            Preface(
                run_id=self.run_id,
                config=self.config.without_secrets(),
                environment=described,
                broker=facts,
                symbols=self.assignment.source.symbols,
                start_ns=self.start_ns,
                anchor=anchor,
                own_cost_ns=own_cost_ns,
                floor=floor,
            )
        )
        if self.config.publish_stats:
            self._publisher = Publisher(
                self.config, facts.bootstrap, self.run_id, anchor, self._keep_said
            )
            self._publisher.begin(self.start_ns, self.collector)
        if self.config.hiccups:
            self._meter.start()
        self.collector.begin(self.start_ns)
        if self.warmup.ends_after_ns is not None:
            self.collector.measure_from(self.start_ns + self.warmup.ends_after_ns)
        for stage in self.crew.members.values():
            stage.send(Start(start_ns=self.start_ns, anchor=anchor))
        self.detour.begin(self.start_ns)

    def _get_ready(self) -> Environment:
        """What takes its time here, while the stages import their libraries."""
        from latbench import environment  # noqa: PLC0415 (importlib.metadata: 11 ms)

        # collecting all that was imported takes 10 to 20 ms: a stall for the hiccup meter later
        gc.collect()
        gc.freeze()
        return environment.describe()

    def _hear_until_signalled(self, timeout_s: float) -> None:
        self._hear(timeout_s)
        if self.signals.first:
            raise Interrupted(self.signals.first)

    # --- going on -----------------------------------------------------------------------------

    def measure(self) -> None:
        """Until the generator has sent all its ticks, or someone or something ends the run."""
        generator = self.crew["generator"]
        while generator.done is None:
            self._turn()
            self._follow_warmup()
            if self.signals.first or self._note_failure():
                break
        if generator.done is None and not generator.broken:
            generator.send(Stop())

    def _follow_warmup(self) -> None:
        """Say which phase it is; with `--warmup auto` end the warm-up when it is time."""
        elapsed_ns = monotonic_ns() - self.start_ns
        if self.warmup.ends_after_ns is None:
            if not self.warmup.settle(elapsed_ns, self.collector):
                self.phase = "warm-up"
                return
            assert self.warmup.ends_after_ns is not None
            from_ns = self.start_ns + self.warmup.ends_after_ns
            self.collector.measure_from(from_ns)
            ends_ns = from_ns + self.config.bounded_duration_ns
            self.crew["generator"].send(Until(due_ns=ends_ns))
            self.spool.write_tally(self._tally())
        measuring = elapsed_ns >= self.warmup.ends_after_ns
        self.phase = "measuring" if measuring else "warm-up"

    def drain(self) -> None:
        """Until everything sent has arrived, or nothing has moved for the drain's time-out."""
        self.phase = "draining"
        signals_before = self.signals.count
        patience_ns = self.config.drain_timeout_ns
        if self.signals.first or self.failure:
            patience_ns = min(patience_ns, CUT_SHORT_DRAIN_NS)
        progress, moved_ns = -1, monotonic_ns()
        while monotonic_ns() < moved_ns + patience_ns:
            self._turn()
            self._note_failure()
            generator = self.crew["generator"]
            if (generator.done or generator.broken) and self.collector.all_arrived:
                break
            if self.signals.count > signals_before:
                break  # asked twice
            if self.collector.progress != progress:
                progress, moved_ns = self.collector.progress, monotonic_ns()

    def _turn(self) -> None:
        """Hear the stages, empty the rings, tell the view; takes about `DRAIN_INTERVAL_NS`."""
        wake_ns = monotonic_ns() + DRAIN_INTERVAL_NS
        while (left_ns := wake_ns - monotonic_ns()) > 0:
            self._hear(left_ns / NS_PER_S)
        now_ns = monotonic_ns()
        self.collector.drain(now_ns)
        self._sample(now_ns)
        if self._publisher is not None and self._publisher.is_due(now_ns):
            self._publish(self._publisher, now_ns)
        if now_ns >= self._next_tally_ns:
            self._next_tally_ns = now_ns + TALLY_INTERVAL_NS
            self.spool.write_tally(self._tally())

    def _publish(self, publisher: Publisher, now_ns: int) -> None:
        told = self.failure or self._last_said
        publisher.publish(now_ns, self.collector, self._snapshot(), told)

    def _keep_said(self, text: str) -> None:
        self._last_said = text
        if len(self.said) < _SAID_KEPT:
            self.said.append(text)

    def _sample(self, now_ns: int, *, at_once: bool = False) -> None:
        pids = {stage.stage: stage.pid for stage in self.crew.members.values() if not stage.ended}
        self._sampler.sample(now_ns, {"supervisor": os.getpid(), **pids}, at_once=at_once)

    def _hear(self, timeout_s: float) -> None:
        """Take what the stages say, up to `timeout_s`, and show it."""
        for text in self.crew.listen(timeout_s):
            self._keep_said(text)
        if monotonic_ns() >= self._next_view_ns:
            self._next_view_ns = monotonic_ns() + VIEW_INTERVAL_NS
            self._show()

    def _show(self) -> None:
        try:
            self.observe(self._snapshot())
        except OSError:
            # the terminal is gone: no reason to end a run that writes its result to a file
            self.observe = _look_away

    def _note_failure(self) -> bool:
        """Whether a stage has broken; notes the first time why."""
        if not self.crew.broken:
            return False
        if not self.failure:
            self.crew.listen(FAILURE_SETTLE_S)  # one death makes others complain: see who it was
            failure = self.crew.failure()
            assert failure is not None
            self.failure = failure.message
            self.log_tail = tuple(self.crew.broken[0].log_tail())
        return True

    def _tally(self) -> Tally:
        """The counters as they are now, with what the session knows besides."""
        generator = self.crew.members.get("generator")
        return msgspec.structs.replace(
            self.collector.tally(),
            source_skipped=self.assignment.source_skipped,
            said=tuple(self.said),
            sent=self.collector.sent if generator and generator.ended else None,
            warmup_ns=self.warmup.length_ns(monotonic_ns() - self.start_ns),
            warmup_settled=self.warmup.settled,
        )

    def _snapshot(self) -> Snapshot:
        collector, now_ns = self.collector, monotonic_ns()
        tally = collector.tally()
        rate_sent_hz, rate_consumed_hz = collector.rates(now_ns)
        return Snapshot(
            phase=self.phase,
            elapsed_ns=max(now_ns - self.start_ns, 0) if self.start_ns else 0,
            total_ns=self._expected_ns(),
            hops=collector.summaries(),
            e2e_p99_per_second_ns=collector.p99_per_second,
            rate_sent_hz=rate_sent_hz,
            rate_consumed_hz=rate_consumed_hz,
            sent=collector.sent,
            consumed=collector.consumed,
            in_flight=max(collector.sent - collector.consumed - collector.known_lost, 0),
            lost=collector.known_lost,
            duplicates=tally.duplicates,
            reordered=tally.reordered,
            errors=tally.malformed + tally.unknown + tally.ring_overruns + tally.consumer_errors,
            stages=tuple(self._processes()),
            messages=tuple(self.said),
            hiccups=collector.hiccups() if self.config.hiccups else None,
            is_warmup_open=self.warmup.ends_after_ns is None,
        )

    def _processes(self) -> Iterator[StageSnapshot]:
        found = {"supervisor": (os.getpid(), "running")}
        found |= {name: (stage.pid, stage.state) for name, stage in self.crew.members.items()}
        for name, (pid, state) in sorted(found.items(), key=lambda one: PROCESSES.index(one[0])):
            yield StageSnapshot(
                stage=name,
                pid=pid,
                state=state,
                cpu_share=self._sampler.cpu_share(name),
                rss_bytes=self._sampler.rss_bytes(name),
            )

    def _expected_ns(self) -> int | None:
        """Warm-up and duration, as far as they are known."""
        if not self.config.warmup_auto:
            return self.assignment.expected_ns
        if self.warmup.ends_after_ns is None:
            return None
        return self.warmup.ends_after_ns + self.config.bounded_duration_ns

    # --- ending -------------------------------------------------------------------------------

    def end_stages(self) -> None:
        """End every process and take the last rows."""
        if self._publisher is not None:  # before a broker of its own goes
            self._publish(self._publisher, monotonic_ns())
            self._publisher.close()
            self._publisher = None
        try:
            self._sample(monotonic_ns(), at_once=True)
        finally:  # on a full disk, too
            self.crew.end()
            self._meter.stop()
        self.collector.drain(monotonic_ns(), last=True)
        self.spool.write_tally(self._tally())
        self.spool.close()

    def conclude(self) -> Outcome:
        """Make the result and its file, remove the spool."""
        from latbench.conclude import conclude  # noqa: PLC0415 (pyarrow: 40 ms, after all ticks)

        self.phase = "writing"
        self._show()
        signum = self.signals.first  # one that comes later changes nothing any more
        status = RunStatus.COMPLETE
        if self.failure:
            status = RunStatus.FAILED
        elif signum:
            status = RunStatus.INTERRUPTED
        try:
            result = conclude(
                SpoolReader(self.spool.path), status, self.failure, self.assignment.output
            )
        except LatbenchError as error:
            error.hint = f"what was measured is kept: latbench report {self.spool.path}"
            raise
        self.spool.remove()
        return Outcome(result=result, signal=signum, log_tail=self.log_tail)


def _look_away(snapshot: Snapshot) -> None:
    del snapshot
