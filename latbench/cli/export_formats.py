"""What `latbench export` can write, and how: one entry in `WAYS` for each format."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from latbench.ab_result import AbResult
from latbench.cli.ab_output import draw_ab_json, gate_sentences
from latbench.cli.comparison_html import draw_session
from latbench.cli.html import draw_html
from latbench.cli.output import advice_of, findings_of
from latbench.errors import LatbenchError, UsageError
from latbench.export import tables
from latbench.export.hgrm import draw_hgrm
from latbench.export.hlog import HICCUP, write_hlog
from latbench.export.junit import Suite, draw_junit
from latbench.export.junit_gates import GateSuite
from latbench.export.limits import Judged
from latbench.export.prometheus import draw_prometheus
from latbench.export.summary import draw_json
from latbench.merging import histograms_of
from latbench.render.ab_markdown import draw_ab_markdown
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
    HTML = "html"


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A run to export."""

    path: Path
    result: RunResult
    judged: tuple[Judged, ...]
    hop: str
    """Which one is wanted, by a format that has only one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """An A/B session to export."""

    path: Path
    result: AbResult


Exported = Source | Session
Write = Callable[[Sequence[Exported], IO[bytes]], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """How a format is written."""

    suffix: str
    """Of the files in a directory given as --output."""
    write: Write
    is_binary: bool = False
    holds_several: bool = False
    """Whether one document may be of several files; the others are given one."""
    holds_sessions: bool = False
    """Whether there is such a document of an A/B session."""


def _of_run(write: Callable[[Source, IO[bytes]], None]) -> Write:
    """The way of a format that holds one run, and no session."""

    def write_first(exported: Sequence[Exported], sink: IO[bytes]) -> None:
        (run,) = exported
        assert isinstance(run, Source)
        write(run, sink)

    return write_first


def _as_text(draw: Callable[[Source], str]) -> Write:
    """The way of such a format that is made as one text."""
    return _of_run(lambda source, sink: _put(sink, draw(source)))


def _put(sink: IO[bytes], text: str) -> None:
    sink.write(text.encode())


def _write_csv(exported: Sequence[Exported], sink: IO[bytes]) -> None:
    (one,) = exported
    write = tables.write_csv if isinstance(one, Source) else tables.write_plain_csv
    write(one.path, sink)


def _write_arrow(source: Source, sink: IO[bytes]) -> None:
    tables.write_arrow(source.path, sink)


def _write_hlog(source: Source, sink: IO[bytes]) -> None:
    path, result = source.path, source.result
    write_hlog(path, result, histograms_of(path, result).get(HICCUP), sink)


def _write_json(exported: Sequence[Exported], sink: IO[bytes]) -> None:
    (one,) = exported
    if isinstance(one, Source):
        _put(sink, draw_json(one.result, str(one.path)) + "\n")
    else:
        _put(sink, draw_ab_json(one.result, [one.path]) + "\n")


def _draw_hgrm(source: Source) -> str:
    histogram = histograms_of(source.path, source.result).get(source.hop)
    if histogram is None or not histogram.count:
        raise LatbenchError(f"{source.path} has no latency of {source.hop}", "choose another --hop")
    return draw_hgrm(histogram)


def _draw_prometheus(source: Source) -> str:
    return draw_prometheus(source.result, histograms_of(source.path, source.result))


def _write_markdown(exported: Sequence[Exported], sink: IO[bytes]) -> None:
    _put(sink, "\n".join(map(_draw_markdown, exported)))


def _draw_markdown(source: Exported) -> str:
    if isinstance(source, Session):
        return draw_ab_markdown(source.result, str(source.path))
    result = source.result
    limits = [(each.verdict, str(each)) for each in source.judged]
    return draw_markdown(result, findings_of(result), advice_of(result), str(source.path), limits)


def _write_junit(exported: Sequence[Exported], sink: IO[bytes]) -> None:
    _put(sink, draw_junit(map(_suite, exported)))


def _suite(one: Exported) -> Suite | GateSuite:
    file = str(one.path)
    if isinstance(one, Session):
        return GateSuite(file=file, result=one.result, sentences=gate_sentences(one.result))
    return Suite(file=file, result=one.result, judged=one.judged)


def _write_html(exported: Sequence[Exported], sink: IO[bytes]) -> None:
    sessions = [each for each in exported if isinstance(each, Session)]
    if sessions and len(exported) > 1:
        raise UsageError(
            f"{sessions[0].path} is of an A/B session, which has a page of its own",
            "make a directory and name it as --output: it gets a page for each",
        )
    if sessions:
        _put(sink, draw_session(sessions[0].path, sessions[0].result))
    else:
        _put(sink, draw_html([each.path for each in exported]))


WAYS: Final[Mapping[Format, Way]] = {
    Format.CSV: Way("csv", _write_csv, holds_sessions=True),
    Format.JSON: Way("json", _write_json, holds_sessions=True),
    Format.HLOG: Way("hlog", _of_run(_write_hlog)),
    Format.HGRM: Way("hgrm", _as_text(_draw_hgrm)),
    Format.PROMETHEUS: Way("prom", _as_text(_draw_prometheus)),
    Format.MARKDOWN: Way("md", _write_markdown, holds_several=True, holds_sessions=True),
    Format.JUNIT: Way("xml", _write_junit, holds_several=True, holds_sessions=True),
    Format.ARROW: Way("arrow", _of_run(_write_arrow), is_binary=True),
    Format.HTML: Way("html", _write_html, holds_several=True, holds_sessions=True),
}
