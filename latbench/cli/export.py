"""`latbench export`: a run's result in the formats of other tools."""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from latbench.cli.output import advice_of, findings_of
from latbench.cli.sources import read_run
from latbench.cli.writing import append_file, choose_output, write_file, write_stdout
from latbench.config import parse_choice
from latbench.errors import LatbenchError, UsageError
from latbench.export import tables
from latbench.export.github import draw_annotations
from latbench.export.hgrm import draw_hgrm
from latbench.export.hlog import HICCUP, write_hlog
from latbench.export.junit import Suite, draw_junit
from latbench.export.limits import HELD, Judged, doubt, exit_code, judge
from latbench.export.prometheus import draw_prometheus
from latbench.export.summary import draw_json, draw_schema
from latbench.merging import histograms_of
from latbench.render.markdown import draw_markdown
from latbench.result import RunResult
from latbench.store import read_histograms
from latbench.thresholds import LIMIT_EXAMPLE, parse_limit
from latbench.tick import HOP_BY_NAME

STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
ON_GITHUB: Final = "GITHUB_ACTIONS"


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


SUFFIXES: Final[Mapping[Format, str]] = {
    Format.CSV: "csv",
    Format.JSON: "json",
    Format.HLOG: "hlog",
    Format.HGRM: "hgrm",
    Format.PROMETHEUS: "prom",
    Format.MARKDOWN: "md",
    Format.JUNIT: "xml",
    Format.ARROW: "arrow",
}
"""Of the files in a directory given as --output."""

_BINARY: Final = (Format.ARROW,)
_OF_SEVERAL: Final = (Format.MARKDOWN, Format.JUNIT)
"""Those whose one document holds several runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A run to export."""

    path: Path
    result: RunResult
    judged: tuple[Judged, ...]


def _print_schema(wanted: bool) -> None:
    if wanted:
        typer.echo(draw_schema())
        raise typer.Exit


def export(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Result files.", show_default=False)
    ],
    to: Annotated[Format, typer.Option("--format", help="What to write.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where to, else stdout; a directory that is there gets a file for each FILE.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    hop: Annotated[str, typer.Option(metavar="HOP", help="Of which hop; for hgrm.")] = "end_to_end",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help=f"Exit 3 if so: '{LIMIT_EXAMPLE}'; repeatable. A failure in junit.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            callback=_print_schema,
            is_eager=True,
            help="Print the JSON Schema of --format json.",
        ),
    ] = False,
) -> int:
    """Write results in formats of other tools: CSV, Arrow, JSON, HdrHistogram, JUnit."""
    del schema
    limits = [parse_limit(text) for text in fail_on or ()]
    parse_choice(hop, "--hop", (*HOP_BY_NAME, HICCUP))
    results = [(path, read_run(path, "export")) for path in files]
    sources = [Source(path, result, judge(result.hops, limits)) for path, result in results]
    if output is not None and output.is_dir():
        _write_each(sources, to, hop, output, overwrite=overwrite)
    elif len(sources) > 1 and to not in _OF_SEVERAL:
        raise UsageError(
            f"--format {to} holds one run, and {len(sources)} are named",
            "make a directory and name it as --output: it gets a file for each",
        )
    elif output is not None:
        path = choose_output(output, overwrite=overwrite)
        write_file(path, functools.partial(_write, sources, to, hop))
    elif to is Format.MARKDOWN and os.environ.get(STEP_SUMMARY):
        append_file(Path(os.environ[STEP_SUMMARY]), _draw(sources, to, hop), STEP_SUMMARY)
        typer.echo(f"added to ${STEP_SUMMARY}, not printed", err=True)
    else:
        write = functools.partial(_write, sources, to, hop)
        write_stdout(write, binary=to in _BINARY, option=f"--format {to}")
    if to is Format.MARKDOWN and os.environ.get(ON_GITHUB):
        _annotate(sources)
    return _judge(sources)


def _write_each(
    sources: Sequence[Source], to: Format, hop: str, directory: Path, *, overwrite: bool
) -> None:
    """A file for each run, named after its result; none is begun where one may not be replaced."""
    paths = [directory / f"{source.path.stem}.{SUFFIXES[to]}" for source in sources]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(
                f"two of the files would be written as {path}", "export them one by one"
            )
        choose_output(path, overwrite=overwrite)
    for source, path in zip(sources, paths, strict=True):
        write_file(path, functools.partial(_write, [source], to, hop))


def _write(sources: Sequence[Source], to: Format, hop: str, sink: IO[bytes]) -> None:
    source = sources[0]
    match to:
        case Format.CSV:
            tables.write_csv(source.path, sink)
        case Format.ARROW:
            tables.write_arrow(source.path, sink)
        case Format.HLOG:
            hiccup = histograms_of(source.path, source.result).get(HICCUP)
            write_hlog(source.path, source.result, hiccup, sink)
        case _:
            sink.write(_draw(sources, to, hop).encode())


def _draw(sources: Sequence[Source], to: Format, hop: str) -> str:
    """The formats that are a text made at once. A new one (html) joins here and in `Format`."""
    source = sources[0]
    match to:
        case Format.JSON:
            return draw_json(source.result, str(source.path)) + "\n"
        case Format.HGRM:
            return _draw_hgrm(source, hop)
        case Format.PROMETHEUS:
            return draw_prometheus(source.result, read_histograms(source.path))
        case Format.JUNIT:
            return draw_junit(
                Suite(file=str(each.path), result=each.result, judged=each.judged)
                for each in sources
            )
        case _:
            return "\n".join(map(_draw_markdown, sources))


def _draw_hgrm(source: Source, hop: str) -> str:
    result = source.result
    histogram = histograms_of(source.path, result).get(hop)
    if histogram is None or not histogram.count:
        raise LatbenchError(f"{source.path} has no latency of {hop}", "choose another --hop")
    return draw_hgrm(histogram)


def _draw_markdown(source: Source) -> str:
    result = source.result
    limits = [(each.verdict, str(each)) for each in source.judged]
    return draw_markdown(result, findings_of(result), advice_of(result), str(source.path), limits)


def _annotate(sources: Sequence[Source]) -> None:
    for source in sources:
        for line in draw_annotations(source.result, source.judged):
            typer.echo(line)


def _judge(sources: Sequence[Source]) -> int:
    """Tell on stderr what is not held, and give what the command ends with."""
    for source in sources:
        if source.judged and (doubted := doubt(source.result)):
            typer.echo(f"{source.path}: no limit says anything of it: {doubted}", err=True)
            continue
        for each in source.judged:
            if each.verdict != HELD:
                typer.echo(f"{source.path}: {each.verdict}: {each}", err=True)
    return exit_code([(source.result, source.judged) for source in sources])
