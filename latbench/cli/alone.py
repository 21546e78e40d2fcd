"""What the commands of single stages have in common: start it, show it, tell what it did."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from latbench import broker
from latbench.config import RunConfig
from latbench.control import Ready
from latbench.errors import ExitCode, UsageError
from latbench.plan import StagePlan
from latbench.render.alone import StageLines, StageReport, Words
from latbench.render.console import open_console
from latbench.result import BrokerFacts
from latbench.signals import Interrupted
from latbench.standalone import RING_RATE_HZ, Ended, run_stage


def conduct_stage(
    plan: StagePlan,
    stage: str,
    words: Words,
    *,
    on_ready: Callable[[Ready], str],
    duration_ns: int | None = None,
    peak_rate_hz: float = RING_RATE_HZ,
    ends_by_signal: bool = True,
) -> int:
    """Have the stage work; the exit code.

    `on_ready` gives the line that tells where it is. `ends_by_signal`: a signal is its way to end,
    and no interruption.
    """
    lines = StageLines(open_console(sys.stderr, os.environ), words)
    try:
        ended = run_stage(
            plan,
            stage=stage,
            on_ready=lambda ready: lines.say(on_ready(ready)),
            observe=lines.update,
            tell=lines.say,
            duration_ns=duration_ns,
            peak_rate_hz=peak_rate_hz,
        )
    except Interrupted as interrupted:
        typer.echo(f"interrupted before the {stage} was ready", err=True)
        return 128 + interrupted.signum
    show(ended, words)
    if ended.signal and not ends_by_signal:
        return 128 + ended.signal
    return ExitCode.OK


def show(ended: Ended, words: Words) -> None:
    """Print what it did."""
    open_console(sys.stdout, os.environ).print(StageReport(ended.figures, words))


def reach_broker(config: RunConfig, stage: str) -> BrokerFacts:
    """The broker of a stage on its own, ready with the topic."""
    if config.is_embedded and not config.kept_broker:
        raise UsageError(
            f"a {stage} on its own has no embedded broker",
            "latbench broker starts one and prints its address; or --bootstrap localhost:9092",
        )
    broker.check_options(config)
    return broker.prepare_topic(config, config.kept_broker or config.broker)
