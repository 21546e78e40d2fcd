"""The report as GitHub-flavoured Markdown, for `$GITHUB_STEP_SUMMARY` and pull requests."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.render.hops import MOCK, NOT_AVAILABLE, Statistic, label_of, only
from latbench.render.outcome import told_counts
from latbench.render.report import INVALID, SEVERITIES, told_origin
from latbench.render.scenario import scenario
from latbench.result import HopSummary, RunResult, RunStatus
from latbench.tick import HOPS, HopKind
from latbench.units import format_count, format_latency

_SHOWN: Final = only("count", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")


def draw_markdown(
    result: RunResult,
    findings: Sequence[tuple[str, str]],
    advice: Sequence[str],
    file: str,
    limits: Sequence[tuple[str, str]] = (),
) -> str:
    """Heading with the verdict, hops, limits, findings, advice; scenario and machine folded.

    `findings` are (severity, text), `limits` (`held`, `broken` or `unknown`, text), worded already.
    """
    sections = [
        _heading(result, findings, limits),
        _hops(result),
        _table(("limit", "figure"), limits),
        _findings(findings, result.said),
        bullets("What to change", advice),
        folded("Scenario and ticks", [*scenario(result), *told_counts(result)]),
        folded("Environment", [*told_origin(result), ("file", file)]),
    ]
    return joined(sections)


def joined(sections: Iterable[Iterable[str]]) -> str:
    """Sections of lines with a blank line between them; an empty one is left out."""
    return "\n\n".join("\n".join(section) for section in map(list, sections) if section) + "\n"


def _heading(
    result: RunResult, findings: Sequence[tuple[str, str]], limits: Sequence[tuple[str, str]]
) -> Iterator[str]:
    name = f"{result.config.name} · {result.run_id}" if result.config.name else result.run_id
    yield f"## latbench run {escaped(name)}: {_verdict(result, findings, limits)}"
    started = datetime.datetime.fromtimestamp(result.started_unix_ns // NS_PER_S, datetime.UTC)
    yield ""
    told = f"{started:%Y-%m-%d %H:%M:%S} UTC, status {result.status}"
    yield f"{told}: {escaped(result.failure)}" if result.failure else told


def _verdict(
    result: RunResult, findings: Sequence[tuple[str, str]], limits: Sequence[tuple[str, str]]
) -> str:
    if result.status is RunStatus.FAILED:
        return "failed"
    if any(severity == INVALID for severity, _ in findings):
        return "not a valid measurement"
    verdicts = [verdict for verdict, _ in limits]
    if "broken" in verdicts:
        broken = verdicts.count("broken")
        return f"{broken} of {len(limits)} limit{'s' if len(limits) > 1 else ''} broken"
    if "unknown" in verdicts:
        return "valid, but too few ticks for a limit"
    return "valid, all limits held" if limits else "valid"


def _hops(result: RunResult) -> Iterator[str]:
    if not result.hop("end_to_end").count:
        yield "No tick was measured."
        return
    yield row("hop", "what", *(statistic.name for statistic in _SHOWN))
    yield row(":--", ":--", *("--:" for _ in _SHOWN))
    summaries = {summary.hop: summary for summary in result.hops}
    for hop in HOPS:
        if hop.name in summaries:
            bold = "**" if hop.kind is HopKind.TOTAL else ""
            label = label_of(hop, embedded=result.config.is_embedded)
            cells = (_cell(statistic, summaries[hop.name]) for statistic in _SHOWN)
            yield row(
                f"{bold}{escaped(hop.name)}{bold}",
                escaped(label),
                *(f"{bold}{cell}{bold}" for cell in cells),
            )
    if result.hiccups is not None:
        cells = (_cell(statistic, result.hiccups) for statistic in _SHOWN)
        yield row("hiccup", "timer wake-ups late by", *cells)
    yield ""
    yield (
        "The parts `schedule`, `websocket`, `relay` and `kafka` add up to `end_to_end` for every "
        "tick; percentiles don't add."
    )
    if any(None in each.percentiles_ns.values() for each in result.hops if each.count):
        yield f"{NOT_AVAILABLE}: fewer than 100 ticks lie above, so a figure would be a guess."
    if result.config.is_embedded:
        yield f"`kafka` and `ack` were measured against {MOCK}."


def _cell(statistic: Statistic, summary: HopSummary) -> str:
    if statistic.name == "count":
        return format_count(summary.count)
    value = statistic.read(summary) if summary.count else None
    return NOT_AVAILABLE if value is None else format_latency(value)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for number, (verdict, text) in enumerate(rows):
        if not number:
            yield row(*head)
            yield row(":--", ":--")
        shown = verdict if verdict == "held" else f"**{verdict}**"
        yield row(shown, escaped(text))


def _findings(findings: Sequence[tuple[str, str]], said: Sequence[str]) -> Iterator[str]:
    ordered = sorted(findings, key=lambda finding: SEVERITIES.index(finding[0]))
    told = [*ordered, *(("said", text) for text in said)]
    if told:
        yield "### Findings"
        yield ""
    for severity, text in told:
        yield f"- **{severity}**: {escaped(text)}"


def bullets(title: str, texts: Sequence[str]) -> Iterator[str]:
    """A heading and a list; nothing of no texts."""
    if texts:
        yield f"### {title}"
        yield ""
    for text in texts:
        yield f"- {escaped(text)}"


def folded(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A table of two columns that is opened by a click."""
    yield "<details>"
    yield f"<summary>{title}</summary>"
    yield ""
    yield row("", "")
    yield row(":--", ":--")
    for label, text in rows:
        yield row(label, escaped(text))
    yield ""
    yield "</details>"


def row(*cells: str) -> str:
    """A line of a table; cells are escaped already."""
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """`text` on one line, as it is: nothing in it is markup, HTML or the end of a table's cell."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")
