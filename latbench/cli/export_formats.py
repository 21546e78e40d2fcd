"""What `latbench export` can write, and how: one entry in `WAYS` for each format."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from latbench.cli.output import advice_of, findings_of
from latbench.errors import LatbenchError
from latbench.export import tables
from latbench.export.hgrm import draw_hgrm
from latbench.export.hlog import HICCUP, write_hlog
from latbench.export.junit import Suite, draw_junit
from latbench.export.limits import Judged
from latbench.export.prometheus import draw_prometheus
from latbench.export.summary import draw_json
from latbench.merging import histograms_of
from latbench.render.markdown import draw_markdown
from latbench.result import RunResult


class Format(enum.StrEnum):
    """What a result can be written as."""

    CSV = "csv"
    JSON = "json"
    HLOG = "hlog"
    HGRM = "hgrm"
    PROMETHEUS = "prometheus"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    ARROW = "arrow"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A run to export."""

    path: Path
    result: RunResult
    judged: tuple[Judged, ...]
    hop: str
    """Which one is wanted, by a format that has only one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """How a format is written."""

    suffix: str
    """Of the files in a directory given as --output."""
    write: Callable[[Sequence[Source], IO[bytes]], None]
    is_binary: bool = False
    holds_several: bool = False
    """Whether one document may be of several runs; the others are given one."""


def _as_text(draw: Callable[[Source], str]) -> Callable[[Sequence[Source], IO[bytes]], None]:
    """The way of a format that is made as one text."""

    def write(sources: Sequence[Source], sink: IO[bytes]) -> None:
        sink.write(draw(sources[0]).encode())

    return write


def _write_csv(sources: Sequence[Source], sink: IO[bytes]) -> None:
    tables.write_csv(sources[0].path, sink)


def _write_arrow(sources: Sequence[Source], sink: IO[bytes]) -> None:
    tables.write_arrow(sources[0].path, sink)


def _write_hlog(sources: Sequence[Source], sink: IO[bytes]) -> None:
    path, result = sources[0].path, sources[0].result
    write_hlog(path, result, histograms_of(path, result).get(HICCUP), sink)


def _draw_json(source: Source) -> str:
    return draw_json(source.result, str(source.path)) + "\n"


def _draw_hgrm(source: Source) -> str:
    histogram = histograms_of(source.path, source.result).get(source.hop)
    if histogram is None or not histogram.count:
        raise LatbenchError(f"{source.path} has no latency of {source.hop}", "choose another --hop")
    return draw_hgrm(histogram)


def _draw_prometheus(source: Source) -> str:
    return draw_prometheus(source.result, histograms_of(source.path, source.result))


def _write_markdown(sources: Sequence[Source], sink: IO[bytes]) -> None:
    sink.write("\n".join(map(_draw_markdown, sources)).encode())


def _draw_markdown(source: Source) -> str:
    result = source.result
    limits = [(each.verdict, str(each)) for each in source.judged]
    return draw_markdown(result, findings_of(result), advice_of(result), str(source.path), limits)


def _write_junit(sources: Sequence[Source], sink: IO[bytes]) -> None:
    suites = (
        Suite(file=str(each.path), result=each.result, judged=each.judged) for each in sources
    )
    sink.write(draw_junit(suites).encode())


WAYS: Final[Mapping[Format, Way]] = {
    Format.CSV: Way("csv", _write_csv),
    Format.JSON: Way("json", _as_text(_draw_json)),
    Format.HLOG: Way("hlog", _write_hlog),
    Format.HGRM: Way("hgrm", _as_text(_draw_hgrm)),
    Format.PROMETHEUS: Way("prom", _as_text(_draw_prometheus)),
    Format.MARKDOWN: Way("md", _write_markdown, holds_several=True),
    Format.JUNIT: Way("xml", _write_junit, holds_several=True),
    Format.ARROW: Way("arrow", _write_arrow, is_binary=True),
}
