"""The history of results on a terminal: how it stands, the trends, where they changed, the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from latbench.e_divisive import MAX_P, MIN_MAGNITUDE, MIN_SEGMENT, WINDOW
from latbench.history import NEAR
from latbench.history_result import Change, Event, History, Latest, Scenario, Trend
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.history_words import (
    count_of,
    event_words,
    key_words,
    latest,
    not_used,
    p_value,
    percent,
    reason,
    revisions,
    told_apart,
    when,
)
from latbench.render.hops import LATENCY_WIDTH, latency_spans
from latbench.render.ink import GUTTER, Drawn, Ink, Line, fields, paragraph
from latbench.render.trend import draw_legend, draw_trend

_LATEST_STYLES: Final = {
    Latest.WORSE: "bold red",
    Latest.BETTER: "bold green",
    Latest.UNCHANGED: "",
    Latest.TOO_FEW_RUNS: "yellow",
}
_LABELS: Final = ("load", "broker", "producer", "consumer", "how", "machine")
_INDENT: Final = 3

Subjects = Sequence[tuple[str, str]]
"""Hop and percentile of each trend that is drawn."""


class HistoryReport(Drawn):
    """How the newest runs stand first; `with_runs`: every run in a row of its own."""

    def __init__(
        self, history: History, where: str, subjects: Subjects, *, with_runs: bool = False
    ) -> None:
        self._history = history
        self._where = where
        self._subjects = subjects
        self._with_runs = with_runs

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Complete at 80 cells."""
        sections = [self._heading(width, ink), self._listed(width, ink)]
        for scenario in self._history.scenarios:
            sections += self._scenario(scenario, width, ink)
        sections.append(_method(width, ink))
        lines: list[Line] = []
        for section in filter(None, sections):
            lines += [*([[]] if lines else []), *section]
        return lines

    def _heading(self, width: int, ink: Ink) -> list[Line]:
        listed = self._history.listed
        first = min(each.first_unix_ns for each in listed)
        last = max(each.last_unix_ns for each in listed)
        told = (
            f"{count_of(sum(each.runs for each in listed), 'run')} in "
            f"{count_of(len(listed), 'scenario')}, {when(first)} to {when(last)} UTC"
        )
        return [
            *paragraph(f"latbench history · {self._where}", width, ink, style="bold"),
            *paragraph(told, width, ink, style="dim"),
        ]

    def _listed(self, width: int, ink: Ink) -> list[Line]:
        listed, shown = self._history.listed, self._history.scenarios
        if len(listed) == 1:
            return []
        ids = {scenario.scenario_id for scenario in shown}
        lines: list[Line] = [[("Scenarios", "bold")]]
        apart = told_apart([each.key for each in listed])
        rest = 0
        for each, told in zip(listed, apart, strict=True):
            if len(lines) > _MOST_LISTED and each.scenario_id not in ids:
                rest += 1
                continue
            style = "bold" if each.scenario_id in ids else ""
            runs = count_of(each.runs, "run")
            if each.used < each.runs:
                runs += f", {each.used:,} used"
            lines += paragraph(
                f"{runs} · {told}", width, ink, style=style, label=each.scenario_id, gutter=8
            )
        if rest:
            lines += paragraph(f"… and {rest:,} smaller ones", width, ink, style="dim")
        if len(shown) < len(listed):
            hint = "--scenario ID shows another one, --all shows them all."
            lines += paragraph(hint, width, ink, style="dim")
        if self._history.hosts_alone:
            hint = (
                f"{count_of(self._history.hosts_alone, 'scenario')} would join others if hosts "
                "did not count: --any-host, for machines that are made anew for each run."
            )
            lines += paragraph(hint, width, ink, style="yellow")
        return lines

    # --- one scenario -------------------------------------------------------------------------

    def _scenario(self, scenario: Scenario, width: int, ink: Ink) -> list[list[Line]]:
        drawn = [
            (f"{hop}.{percentile}", scenario.trend(hop, percentile))
            for hop, percentile in self._subjects
        ]
        trends = [trend for _, trend in drawn if trend is not None and trend.runs]
        numbers = {
            (change.subject, change.run): number
            for number, event in enumerate(scenario.events, start=1)
            for change in event.changes
        }
        return [
            self._title(scenario, width, ink),
            _answers(drawn, width, ink),
            *(
                _chart(
                    trend,
                    scenario,
                    [numbers[each.subject, each.run] for each in trend.changes],
                    width,
                    ink,
                )
                for trend in trends
            ),
            draw_legend(scenario, trends, width, ink) if trends else [],
            self._events(scenario, width, ink),
            _left_out(scenario, width, ink),
            self._runs(scenario, width, ink) if self._with_runs else [],
        ]

    def _title(self, scenario: Scenario, width: int, ink: Ink) -> list[Line]:
        words = key_words(scenario.key)
        name = f"{words['name']} · " if words["name"] else ""
        title = f"{name}scenario {scenario.scenario_id} · {count_of(len(scenario.runs), 'run')}"
        lines = paragraph(title, width, ink, style="bold")
        shown = [(label, words[label]) for label in _LABELS if words[label]]
        return lines + fields(shown, width, ink)

    def _events(self, scenario: Scenario, width: int, ink: Ink) -> list[Line]:
        if not scenario.events:
            return []
        changes = sum(len(event.changes) for event in scenario.events)
        title = (
            f"Changes: {len(scenario.events):,}, with {count_of(changes, 'change point')} of all "
            "hops and percentiles"
        )
        lines = paragraph(title, width, ink, style="bold")
        for number, event in enumerate(scenario.events, start=1):
            lines += [*([[]] if number > 1 else []), *self._event(event, number, width, ink)]
        known = {event.revision_before + event.revision_after for event in scenario.events}
        if any("+" in each for each in known):
            lines += [[], *paragraph("+: with uncommitted changes", width, ink, style="dim")]
        return lines

    def _event(self, event: Event, number: int, width: int, ink: Ink) -> list[Line]:
        order = {subject: place for place, subject in enumerate(self._subjects)}
        shown = sorted(
            (each for each in event.changes if (each.hop, each.percentile) in order),
            key=lambda each: order[each.hop, each.percentile],
        )
        head = shown[0] if shown else min(event.changes, key=lambda each: each.p_value)
        style = "bold red" if head.is_worse else "bold green"
        word = "slower" if head.is_worse else "faster"
        if not shown:
            style, word = "", f"{word}, other series only"
        told = (
            f"{when(event.started_unix_ns)}  "
            f"{revisions(event.revision_before, event.revision_after)}  {word}"
        )
        lines = paragraph(
            told, width, ink, style=style, label=str(number), label_style="yellow", gutter=_INDENT
        )
        margin: Line = [(" " * _INDENT, "")]
        if shown:
            grid = draw_grid(_columns(shown, ink), width - _INDENT, ink)
            lines += [[*margin, *line] for line in grid]
        for label, text in event_words(event, shown):
            beside = paragraph(
                text, width - _INDENT, ink, label=label, gutter=GUTTER, style="" if shown else "dim"
            )
            lines += [[*margin, *line] for line in beside]
        return lines

    def _runs(self, scenario: Scenario, width: int, ink: Ink) -> list[Line]:
        values = {
            trend.subject: {
                **dict(zip(trend.runs, trend.values_ns, strict=True)),
                **dict(zip(trend.unused_runs, trend.unused_values_ns, strict=True)),
            }
            for hop, percentile in self._subjects
            if (trend := scenario.trend(hop, percentile)) is not None
        }
        begun = {event.run: str(n) for n, event in enumerate(scenario.events, start=1)}
        runs = scenario.runs
        columns = [
            Column("#", [[(begun.get(place, ""), "yellow")] for place in range(len(runs))]),
            text_column("started (UTC)", [when(run.started_unix_ns) for run in runs]),
        ]
        if any(run.git_revision for run in runs):
            names = [ink.text(run.git_revision) for run in runs]
            columns.append(text_column("revision", names, worth=9))
        for number, (subject, known) in enumerate(values.items()):
            cells = [
                latency_spans(known.get(place), LATENCY_WIDTH, "dim" if run.unused else "", ink)
                for place, run in enumerate(runs)
            ]
            name = subject.removeprefix("end_to_end.")
            columns.append(Column(name, cells, worth=max(8 - number, 2)))
        why = [ink.text(reason(run, whole=True)) for run in runs]
        if any(why):
            room = min(max(width - _BESIDE_REASON, _LEAST_REASON), _MOST_REASON)
            columns.append(text_column("not used", [_short(text, room) for text in why], "red"))
        names = [ink.text(run.file) for run in runs]
        columns.append(text_column("file", names, "dim", worth=1))
        return [[("Runs", "bold")], *draw_grid(columns, width, ink)]


_MOST_LISTED: Final = 12
_BESIDE_REASON: Final = 53
"""Cells of the other columns, with two percentiles and no file."""
_LEAST_REASON: Final = 16
_MOST_REASON: Final = 48


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 3]}..."


def _answers(drawn: Sequence[tuple[str, Trend | None]], width: int, ink: Ink) -> list[Line]:
    """How the newest runs of each series stand, in a line or two."""
    gutter = max((len(subject) for subject, _ in drawn), default=0) + 2
    lines: list[Line] = []
    for subject, trend in drawn:
        style = _LATEST_STYLES[trend.latest] if trend is not None else "yellow"
        told = latest(trend)
        if width < gutter + 30:
            lines += paragraph(f"{subject}: {told}", width, ink, style=style)
        else:
            lines += paragraph(told, width, ink, style=style, label=subject, gutter=gutter)
    return lines


def _chart(
    trend: Trend, scenario: Scenario, numbers: Sequence[int], width: int, ink: Ink
) -> list[Line]:
    return [[(trend.subject, "bold")], *draw_trend(trend, scenario, numbers, width, ink)]


def _columns(changes: Sequence[Change], ink: Ink) -> list[Column]:
    def styled(change: Change) -> str:
        return "red" if change.is_worse else "green"

    def latency(value_ns: float) -> Line:
        return latency_spans(value_ns, LATENCY_WIDTH, "", ink)

    return [
        text_column("", [change.subject for change in changes]),
        Column("from", [latency(change.from_ns) for change in changes]),
        Column("to", [latency(change.to_ns) for change in changes]),
        Column("change", [[(ink.text(percent(c.magnitude)), styled(c))] for c in changes]),
        Column("p", [[(p_value(change.p_value), "")] for change in changes], worth=3),
        Column("before", [[(str(c.runs_before), "")] for c in changes], "runs", worth=2),
        Column("after", [[(str(c.runs_after), "")] for c in changes], "runs", worth=2),
    ]


def _left_out(scenario: Scenario, width: int, ink: Ink) -> list[Line]:
    told = not_used(scenario.runs)
    if not told:
        return []
    return paragraph(told, width, ink, label="not used", label_style="red", gutter=GUTTER)


def _method(width: int, ink: Ink) -> list[Line]:
    told = (
        f"Change points: E-divisive in windows of {WINDOW} runs, Welch's t-test on logarithms at "
        f"p < {MAX_P:g} with the noise's persistence allowed for, medians at least "
        f"{MIN_MAGNITUDE:.0%} apart; certain to about {NEAR} runs. A change takes {MIN_SEGMENT} "
        "runs after it to be seen."
    )
    return paragraph(told.replace("%", " %"), width, ink, style="dim")
