"""Findings and verdicts as GitHub's workflow commands: lines that become annotations of a run.

Escapes are those of the toolkit's `command.ts`: `%`, CR and LF everywhere, `:` and `,` in
properties, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from latbench.comparison import Verdict
from latbench.export.limits import Judged, doubt
from latbench.findings import Severity, describe, severity
from latbench.result import Finding, RunResult

_COMMANDS: Final = {
    Severity.INVALID: "error",
    Severity.WARNING: "warning",
    Severity.INFO: "notice",
}


_OF_VERDICTS: Final = {
    Verdict.REGRESSION: "error",
    Verdict.INCONCLUSIVE: "warning",
    Verdict.INCOMPARABLE: "warning",
    Verdict.PASS: "notice",
}


def draw_verdict(title: str, verdict: Verdict, sentences: Sequence[str]) -> str:
    """A comparison's line: what it was made by, and what it said."""
    return _line(_OF_VERDICTS[verdict], title, " ".join(sentences))


def draw_error(title: str, text: str) -> str:
    """The line of something that failed."""
    return _line("error", title, text)


def draw_annotations(result: RunResult, judged: Sequence[Judged]) -> Iterator[str]:
    """A line for each limit that is not held, and for each finding; what weighs most first."""
    if result.failure or (doubt(result) and not result.findings):
        yield _line("error", "latbench", doubt(result) or result.failure)
    for each in judged:
        if each.is_broken:
            yield _line("error", f"latbench {each.limit.subject}", str(each))
        elif each.value_ns is None:
            yield _line("warning", f"latbench {each.limit.subject}", str(each))
    for finding in sorted(result.findings, key=lambda each: list(_COMMANDS).index(_weight(each))):
        title = f"latbench {finding.code}"
        yield _line(_COMMANDS[_weight(finding)], title, _told(finding))


def _weight(finding: Finding) -> Severity:
    return Severity.INFO if finding.allowed else severity(finding)


def _told(finding: Finding) -> str:
    return f"{describe(finding)} (allowed)" if finding.allowed else describe(finding)


def _line(command: str, title: str, text: str) -> str:
    return f"::{command} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
