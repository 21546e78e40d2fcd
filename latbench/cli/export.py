"""`latbench export`: results of runs and of A/B sessions in the formats of other tools."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from latbench.ab_file import is_ab, read_ab
from latbench.cli import github
from latbench.cli.export_formats import WAYS, Exported, Format, Session, Source
from latbench.cli.sources import read_run
from latbench.cli.writing import append_file, choose_output, write_file, write_stdout
from latbench.config import parse_choice
from latbench.errors import UsageError
from latbench.export.github import draw_annotations
from latbench.export.hlog import HICCUP
from latbench.export.limits import HELD, doubt, exit_code, judge
from latbench.export.summary import draw_schema
from latbench.likeness import load_differences
from latbench.thresholds import LIMIT_EXAMPLE, Threshold, parse_limit
from latbench.tick import HOP_BY_NAME

STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"
DEFAULT_HOP: Final = "end_to_end"


def _print_schema(wanted: bool) -> None:
    if wanted:
        typer.echo(draw_schema())
        raise typer.Exit


def export(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Result files.", show_default=False)
    ],
    to: Annotated[
        Format,
        typer.Option(
            "--format", metavar="FORMAT", help=f"{', '.join(Format)}.", show_default=False
        ),
    ],
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
    hop: Annotated[
        str | None,
        typer.Option(
            metavar="HOP", help=f"Which one, for hgrm ({DEFAULT_HOP}).", show_default=False
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help=f"Exit 3 if so: '{LIMIT_EXAMPLE}'; repeatable. A failure in junit.",
            show_default=False,
        ),
    ] = None,
    no_annotations: Annotated[
        bool,
        typer.Option(
            "--no-annotations",
            help="Leave GitHub's annotations out of --format markdown: ab, compare and a checked "
            "run make them by themselves.",
        ),
    ] = False,
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
    """Write results as HTML, Markdown, JUnit, CSV, Arrow, JSON, and for HdrHistogram."""
    del schema
    if no_annotations and to is not Format.MARKDOWN:
        raise UsageError(f"--format {to} makes no annotations", "leave --no-annotations out")
    limits = [parse_limit(text) for text in fail_on or ()]
    if hop is not None and to is not Format.HGRM:
        raise UsageError(f"--hop has no meaning for --format {to}", "leave it out: all hops are in")
    hop = parse_choice(hop or DEFAULT_HOP, "--hop", (*HOP_BY_NAME, HICCUP))
    sources = [_read(path, to, limits, hop) for path in files]
    if output is not None and output.is_dir():
        _write_each(sources, to, output, overwrite=overwrite)
    else:
        _write_one(sources, to, output, overwrite=overwrite)
    if to is Format.MARKDOWN and not no_annotations:
        for source in sources:
            github.annotate(_annotations(source))
    return _judge([source for source in sources if isinstance(source, Source)])


def _read(path: Path, to: Format, limits: Sequence[Threshold], hop: str) -> Exported:
    if not is_ab(path):
        result = read_run(path, "export")
        return Source(path, result, judge(result.hops, limits), hop)
    if not WAYS[to].holds_sessions:
        fitting = ", ".join(name for name, way in WAYS.items() if way.holds_sessions)
        raise UsageError(
            f"{path} is of an A/B session, which --format {to} can't tell", f"there is {fitting}"
        )
    if limits:
        raise UsageError(
            f"{path} is of an A/B session: --fail-on has no meaning for it",
            "leave it out; a session has the gates that it was made with",
        )
    return Session(path, read_ab(path))


def _annotations(source: Exported) -> Iterator[str]:
    if isinstance(source, Session):
        return github.of_session(source.result)
    return draw_annotations(source.result, source.judged)


def _write_each(
    sources: Sequence[Exported], to: Format, directory: Path, *, overwrite: bool
) -> None:
    """A file for each run, named after its result; none is begun where one may not be replaced."""
    paths = [directory / f"{source.path.stem}.{WAYS[to].suffix}" for source in sources]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(
                f"two of the files would be written as {path}", "export them one by one"
            )
        choose_output(path, [source.path for source in sources], overwrite=overwrite)
    for source, path in zip(sources, paths, strict=True):
        write_file(path, functools.partial(WAYS[to].write, [source]))


def _write_one(
    sources: Sequence[Exported], to: Format, output: Path | None, *, overwrite: bool
) -> None:
    """All runs into one file, into the summary of a step on GitHub, or to stdout."""
    way = WAYS[to]
    _warn_of_unlike(sources, to)
    if len(sources) > 1 and not way.holds_several:
        raise UsageError(
            f"--format {to} holds one run, and {len(sources)} are named",
            "make a directory and name it as --output: it gets a file for each",
        )
    write = functools.partial(way.write, sources)
    if output is not None:
        choose_output(output, [source.path for source in sources], overwrite=overwrite)
        write_file(output, write)
    elif to is Format.MARKDOWN and os.environ.get(STEP_SUMMARY):
        text = io.BytesIO()
        write(text)
        append_file(Path(os.environ[STEP_SUMMARY]), text.getvalue(), STEP_SUMMARY)
        typer.echo(f"added to ${STEP_SUMMARY}, not printed", err=True)
    else:
        write_stdout(write, binary=way.is_binary, option=f"--format {to}")


def _warn_of_unlike(sources: Sequence[Exported], to: Format) -> None:
    """Tell on stderr where one page is of runs that did not have the same load."""
    runs = [each for each in sources if isinstance(each, Source)]
    for each in runs[1:] if to is Format.HTML else ():
        unlike = [
            found
            for found in load_differences(runs[0].result.config, each.result.config)
            if found.name not in {"seed", "duration_ns"}
        ]
        if unlike:
            typer.echo(
                f"warning: {runs[0].path} and {each.path} differ in {unlike[0].name} "
                f"({unlike[0].base}, {unlike[0].new}); their histograms are added all the same",
                err=True,
            )


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
