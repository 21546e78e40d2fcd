"""Result files of made-up runs, written as a run's end writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.conclude import conclude
from latbench.recording import ACKS, CONSUMER, HICCUPS
from latbench.result import RunStatus
from tests.results import make_config
from tests.rows import fill_spool, make_preface, make_rows, make_stamps, make_wake_ups, without

LOST: Mapping[str, set[int]] = {CONSUMER: {3009, 4000, 4001}, ACKS: {3009, 4001}}
"""Ticks that no consumer had, two of them without an acknowledgement."""


def write_run(
    path: Path,
    *,
    ticks: int = 15_000,
    seed: int = 1,
    gone: Mapping[str, set[int]] | None = None,
    status: RunStatus = RunStatus.COMPLETE,
    **preface: Any,
) -> Path:
    """The result file of `ticks` at 1,000 a second, 2 s of them warm-up; `gone`: rows by ring."""
    rows = make_rows(make_stamps(ticks, seed=seed))
    for ring, seqs in (gone or {}).items():
        rows = without(rows, ring, seqs)
    late_ns = {at + missed: (9 - missed) * NS_PER_MS for at in (500, 2400) for missed in (0, 5)}
    rows[HICCUPS["relay"]] = make_wake_ups(ticks, late_ns=late_ns)
    given: dict[str, Any] = {
        "config": make_config(warmup_ns=2 * NS_PER_S, tick_rate_hz=1000),
        "run_id": f"5f1c{seed:04x}",
    }
    spool = fill_spool(
        path.with_name(f"{path.name}.spool"), rows, preface=make_preface(**given | preface)
    )
    conclude(spool, status, output=path)
    spool.remove()
    return path
