"""Draws for tests what a terminal would show, and holds it against `tests/golden/`."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

from rich.cells import cell_len
from rich.console import RenderableType

from latbench import advice
from latbench.findings import describe
from latbench.render.console import open_console
from latbench.render.ink import Ink, Line
from latbench.render.live import draw_frame
from latbench.render.report import ALLOWED, Report
from latbench.result import RunResult, Snapshot

GOLDEN = Path(__file__).parent / "golden"
STATISTICS = ("count", "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max")
FINDINGS = (
    ("info", "p99.99 rests on 150 ticks"),
    ("warning", "2 % of the ticks were sent more than 1 ms after they were due"),
)
TITLE = "latbench run · 5,000 ticks/s for 60 s · localhost:9092"


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("LATBENCH_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"LATBENCH_UPDATE_GOLDEN=1 rewrites {path}"


def printed(
    renderable: RenderableType, width: int, environ: Mapping[str, str] | None = None
) -> str:
    stream = io.StringIO()
    console = open_console(stream, {"COLUMNS": str(width)} | dict(environ or {}))
    console.print(renderable)
    return stream.getvalue()


def plain(lines: list[Line]) -> str:
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def frame(snapshot: Snapshot, width: int, height: int, *, ascii_only: bool = False) -> str:
    lines = draw_frame(snapshot, width, height, Ink(ascii_only), title=TITLE, embedded=False)
    return plain(lines)


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


def report(result: RunResult) -> Report:
    """Worded as `latbench report` does it, with findings of its own."""
    findings = [*FINDINGS, *((ALLOWED, describe(found)) for found in result.findings)]
    told = [advice.describe(piece) for piece in result.advice]
    return Report(result, findings, "bench-results/5f1c09ab.parquet", advice=told)
