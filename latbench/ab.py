"""An A/B session: runs of two variants in turn, until their difference is decided.

The design is a paired one: what a shared machine does in a minute hits both runs of a pair, so it
falls out of their difference, which no two stored results can offer.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec

from latbench import __version__
from latbench.ab_result import (
    AbPlan,
    AbResult,
    AbRun,
    AbStatus,
    Phase,
    Side,
    Variant,
    order_of_pairs,
)
from latbench.clock import monotonic_ns
from latbench.comparison import Comparison, Verdict, overall
from latbench.config import KEPT, RunConfig, words_without_secrets
from latbench.deciding import ALPHA, Pairs, Sides, blame, changes, decide
from latbench.endings import Endings
from latbench.errors import ExitCode, LatbenchError, UsageError
from latbench.kept_broker import keep_broker
from latbench.likeness import differences, mismatches, unfit
from latbench.probing import await_stage, check_stage
from latbench.run_directory import run_directory
from latbench.signals import Interrupted
from latbench.signed_rank import least_pairs
from latbench.stages.linux import end_with_parent
from latbench.store import read_histograms, read_result

_LOG_LINES: Final = 3
_KEEPS_FILE: Final = frozenset({ExitCode.OK, ExitCode.REGRESSION, ExitCode.INVALID})
"""Exit codes of a run that measured."""


_OVERHEAD_NS: Final = 1_200_000_000
"""What a run takes besides its warm-up and duration: 1.0 to 1.6 s here, processes' start and the
file's writing included."""


def expected_run_ns(config: RunConfig | None) -> int:
    """About how long a run takes, from its command to its end; 0: nobody knows."""
    if config is None or config.is_replay:
        return 0
    return config.warmup_ns + config.bounded_duration_ns + _OVERHEAD_NS


def check_plan(plan: AbPlan) -> None:
    """Raise `UsageError` for a plan whose first look could not decide anything."""
    least = least_pairs(ALPHA / len(plan.looks) / len(plan.gates))
    if plan.pairs < least:
        gates = "1 gate" if len(plan.gates) == 1 else f"{len(plan.gates)} gates"
        raise UsageError(
            f"--pairs {plan.pairs} can't decide {gates}: it takes {least} pairs until an interval "
            "has two ends",
            f"write --pairs {least}",
        )


class Watcher(Protocol):
    """Who shows a session while it goes on."""

    def begin(self, phase: Phase, pair: int, side: Side) -> None:
        """A run is about to begin."""

    def end(self, run: AbRun) -> None:
        """It has ended."""

    def look(self, comparison: Comparison, pairs: int) -> None:
        """So many pairs were looked at, and this is what they say."""


class AbOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a session ended, and what it gave."""

    result: AbResult
    signal: int = 0
    """The signal that ended it early; 0: none."""
    hint: str = ""
    """What to do about its failure."""


TOPIC: Final = "latbench-ab"

MakeRun = Callable[[Variant, Path], None]
"""Makes a variant's run, and its result file; raises `LatbenchError` or `Interrupted`."""


def session(
    plan: AbPlan, directory: Path, watcher: Watcher, *, embedded: bool, keep: bool = False
) -> AbOutcome:
    """Make the runs; `embedded`: they share an embedded broker, kept for the session.

    With `keep` each run's result file stays in `directory`; else they lie beside it, in one of the
    session's own, while they are needed: what is in `directory` from before stays untouched.
    A signal or a failure ends the session, and what was measured by then is in the result. Raises
    `LatbenchError` or `Interrupted` where that is nothing. No process is left running.
    """
    with contextlib.ExitStack() as stack:
        endings = stack.enter_context(Endings())
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="latbench-ab-")))
        directory = stack.enter_context(run_directory(directory, keep=keep))
        extra: tuple[str, ...] = ()
        if embedded:
            extra = ("--broker", KEPT + stack.enter_context(_broker(logs, endings)))
        log_path = logs / "run.log"
        runner = Runner(plan.common + extra, log_path, endings, fresh_topics=embedded)
        return conduct(plan, directory, watcher, runner.run, keep=keep)


@contextlib.contextmanager
def _broker(log_directory: Path, endings: Endings) -> Iterator[str]:
    """The address of an embedded broker that lasts as long as the block."""
    with keep_broker(log_directory) as process:

        def hear() -> None:
            if signum := endings.rest(0):
                raise Interrupted(signum)
            check_stage(process)

        yield await_stage(process, lambda: process.ready, hear).bootstrap


class Runner:
    """Makes a run by the command line, in a process of its own: any installation can be asked.

    `fresh_topics`: each run gets a topic of its own. An embedded broker looks for an offset message
    by message, and one topic for all was full after one run: p50 went from 0.88 to 1.08, 1.43 and
    then up to 11.7 ms, and stays between 0.83 and 1.02 ms so.
    """

    def __init__(
        self,
        common: tuple[str, ...],
        log_path: Path,
        endings: Endings,
        *,
        fresh_topics: bool = False,
    ) -> None:
        self._common = common
        self._log_path = log_path
        self._endings = endings
        self._topics = itertools.count(1) if fresh_topics else None

    def run(self, variant: Variant, output: Path) -> None:
        """Make it. Raises `LatbenchError` where there is no result, `Interrupted` for a signal."""
        command = variant.command or (sys.executable, "-m", "latbench")
        words = [
            *command,
            "run",
            *self._common,
            *variant.options,
            *("--no-live", "--output", os.fspath(output)),
        ]
        if self._topics is not None:
            words += ["--topic", f"{TOPIC}-{next(self._topics)}"]
        try:
            with self._log_path.open("wb") as log:
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    # a Ctrl-C at the terminal reaches the session, which passes it on once
                    start_new_session=True,
                    preexec_fn=functools.partial(end_with_parent, os.getpid()),  # noqa: PLW1509
                )
        except OSError as error:
            told = (error.strerror or str(error)).lower()
            raise LatbenchError(
                f"{command[0]} can't be run: {told}", "name a latbench that is there"
            ) from None
        try:
            signum = self._endings.await_end(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            # a wrapper that ended by the signal may have left the run itself behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if signum:
            raise Interrupted(signum)
        if process.returncode not in _KEEPS_FILE or not output.exists():
            raise self._failure((*command, "run"), process.returncode)

    def _failure(self, words: tuple[str, ...], code: int) -> LatbenchError:
        lines = self._log_path.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.strip()]
        errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
        hints = [line.removeprefix("hint: ") for line in told if line.startswith("hint: ")]
        if errors:
            return LatbenchError(errors[-1], hints[-1] if hints else "")
        ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
        tail = "; ".join(told[-_LOG_LINES:]) or "it said nothing"
        return LatbenchError(f"{shlex.join(words_without_secrets(words))} ended with {ended}", tail)


def conduct(
    plan: AbPlan, directory: Path, watcher: Watcher, make: MakeRun, *, keep: bool = False
) -> AbOutcome:
    """The session's course, whoever makes its runs."""
    state = _Session(plan, directory, watcher, make, keep=keep)
    try:
        state.go()
    except Interrupted as interrupted:
        if not state.runs:
            raise
        return AbOutcome(result=state.result(AbStatus.INTERRUPTED), signal=interrupted.signum)
    except LatbenchError as error:
        if not state.runs:
            raise
        return AbOutcome(
            result=state.result(AbStatus.FAILED, failure=error.message), hint=error.hint
        )
    return AbOutcome(result=state.result(AbStatus.COMPLETE))


class _Session:
    """The state of a session that goes on."""

    def __init__(
        self, plan: AbPlan, directory: Path, watcher: Watcher, make: MakeRun, *, keep: bool
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._watcher = watcher
        self._make = make
        self._keep = keep
        # each phase begins with a whole block
        self._orders = {phase: order_of_pairs(plan.seed) for phase in Phase}
        self._started_unix_ns = time.time_ns()
        self._started_ns = monotonic_ns()
        self._noise: dict[str, float] = {}
        self.runs: list[AbRun] = []

    def go(self) -> None:
        """Pair after pair, until it is decided or there are no more."""
        self._pair(Phase.DISCARDED, 1)
        if self._plan.calibrate:
            for number in range(1, self._plan.pairs + 1):
                self._pair(Phase.CALIBRATION, number)
                if self._is_spoilt():
                    break
            self._noise = noise_of(self.result(AbStatus.COMPLETE))
        measured = 0
        for look in self._plan.looks:
            while measured < look and not self._is_spoilt():
                measured += 1
                self._pair(Phase.MEASURED, measured)
            comparison = self.result(AbStatus.COMPLETE).comparison
            assert comparison is not None  # there is a pair, or a run that spoils it
            self._watcher.look(comparison, measured)
            if comparison.verdict is not Verdict.INCONCLUSIVE:
                return

    def _pair(self, phase: Phase, number: int) -> None:
        for side in next(self._orders[phase]):
            self._run(phase, number, side)

    def _run(self, phase: Phase, pair: int, side: Side) -> None:
        self._watcher.begin(phase, pair, side)
        number = len(self.runs) + 1
        path = self._directory / f"{number:03}-{phase}-{pair}-{side}.parquet"
        path.unlink(missing_ok=True)
        is_a = side is Side.A or phase is Phase.CALIBRATION
        self._make(self._plan.a if is_a else self._plan.b, path)
        run = AbRun(
            number=number,
            pair=pair,
            side=side,
            phase=phase,
            result=read_result(path),
            histograms=read_histograms(path),
            file=str(path) if self._keep else "",
        )
        if not self._keep:
            path.unlink()
        self.runs.append(run)
        self._watcher.end(run)

    def _is_spoilt(self) -> bool:
        """Whether runs can't be compared: nothing that follows could mend the session."""
        counted = [run for run in self.runs if run.phase is not Phase.DISCARDED]
        a, b = ([run.result for run in counted if run.side is side] for side in Side)
        return bool(mismatches(a, b)) or any(unfit(each, "", "") is not None for each in (*a, *b))

    def result(self, status: AbStatus, *, failure: str = "") -> AbResult:
        """All that is known by now."""
        return conclude(
            AbResult(
                latbench=__version__,
                status=status,
                failure=failure,
                started_unix_ns=self._started_unix_ns,
                elapsed_ns=monotonic_ns() - self._started_ns,
                plan=self._plan.without_secrets(),
                runs=tuple(self.runs),
                noise=self._noise,
                comparison=None,
            )
        )


def conclude(result: AbResult) -> AbResult:
    """The result with what follows from its runs: the comparison."""
    return msgspec.structs.replace(result, comparison=compare(result))


def compare(result: AbResult) -> Comparison | None:
    """What a session's runs say by now; None before there is a pair, or a run that spoils it.

    Each look at them has its share of the errors that are allowed, so that two looks have no more
    than one would (Bonferroni). Whatever ended the session, only whole pairs count.
    """
    plan = result.plan
    base, new = result.results(Side.A), result.results(Side.B)
    bad = tuple(
        told
        for run in result.runs
        if run.phase is not Phase.DISCARDED
        if (told := unfit(run.result, f"run {run.number}", _side_of(run))) is not None
    )
    unlike = mismatches(
        *(result.results(side, Phase.CALIBRATION) + result.results(side) for side in Side)
    )
    if not base and not bad and not unlike:
        return None
    paired = Sides(base, new, Pairs)
    gates = decide(plan.gates, paired, ALPHA / len(plan.looks), result.noise)
    return Comparison(
        verdict=Verdict.INCOMPARABLE if bad or unlike else overall(gates),
        base_runs=len(base),
        new_runs=len(new),
        gates=gates,
        changes=changes(paired),
        blames=blame(gates, paired),
        mismatches=unlike,
        differences=differences(base, new),
        unfit=bad,
    )


def _side_of(run: AbRun) -> str:
    return "A" if run.phase is Phase.CALIBRATION else run.side.upper()


def noise_of(result: AbResult) -> dict[str, float]:
    """By subject, the largest share that A may differ from A by, as sure as a look is."""
    plan = result.plan
    sides = Sides(
        result.results(Side.A, Phase.CALIBRATION), result.results(Side.B, Phase.CALIBRATION), Pairs
    )
    found: dict[str, float] = {}
    for gate in plan.gates:
        samples = sides.samples(gate.hop, gate.statistic)
        if samples is None:
            continue
        ends = samples.ratio_interval(ALPHA / len(plan.looks))
        widest = max(abs(end) for end in ends)
        if math.isfinite(widest):
            found[gate.subject] = math.expm1(widest)
    return found
