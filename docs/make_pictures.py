"""Draws the README's pictures from a real run: `python docs/make_pictures.py localhost:9092`.

The pictures are `docs/pictures/live.svg`, the live view late in the run, and
`docs/pictures/report.svg`, the report after it.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from latbench.assignment import assign
from latbench.cli.output import worded
from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.render.ink import Drawn, Ink, Line
from latbench.render.live import draw_frame
from latbench.render.pictures import draw_svg
from latbench.result import Snapshot
from latbench.supervisor import run

PICTURES = Path(__file__).parent / "pictures"
WIDTH = 140
HEIGHT = 28
DURATION_NS = 120 * NS_PER_S


class Frame(Drawn):
    """One frame of the live view."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def draw(self, width: int, ink: Ink) -> list[Line]:
        return draw_frame(self._snapshot, width, HEIGHT, ink, embedded=False)


def main() -> None:
    config = RunConfig(
        broker=sys.argv[1], tick_rate_hz=1000, duration_ns=DURATION_NS, topic="pictures"
    )
    late: list[Snapshot] = []

    def observe(snapshot: Snapshot) -> None:
        if snapshot.elapsed_ns < 0.85 * DURATION_NS:
            late[:] = [snapshot]

    with tempfile.TemporaryDirectory() as folder:
        outcome = run(assign(config, Path(folder) / "run.parquet"), observe)
    PICTURES.mkdir(exist_ok=True)
    command = "latbench run --tick-rate 1000 --duration 120 --broker localhost:9092"
    live = draw_svg(Frame(late[0]), title=command, width=WIDTH)
    (PICTURES / "live.svg").write_text(live)
    started_s = outcome.result.started_unix_ns // NS_PER_S
    stem = datetime.datetime.fromtimestamp(started_s, datetime.UTC).strftime("%Y%m%d-%H%M%S")
    file = f"bench-results/{stem}.parquet"
    report = draw_svg(worded(outcome.result, file), title=f"latbench report {file}", width=WIDTH)
    (PICTURES / "report.svg").write_text(report)


if __name__ == "__main__":
    main()
