"""An embedded broker that is no run's own: one process for a floor, or for many runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from latbench.control import Work
from latbench.plan import BrokerPlan
from latbench.processes import StageProcess
from latbench.recording import COLUMNS, RINGS_OF_STAGE
from latbench.ring import create_memory


@contextlib.contextmanager
def keep_broker(log_directory: Path) -> Iterator[StageProcess]:
    """The embedded broker's process, told to work and not yet ready; it ends with the block."""
    # the stage expects its ring, although it has no meter to write there
    rings = [create_memory(len(COLUMNS[ring]), 1) for ring in RINGS_OF_STAGE["broker"]]
    try:
        process = StageProcess("broker", rings, log_directory / "broker.log")
    finally:
        for ring in rings:
            os.close(ring)
    try:
        process.send(Work(BrokerPlan(run_id="", hiccups=False)))
        yield process
    finally:
        process.end()
