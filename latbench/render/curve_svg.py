"""Latency against load as an SVG picture that stands alone: nothing in it is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from latbench.render.curve import Chart, Mark
from latbench.render.pictures import FONTS
from latbench.sweep_result import SweepResult
from latbench.units import format_latency, format_rate

_WIDTH: Final = 800
_HEIGHT: Final = 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 64, 74
_COLOURS: Final = {"holds": "#2a8c4a", "fails": "#c8372d", "overloaded": "#c8372d"}
_CURVE: Final = "#1f77b4"


def draw_curve_svg(result: SweepResult, *, title: str, subtitle: str) -> str:
    """The chart as one SVG document; hovering over a point tells its figures."""
    chart = Chart(result)
    body = [
        _text(_LEFT, 26, title, size=16, weight="bold"),
        _text(_LEFT, 46, subtitle, colour="#555"),
        *_axes(chart),
        *_limit(chart),
        *_fitted(chart),
        *(_mark(chart, mark) for mark in sorted(chart.marks, key=lambda m: m.kind == "holds")),
        *_legend(chart),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="{escape(FONTS)}" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _x(chart: Chart, rate_hz: float) -> float:
    return round(_LEFT + chart.x.share(rate_hz) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(chart: Chart, value_ns: float) -> float:
    return round(_HEIGHT - _BOTTOM - chart.y.share(value_ns) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal",
    colour: str = "#222",
) -> str:  # fmt: skip
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>'


def _axes(chart: Chart) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value_ns in chart.y.ticks(10):
        y = _y(chart, value_ns)
        yield _line(_LEFT, y, right, y, 'stroke="#e4e4e4"')
        yield _text(_LEFT - 8, y + 4, format_latency(value_ns), anchor="end", colour="#555")
    for rate_hz in chart.x.ticks(9):
        x = _x(chart, rate_hz)
        yield _line(x, _TOP, x, bottom, 'stroke="#e4e4e4"')
        yield _text(x, bottom + 18, format_rate(rate_hz), anchor="middle", colour="#555")
    yield _text(right, bottom + 36, "ticks asked for", anchor="end", colour="#555")
    yield _line(_LEFT, bottom, right, bottom, 'stroke="#777"')
    yield _line(_LEFT, _TOP, _LEFT, bottom, 'stroke="#777"')


def _limit(chart: Chart) -> Iterator[str]:
    y = _y(chart, chart.limit_ns)
    yield _line(_LEFT, y, _WIDTH - _RIGHT, y, 'stroke="#c8372d" stroke-dasharray="6 4"')
    told = f"limit {format_latency(chart.limit_ns)}"
    yield _text(_LEFT + 6, y - 6, told, colour="#c8372d")


def _fitted(chart: Chart) -> Iterator[str]:
    points = [(_x(chart, rate), _y(chart, value)) for rate, value in chart.fitted(300)]
    if len(points) > 1:
        path = " ".join(f"{x},{y}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{_CURVE}" stroke-width="2"/>'


def _mark(chart: Chart, mark: Mark) -> str:
    value_ns = chart.y.high if mark.value_ns is None else mark.value_ns
    told = "overloaded" if mark.value_ns is None else format_latency(mark.value_ns)
    title = f"<title>{escape(f'{format_rate(mark.rate_hz)}: {told}')}</title>"
    return _symbol(_x(chart, mark.rate_hz), _y(chart, value_ns), mark.kind, title)


def _symbol(x: float, y: float, kind: str, title: str = "") -> str:
    colour = _COLOURS[kind]
    if kind == "holds":
        return f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}" stroke="#fff">{title}</circle>'
    shape = "M-4,-4L4,4M-4,4L4,-4" if kind == "fails" else "M-5,4L5,4L0,-5Z"
    return (
        f'<path d="{shape}" transform="translate({x} {y})" stroke="{colour}" stroke-width="2" '
        f'fill="none">{title}</path>'
    )


def _legend(chart: Chart) -> Iterator[str]:
    x, y = float(_LEFT), _HEIGHT - 22
    names = {"holds": "holds", "fails": "fails", "overloaded": "overloaded: no end to its latency"}
    for kind, name in names.items():
        if any(mark.kind == kind for mark in chart.marks):
            yield _symbol(x + 6, y - 4, kind)
            yield _text(x + 18, y, name, colour="#555")
            x += 40 + 8 * len(name)
    if chart.fit is not None:
        yield _line(x, y - 4, x + 20, y - 4, f'stroke="{_CURVE}" stroke-width="2"')
        yield _text(x + 26, y, "fitted queueing curve", colour="#555")
