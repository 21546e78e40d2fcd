"""From a configuration to a run that can be made: its source looked through, its times known."""

from __future__ import annotations

from pathlib import Path

import msgspec

from latbench.arrivals import Arrivals
from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.errors import UsageError
from latbench.pacing import BURST_ACTIVE_FACTOR
from latbench.plan import ReplaySource, SimulatedSource
from latbench.replay import ReplaySummary, scan

_POISSON_PEAK = 2
"""Of the mean rate, over the seconds that a ring holds."""
_REPLAY_PEAK = 20
_UNPACED_PEAK_HZ = 300_000
"""More than one generator process sends."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A run to make: the configuration, and what was found out about it before it begins."""

    config: RunConfig
    source: SimulatedSource | ReplaySource
    horizon_ns: int | None
    """Ticks due this long after the start or later are not sent; None: the source ends."""
    expected_ns: int | None
    """How long sending will take; None when only the pipeline can tell."""
    peak_rate_hz: float
    """What the rings are sized for."""
    source_skipped: int
    """Lines of the source that hold no tick."""
    output: Path


def assign(config: RunConfig, output: Path) -> Assignment:
    """Look through a replay's file, work out when the run ends.

    Raises `UsageError` for a file that can't be replayed.
    """
    if not config.is_replay:
        return _simulated(config, output)
    return _replayed(config, output, scan(Path(config.source)))


def _simulated(config: RunConfig, output: Path) -> Assignment:
    peak = {
        Arrivals.CONSTANT: 1.0,
        Arrivals.POISSON: _POISSON_PEAK,
        Arrivals.BURST: BURST_ACTIVE_FACTOR,
    }
    total_ns = _longest_warmup_ns(config) + config.bounded_duration_ns
    return Assignment(
        config=config,
        source=SimulatedSource(config.symbols, config.tick_rate_hz, config.arrivals, config.seed),
        horizon_ns=total_ns,
        expected_ns=total_ns,
        peak_rate_hz=config.tick_rate_hz * peak[config.arrivals],
        source_skipped=0,
        output=output,
    )


def _longest_warmup_ns(config: RunConfig) -> int:
    """One that ends by itself does so at a whole second after its limit."""
    return config.warmup_ns + (2 * NS_PER_S if config.warmup_auto else 0)


def _replayed(config: RunConfig, output: Path, summary: ReplaySummary) -> Assignment:
    if config.warmup_auto and not config.loop:
        raise UsageError(
            "--warmup auto needs a source without end, a replay has one",
            "add --loop, or write --warmup 10s",
        )
    horizon_ns = None
    if config.duration_ns is not None or config.loop:
        horizon_ns = _longest_warmup_ns(config) + config.bounded_duration_ns
    expected_ns, peak_rate_hz = horizon_ns, float(_UNPACED_PEAK_HZ)
    if not config.as_fast_as_possible:
        once_ns = int(summary.span_ns / config.speed)
        if not config.loop:
            expected_ns = once_ns if horizon_ns is None else min(once_ns, horizon_ns)
            if config.warmup_ns > once_ns:
                raise UsageError(
                    f"the replay ends after {once_ns / NS_PER_S:.3g} s, within the warm-up",
                    "add --warmup 0, or --loop --duration 60",
                )
        mean_hz = summary.messages * NS_PER_S / max(once_ns, 1)
        peak_rate_hz = min(mean_hz * _REPLAY_PEAK, _UNPACED_PEAK_HZ)
    return Assignment(
        config=config,
        source=ReplaySource(config.source, summary.symbols, config.speed, config.loop),
        horizon_ns=horizon_ns,
        expected_ns=expected_ns,
        peak_rate_hz=peak_rate_hz,
        source_skipped=summary.skipped,
        output=output,
    )
