"""The whole document: one file with style, script, figures and Plotly in it; it fetches nothing."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from latbench.render import clients
from latbench.render.html.contributions import contributions_chart
from latbench.render.html.distributions import (
    as_mapping,
    histogram_chart,
    percentile_chart,
    runs_chart,
)
from latbench.render.html.facts import (
    differences_in_words,
    draw_clients,
    draw_facts,
    draw_processes,
    gather,
)
from latbench.render.html.figures import Chart, Control
from latbench.render.html.heading import PATH_WORDS, draw_heading, draw_path, page_title
from latbench.render.html.markup import (
    Markup,
    element,
    folded,
    join,
    paragraph,
    prose,
    swatch,
    text,
)
from latbench.render.html.over_time import (
    latency_chart,
    throughput_chart,
)
from latbench.render.html.sides import Shown, Side, prepare
from latbench.render.html.tables import (
    difference_table,
    hop_notes,
    hop_table,
    tail_bars,
    ways_table,
)
from latbench.render.outcome import told_counts

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The browser itself then keeps the page from fetching anything."""

_NOISE: Final = (
    "A difference seen here is not yet one that would come again: what separates change from noise "
    "is several runs of each side, in turn, and a test."
)

_JUDGED: Final = (
    "These figures are over all ticks of a side together. The verdict goes by those of single "
    "runs, so that its changes are not quite these."
)


def draw_page(
    sides: Sequence[Side], *, plotly_js: str, verdict_html: str | None = None
) -> str:  # fmt: skip
    """The report of one side, or of two against one another, as one HTML document.

    `plotly_js` is Plotly's own bundle, `verdict_html` HTML that is put below the heading as it is:
    its author escapes it. Raises `ValueError` for no side or more than two.
    """
    if "</script" in plotly_js.lower():
        raise ValueError("the Plotly bundle would end its own script element")
    shown = prepare(sides)
    charts = _charts(shown)
    sections = [
        element("header", draw_heading(shown, Markup(verdict_html or ""))),
        *_told(shown),
        _hops(shown, is_judged=verdict_html is not None),
        Markup(
            '<noscript><p class="alarm">The charts need JavaScript; the tables tell the figures '
            "without it.</p></noscript>"
        ),
        *_measured(shown, charts),
        *_facts(shown),
        paragraph("This file is complete in itself: it fetches nothing.", "note"),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(page_title(shown))}</title>\n<style>\n{_asset('page.css')}</style>\n"
        f'</head>\n<body>\n<main class="{"one" if len(shown) == 1 else "two"}">\n'
        f"{join(section for section in sections if section)}\n</main>\n"
        f'<script type="application/json" id="figures">{_embedded(charts)}</script>\n'
        f"<script>{plotly_js}</script>\n<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _embedded(charts: Sequence[Chart]) -> str:
    """JSON that can't end its script element, nor begin a comment in it."""
    encoded = msgspec.json.encode(as_mapping(charts)).decode()
    return encoded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _charts(shown: Sequence[Shown]) -> list[Chart]:
    if not any(each.pool.end_to_end.count for each in shown):
        return []
    charts = [
        latency_chart(shown),
        percentile_chart(shown),
        histogram_chart(shown),
        runs_chart(shown),
        contributions_chart(shown),
        throughput_chart(shown),
    ]
    return [chart for chart in charts if chart is not None]


# --- words --------------------------------------------------------------------------------------


def _told(shown: Sequence[Shown]) -> Iterator[Markup]:
    """Findings and advice, each side's."""
    columns = []
    for each in shown:
        items = [
            element(
                "li",
                element("span", text(severity), class_=f"badge {severity}"),
                element("span", prose(words)),
            )
            for severity, words in each.findings
        ]
        for result in each.side.results if each.is_one_run else ():
            items += [
                element("li", element("span", text("said"), class_="badge"), text(words))
                for words in result.said
            ]
            items += [
                element("li", element("span", text(label), class_="badge warning"), text(words))
                for label, words in told_counts(result)
                if label != "ticks"
            ]
        parts = [element("ul", *items, class_="findings")] if items else [paragraph("None.")]
        if each.side.advice:
            parts.append(element("h3", text("What to change")))
            parts.append(
                element("ul", *(element("li", prose(piece)) for piece in each.side.advice))
            )  # fmt: skip
        title = [element("h3", text(each.label), class_="side")] if each.letter else []
        columns.append(element("div", *title, *parts))
    yield element(
        "section", element("h2", text("Findings")), element("div", *columns, class_="columns")
    )  # fmt: skip


def _hops(shown: Sequence[Shown], *, is_judged: bool) -> Markup:
    parts = [element("h2", text("Latency by hop")), draw_path(), paragraph(PATH_WORDS, "note")]
    if len(shown) == 1:
        parts += [hop_table(shown[0]), hop_notes(shown[0])]
        if shown[0].is_one_run:
            parts.append(folded("End to end, counted in different ways", _ways(shown[0])))
    else:
        parts += [difference_table(*shown), hop_notes(shown[1])]
        parts.append(paragraph(_JUDGED if is_judged else _NOISE, "note"))
        for each in shown:
            parts.append(folded(f"All figures of {each.label}", hop_table(each)))
    return element("section", *parts)


def _ways(shown: Shown) -> Markup:
    return ways_table(shown.side.results[0])


# --- charts -------------------------------------------------------------------------------------


def _measured(shown: Sequence[Shown], charts: Sequence[Chart]) -> Iterator[Markup]:
    for chart in charts:
        yield _drawn(shown, chart)
        if chart.key == "contributions":
            yield element(
                "section",
                element("h2", text("What the slowest ticks spend their time on")),
                paragraph(
                    "Means of the parts over all ticks, and over the slowest: those from "
                    "end_to_end's p99 up.",
                    "words",
                ),
                tail_bars(shown),
            )


def _drawn(shown: Sequence[Shown], chart: Chart) -> Markup:
    controls = [_control(chart.key, control) for control in chart.controls]
    legend = [_legend(shown)] if len(shown) == 2 and chart.key != "contributions" else []
    return element(
        "section",
        element("h2", text(chart.title)),
        paragraph(chart.words, "words"),
        element("div", *controls, *legend, class_="controls"),
        Markup(
            f'<div class="chart" id="chart-{chart.key}" data-chart="{chart.key}" '
            f'style="height:{chart.height}px" role="img" aria-label="{text(chart.title)}"></div>'
        ),
        class_="charted",
    )


def _control(chart: str, control: Control) -> Markup:
    if not control.kind:  # a legend
        keys = (
            element("span", swatch(each.colour, is_line=False), text(each.label), class_="key")
            for each in control.options
        )
        return element("div", *keys, class_="keys")
    kind = "radio" if control.is_single else "checkbox"
    choices = []
    for each in control.options:
        sample = swatch(each.colour, each.dash) if each.colour else Markup("")
        checked = " checked" if each.is_on else ""
        choices.append(
            Markup(
                f'<label class="choice"><input type="{kind}" name="{chart}-{control.kind}" '
                f'value="{text(each.value)}"{checked}><span>{sample}{text(each.label)}</span></label>'
            )
        )
    return Markup(
        f'<fieldset data-kind="{control.kind}" data-of="{chart}"><legend>{text(control.legend)}'
        f"</legend>{join(choices, '')}</fieldset>"
    )


def _legend(shown: Sequence[Shown]) -> Markup:
    keys = (
        element("span", swatch(each.colour, is_line=False), text(each.label), class_="key")
        for each in shown
    )
    return element("div", *keys, class_="keys")


# --- facts --------------------------------------------------------------------------------------


def _facts(shown: Sequence[Shown]) -> Iterator[Markup]:
    groups = gather(shown)
    parts = []
    if len(shown) == 2:
        told = differences_in_words(shown)
        parts.append(paragraph(f"What differs between A and B: {told}.", "words"))
    parts += [folded(facts.title, draw_facts(facts, shown)) for facts in groups]
    for each in shown:
        of_side = f" of {each.label}" if each.letter else ""
        result = each.side.results[0]
        if each.is_one_run and result.client is not None:
            told = draw_clients(result.client, result.config)
            parts.append(folded(f"{clients.title(result.config)}{of_side}", told))
        if each.is_one_run and result.processes:
            parts.append(folded(f"Processes{of_side}", draw_processes(result)))
        if each.side.sources:
            listed = element("ul", *(element("li", text(name)) for name in each.side.sources))
            parts.append(folded(f"Files{of_side}", listed))
    yield element("section", element("h2", text("What was run, on what")), *parts)
