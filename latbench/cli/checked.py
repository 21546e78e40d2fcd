"""What a run is held against when it is over: printed, and the exit code it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import typer

from latbench.cli import comparison_output, github
from latbench.comparing import StoredComparison
from latbench.errors import ExitCode
from latbench.export.github import draw_annotations
from latbench.export.limits import BROKEN, HELD, UNKNOWN, Judged, judge
from latbench.findings import is_valid
from latbench.result import RunResult, RunStatus
from latbench.run_checks import Checks
from latbench.stored_sides import Side


class Checked:
    """A run's checks, made once it is over; a run that does not count is held against nothing."""

    def __init__(self, checks: Checks, result: RunResult, path: Path) -> None:
        self._checks = checks
        self._result = result
        self._limits: tuple[Judged, ...] = ()
        self._compared: tuple[StoredComparison, Side, Side] | None = None
        self._counts = result.status is RunStatus.COMPLETE and is_valid(result)
        if self._counts:
            self._limits = judge(result.hops, checks.limits)
            if checks.baseline is not None:
                self._compared = checks.baseline.compare(result, path)

    def as_builtins(self) -> dict[str, Any]:
        """What `--json` tells besides the run."""
        told: dict[str, Any] = {}
        if self._limits:
            told["fail_on"] = [
                {**msgspec.to_builtins(each), "verdict": each.verdict} for each in self._limits
            ]
        if self._compared is not None:
            told["comparison"] = comparison_output.as_builtins(*self._compared)
        return told

    def show(self, *, as_json: bool) -> None:
        """The comparison below the run's report, unless that was JSON; limits on stderr.

        On GitHub annotations follow.
        """
        if self._compared is not None and not as_json:
            typer.echo()
            comparison_output.show(*self._compared, "Against the baseline")
        for each in self._limits:
            comparison_output.tell(f"{'held' if each.verdict == HELD else 'error'}: {each}")
        if not self._counts:
            comparison_output.tell("not checked: the run is not whole, or not a valid measurement")
        if not as_json:
            self._annotate()

    def _annotate(self) -> None:
        github.annotate(draw_annotations(self._result, self._limits))
        if self._compared is not None:
            told = comparison_output.worded(*self._compared)
            github.annotate(github.of_comparison(told, "latbench run --baseline"))

    def exit_code(self) -> int:
        """3 for what is broken or got worse, 4 for what can't be told, else 0."""
        codes = [ExitCode.OK]
        verdicts = {each.verdict for each in self._limits}
        if BROKEN in verdicts:
            codes.append(ExitCode.REGRESSION)
        if UNKNOWN in verdicts:
            codes.append(ExitCode.INVALID)
        if self._compared is not None:
            comparison = self._compared[0].comparison
            code = comparison_output.exit_code(comparison, strict=self._checks.strict)
            codes.append(ExitCode(code))
        return ExitCode.REGRESSION if ExitCode.REGRESSION in codes else max(codes)
