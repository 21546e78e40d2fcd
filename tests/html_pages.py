"""Pages of made-up runs, and what a strict parser finds in them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import msgspec
import numpy as np

from latbench.clock import NS_PER_MS, NS_PER_S
from latbench.conclude import conclude
from latbench.recording import CONSUMER, HICCUPS
from latbench.render.html.page import draw_page
from latbench.render.html.sides import Side
from latbench.result import RunResult, RunStatus
from latbench.series import read_series
from latbench.store import read_result
from tests.results import make_config
from tests.rows import fill_spool, make_preface, make_rows, make_stamps, make_wake_ups, without

TICKS = 15_000
LOST = {4000, 4001}
PLOTLY = "/* Plotly's script */"


def write_run(folder: Path, *, seed: int = 1, meters: bool = True, lost: set[int] = LOST) -> Path:
    """The result file of 15 s at 1,000 ticks/s, 2 s of them warm-up, with a stall of 9 ms."""
    rows = without(make_rows(make_stamps(TICKS, seed=seed)), CONSUMER, lost)
    if meters:
        late_ns = {7000 + missed: (9 - missed) * NS_PER_MS for missed in range(9)}
        rows[HICCUPS["relay"]] = make_wake_ups(TICKS, late_ns=late_ns)
    config = make_config(warmup_ns=2 * NS_PER_S, tick_rate_hz=1000)
    preface = make_preface(run_id=f"5f1c{seed:04x}", config=config)
    folder.mkdir(exist_ok=True)
    path = folder / f"run-{seed}.parquet"
    conclude(
        fill_spool(folder / f"spool-{seed}", rows, preface=preface),
        RunStatus.COMPLETE,
        output=path,
    )
    return path


def make_side(*paths: Path, label: str = "", **changes: Any) -> Side:
    """A side of result files, its results changed."""
    results = tuple(msgspec.structs.replace(read_result(path), **changes) for path in paths)
    return Side(label, results, tuple(read_series(path) for path in paths))


def result_of(side: Side) -> RunResult:
    """That of a side of one run."""
    (result,) = side.results
    return result


draw = functools.partial(draw_page, plotly_js=PLOTLY)


@functools.lru_cache(maxsize=8)
def parsed(page: str) -> Element:
    """The document; a page that is no valid HTML fails the test.

    Parsing takes half a second: pages that several tests look at are kept.
    """
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    document = parser.parse(page)
    assert isinstance(document, Element)
    return document


def texts(element: Element) -> str:
    """All text below an element, a number as near to its unit as any word."""
    return "".join(element.itertext()).replace("\u00a0", " ").replace("\u202f", " ")


def figures(page: str) -> dict[str, Any]:
    """What the page's script draws, by chart."""
    (found,) = [
        each for each in parsed(page).iter("script") if each.get("id") == "figures"
    ]  # fmt: skip
    drawn = json.loads(found.text or "")
    assert isinstance(drawn, dict)
    return drawn


def traces(page: str, chart: str, **meta: str) -> list[dict[str, Any]]:
    """The traces of a chart whose `meta` has these values."""
    return [
        trace
        for trace in figures(page)[chart]["data"]
        if all(trace.get("meta", {}).get(key) == value for key, value in meta.items())
    ]


def in_ns(values: list[float | None]) -> Any:
    """Seconds as they are drawn, as nanoseconds; NaN for gaps."""
    return np.array([np.nan if each is None else each for each in values]) * NS_PER_S


def table(page: str, label: str) -> list[list[str]]:
    """The cells of the table with this label, row by row."""
    regions = [each for each in parsed(page).iter("div") if each.get("aria-label") == label]
    assert len(regions) == 1, label
    return [
        [" ".join(texts(cell).split()) for cell in row if cell.tag in {"td", "th"}]
        for row in regions[0].iter("tr")
    ]
