"""What is told of an A/B session: the report, or all of it as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import typer

from latbench.ab_result import AbResult
from latbench.cli import github
from latbench.comparison import Verdict
from latbench.render.ab import AbReport
from latbench.render.ab_words import NOTHING, told_session
from latbench.render.comparison_words import sentence
from latbench.render.console import open_console


def show_ab(result: AbResult, files: Sequence[Path], *, as_json: bool) -> None:
    """Print what a session found; `files`: where it lies."""
    if as_json:
        typer.echo(draw_ab_json(result, files))
    else:
        open_console(sys.stdout, os.environ).print(AbReport(result, files))


def annotate_ab(result: AbResult, *, as_json: bool) -> None:
    """Print a just made session's annotations where it runs on GitHub, unless stdout is JSON."""
    if not as_json:
        github.annotate(github.of_session(result))


def draw_ab_json(result: AbResult, files: Sequence[Path]) -> str:
    """A session as JSON, indented by two, without a line break at its end."""
    told = msgspec.to_builtins(result)
    for run in told["runs"]:
        del run["histograms"]  # 20 kB a run, for programs that read the file
    told["files"] = [str(path) for path in files]
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def gate_sentences(result: AbResult) -> Mapping[str, str]:
    """What a session says of each of its gates, by subject."""
    told = told_session(result)
    subjects = [gate.subject for gate in result.plan.gates]
    if told is None:
        return dict.fromkeys(subjects, result.failure or NOTHING.rstrip("."))
    if told.comparison.verdict is Verdict.INCOMPARABLE:
        return dict.fromkeys(subjects, told.answer[0])
    return {each.gate.subject: sentence(each) for each in told.comparison.gates}
