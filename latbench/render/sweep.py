"""The report of a sweep: the answer, whether to believe it, what to change."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from latbench import saturation
from latbench.queueing import FORMULA
from latbench.render.curve import draw_chart
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import LATENCY_WIDTH, NOT_AVAILABLE, latency_spans
from latbench.render.ink import Drawn, Ink, Line, fields, paragraph
from latbench.render.scenario import machine_of, ways
from latbench.render.sweep_words import (
    RELIABLE_ERROR,
    answer,
    describe_error,
    doubts,
    predictions,
    rounded,
)
from latbench.sweep_points import reason_word
from latbench.sweep_result import SweepPoint, SweepResult, SweepStatus
from latbench.units import format_duration, format_latency, format_rate


class SweepReport(Drawn):
    """The answer first; then the points, the curve, and what follows from them."""

    def __init__(self, result: SweepResult, files: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._result = result
        self._files = files

    def draw(self, width: int, ink: Ink) -> list[Line]:
        """Complete at 80 cells."""
        sections = [
            self._heading(width, ink),
            self._answer(width, ink),
            self._points(width, ink),
            self._curve(width, ink),
            self._saturation(width, ink),
            self._prediction(width, ink),
            self._belief(width, ink),
            self._to_change(width, ink),
            fields(self._origin(), width, ink),
        ]
        lines: list[Line] = []
        for section in filter(None, sections):
            lines += [*([[]] if lines else []), *section]
        return lines

    def _heading(self, width: int, ink: Ink) -> list[Line]:
        result = self._result
        kafka = "broker unknown"
        if result.broker is not None:
            embedded = result.broker.kind == "embedded"
            release = result.broker.version.partition(" (")[0]
            kafka = "the embedded broker" if embedded else f"Kafka {release}"
        slos = " and ".join(str(slo) for slo in result.plan.slos)
        config = result.config
        settings = [kafka, config.ws_engine, f"linger {config.effective_linger_ms:g} ms"]
        if config.effective_compression != "none":
            settings.append(config.effective_compression)
        settings += ways(config)
        count = len(result.points)
        told = (
            f"{count} point{'s' if count != 1 else ''} in "
            f"{format_duration(result.elapsed_ns // 10**9 * 10**9)}"
        )
        return [
            *paragraph(f"latbench sweep · {slos}", width, ink, style="bold"),
            *paragraph(" · ".join([*settings, told]), width, ink, style="dim"),
        ]

    # --- the answer ---------------------------------------------------------------------------

    def _answer(self, width: int, ink: Ink) -> list[Line]:
        style = "bold green" if self._result.status is SweepStatus.FOUND else "bold yellow"
        first, *more = answer(self._result)
        lines = paragraph(first, width, ink, style=style)
        for text in more:
            lines += paragraph(text, width, ink)
        return lines

    # --- points -------------------------------------------------------------------------------

    def _points(self, width: int, ink: Ink) -> list[Line]:
        rows = [
            (rate, list(points))
            for rate, points in itertools.groupby(
                sorted(self._result.points, key=lambda point: point.rate_hz),
                key=lambda point: point.rate_hz,
            )
        ]
        styles = ["bold" if rate == self._result.highest_held_hz else "" for rate, _ in rows]
        columns = [
            Column(
                "rate",
                [
                    [(format_rate(rate), style)]
                    for (rate, _), style in zip(rows, styles, strict=True)
                ],
            ),
            Column("held", [_held(points) for _, points in rows]),
        ]
        slos = self._result.plan.slos
        if "end_to_end.p50" not in {slo.subject for slo in slos}:
            medians = [_median(map(_p50, points)) for _, points in rows]
            columns.append(self._latencies("p50", medians, ink, worth=6))
        for number, slo in enumerate(slos):
            values = [_median(point.values_ns[number] for point in points) for _, points in rows]
            columns.append(self._latencies(slo.short_subject, values, ink))
        for process, heading, worth in (
            ("generator", "gen", 3), ("relay", "relay", 5), ("consumer", "cons", 4),
            ("broker", "broker", 2),
        ):  # fmt: skip
            shares = [
                _median(point.cpu_shares.get(process) for point in points) for _, points in rows
            ]
            if any(share is not None for share in shares):
                columns.append(Column(heading, [_share(s) for s in shares], "CPU", worth=worth))
        busy = [
            _median(point.machine.busy if point.machine else None for point in points)
            for _, points in rows
        ]
        columns.append(Column("all", [_share(share) for share in busy], "CPU", worth=5))
        columns.append(text_column("fails by", [_why(points) for _, points in rows]))
        note = (
            "Medians, where a rate was measured more than once. CPU: of one CPU by generator, "
            "relay and consumer; all: of the whole machine."
        )
        return [
            [("Measured", "bold")],
            *draw_grid(columns, width, ink),
            *paragraph(note, width, ink, style="dim"),
        ]

    @staticmethod
    def _latencies(
        name: str, values: Sequence[float | None], ink: Ink, *, worth: int = 0
    ) -> Column:
        cells = [latency_spans(value, LATENCY_WIDTH, "", ink) for value in values]
        return Column(name, cells, worth=worth)

    def _curve(self, width: int, ink: Ink) -> list[Line]:
        subject = self._result.plan.slos[0].subject
        if len({point.rate_hz for point in self._result.points}) < 2:
            return []
        title: Line = [(f"{subject} against load", "bold"), (" (both axes logarithmic)", "dim")]
        return [title, *draw_chart(self._result, width, ink)]

    # --- what follows -------------------------------------------------------------------------

    def _saturation(self, width: int, ink: Ink) -> list[Line]:
        found = self._result.saturation
        if found is None:
            return []
        told = saturation.headline(found)
        lines: list[Line] = [[("At its limit first", "bold")]]
        lines += paragraph(f"{told[0].upper()}{told[1:]}.", width, ink)
        for sign in found.evidence:
            lines += paragraph(saturation.describe(sign), width, ink, label="–", gutter=2)
        return lines

    def _prediction(self, width: int, ink: Ink) -> list[Line]:
        fitted = self._result.fit
        title: Line = [("Rates that were not measured", "bold")]
        if fitted is None:
            told = "No curve: it takes four rates at which latency was steady."
            return [title, *paragraph(told, width, ink, style="dim")]
        lines: list[Line] = [title]
        slo = self._result.plan.slos[0]
        told = ", ".join(
            f"{format_rate(rate)} {format_latency(value_ns)}"
            for rate, value_ns in predictions(self._result)
        )
        if told:
            lines += paragraph(f"{slo.subject} predicted: {told}.", width, ink)
        reaches_hz = fitted.curve.rate_hz(slo.limit_ns)
        if reaches_hz is not None:
            text = f"The curve reaches {format_latency(slo.limit_ns)} at {rounded(reaches_hz)}."
            lines += paragraph(text, width, ink)
        reliable = fitted.median_error is not None and fitted.median_error <= RELIABLE_ERROR
        lines += paragraph(describe_error(fitted), width, ink, style="" if reliable else "yellow")
        curve = fitted.curve
        model = (
            f"{FORMULA}: the shape of M/G/1 (Pollaczek–Khinchine) and of Kingman's G/G/1; "
            f"a = {format_latency(curve.base_ns)}, b = {format_latency(curve.wait_ns)}, "
            f"C = {rounded(curve.capacity_hz)}; fitted to {fitted.points} rates with steady "
            "latency."
        )
        return [*lines, *paragraph(model, width, ink, style="dim")]

    def _belief(self, width: int, ink: Ink) -> list[Line]:
        lines: list[Line] = []
        for text in doubts(self._result):
            lines += paragraph(text, width, ink, label="–", gutter=2)
        return [[("Can it be believed?", "bold")], *lines] if lines else []

    def _to_change(self, width: int, ink: Ink) -> list[Line]:
        found = self._result.saturation
        told = saturation.advise(found, self._result.config) if found else []
        if self._result.status is SweepStatus.NONE_HOLDS and self._result.plan.from_hz > 1:
            told.append("a lower --from, or a limit that this pipeline can hold")
        lines: list[Line] = []
        for text in told:
            lines += paragraph(text, width, ink, label="–", gutter=2)
        return [[("What to change", "bold")], *lines] if lines else []

    def _origin(self) -> Iterator[tuple[str, str]]:
        environment = self._result.environment
        if environment is not None:
            yield "machine", machine_of(environment)
        yield "latbench", self._result.latbench
        for path in self._files:
            name = {".parquet": "file", ".svg": "picture"}.get(Path(path).suffix, "runs")
            yield name, os.fspath(path)


def _held(points: Sequence[SweepPoint]) -> Line:
    held = sum(point.holds for point in points)
    style = "green" if held * 2 > len(points) else "red"
    return [(f"{held} of {len(points)}", style)]


def _p50(point: SweepPoint) -> float | None:
    end_to_end = next((hop for hop in point.hops if hop.hop == "end_to_end"), None)
    return end_to_end.percentiles_ns.get("p50") if end_to_end is not None else None


def _median(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _share(value: float | None) -> Line:
    return [(NOT_AVAILABLE, "dim")] if value is None else [(f"{value * 100:.0f} %", "")]


def _why(points: Sequence[SweepPoint]) -> str:
    """In a word each, why points of a rate failed."""
    words = {reason_word(reason): None for point in points for reason in point.reasons}
    return ", ".join(words)
