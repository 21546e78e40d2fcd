"""Annotations of a run on GitHub: lines on stdout, where a workflow runs the command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

import typer

from latbench.ab_result import AbResult, AbStatus
from latbench.comparison import Verdict
from latbench.export.github import draw_error, draw_verdict
from latbench.render.ab_words import NOTHING, TITLE, told_session
from latbench.render.comparison_words import Told

ON_GITHUB: Final = "GITHUB_ACTIONS"


def annotate(lines: Iterable[str]) -> None:
    """Print them where `GITHUB_ACTIONS` is set, and nothing anywhere else."""
    if os.environ.get(ON_GITHUB):
        for line in lines:
            typer.echo(line)


def of_comparison(told: Told, title: str) -> Iterator[str]:
    """An error for a regression, a warning where nothing is decided, a notice for a pass."""
    yield draw_verdict(title, told.comparison.verdict, told.answer)


def of_session(result: AbResult) -> Iterator[str]:
    """The same of a session; before it an error where that failed."""
    if result.status is AbStatus.FAILED:
        yield draw_error(TITLE, result.failure)
    told = told_session(result)
    if told is not None:
        yield from of_comparison(told, TITLE)
    elif result.status is not AbStatus.FAILED:
        yield draw_verdict(TITLE, Verdict.INCONCLUSIVE, [NOTHING])
