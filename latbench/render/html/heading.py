"""The answer first: latency, ticks, whether to believe it, and what was run."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.render.hops import MOCK, NOT_AVAILABLE
from latbench.render.html.markup import Markup, element, join, latency, paragraph, text
from latbench.render.html.sides import Shown
from latbench.render.html.tables import difference_mark
from latbench.render.report import broken
from latbench.render.scenario import scenario
from latbench.result import RunResult, RunStatus
from latbench.units import format_count, format_latency

_TILES: Final = ("p50", "p99", "p99.9")


def page_title(shown: Sequence[Shown]) -> str:
    """The document's title."""
    if len(shown) == 2:
        return f"latbench: {shown[0].side.label or 'A'} against {shown[1].side.label or 'B'}"
    first = shown[0].side.results[0]
    if not shown[0].is_one_run:
        return f"latbench: {len(shown[0].side.results)} runs"
    return f"latbench run {first.config.name or first.run_id}"


def draw_heading(shown: Sequence[Shown], verdict: Markup) -> Markup:
    """All of it; `verdict` stands above the figures, if there is one."""
    return join(
        [
            *(paragraph(words, "kicker") for words in _kickers(shown)),
            element("h1", text(_answer(shown))),
            *([element("section", verdict, class_="verdict")] if verdict else []),
            *_broken(shown),
            element("div", *_tiles(shown), class_="tiles"),
            *_scenarios(shown),
        ]
    )


def _kickers(shown: Sequence[Shown]) -> Iterator[str]:
    for each in shown:
        first = each.side.results[0]
        if each.is_one_run:
            name = f"{first.config.name} · " if first.config.name else ""
            words = f"run {name}{first.run_id} · {_when(first)} · {first.status}"
        else:
            words = f"{len(each.side.results)} runs, the first of {_when(first)}"
        yield f"{each.label} · {words}" if each.letter else f"latbench · {words}"


def _when(result: RunResult) -> str:
    started = datetime.datetime.fromtimestamp(result.started_unix_ns // NS_PER_S, datetime.UTC)
    return f"{started:%Y-%m-%d %H:%M:%S} UTC"


def _told(value_ns: int | None) -> str:
    return NOT_AVAILABLE if value_ns is None else format_latency(value_ns)


def _answer(shown: Sequence[Shown]) -> str:
    totals = [each.pool.end_to_end for each in shown]
    if not any(total.count for total in totals):
        return "No tick was measured"
    p50s, p99s = (
        [total.percentiles_ns.get(name) if total.count else None for total in totals]
        for name in ("p50", "p99")
    )
    rare = any(value is not None for value in p99s)
    if len(shown) == 1:
        told = f"From due to consumed, half of all ticks take {_told(p50s[0])} or less"
        return f"{told}, 1 in 100 more than {_told(p99s[0])}" if rare else told
    told = f"From due to consumed: p50 {_told(p50s[0])} in A, {_told(p50s[1])} in B"
    return f"{told}; p99 {_told(p99s[0])} in A, {_told(p99s[1])} in B" if rare else told


def _broken(shown: Sequence[Shown]) -> Iterator[Markup]:
    for each in shown:
        for result in each.side.results:
            if result.status is not RunStatus.COMPLETE:
                yield paragraph(each.prefixed(broken(result)), "alarm")


def _tile(label: str, *values: Markup, kind: str = "") -> Markup:
    shown = join((element("span", value, class_="value") for value in values), "")
    return element(
        "div", element("span", text(label), class_="label"), shown, class_=f"tile {kind}".strip()
    )  # fmt: skip


def _tiles(shown: Sequence[Shown]) -> Iterator[Markup]:
    totals = [each.pool.end_to_end for each in shown]
    for name in _TILES:
        values = [total.percentiles_ns.get(name) if total.count else None for total in totals]
        told = [_of_side(each, latency(value)) for each, value in zip(shown, values, strict=True)]
        if len(shown) == 2:
            told.append(difference_mark(*values))
        yield _tile(f"end_to_end {name}", *told)
    yield _tile(
        "ticks measured",
        *(_of_side(each, text(format_count(each.pool.measured))) for each in shown),
    )
    is_lost = any(each.pool.lost for each in shown)
    yield _tile(
        "lost",
        *(_of_side(each, text(format_count(each.pool.lost) if each.pool.lost else "none"))
          for each in shown),
        kind="bad" if is_lost else "",
    )  # fmt: skip
    is_valid = all(each.is_valid for each in shown)
    yield _tile(
        "measurement",
        *(_of_side(each, text("valid" if each.is_valid else "not valid")) for each in shown),
        kind="good" if is_valid else "bad",
    )


def _of_side(shown: Shown, value: Markup) -> Markup:
    if not shown.letter:
        return value
    letter = element("span", text(shown.letter), class_="letter", style=f"--c:var({shown.colour})")
    return join([letter, value], "")


def _scenarios(shown: Sequence[Shown]) -> Iterator[Markup]:
    """What was done, a line for each side; one for both where they don't differ."""
    told = [" · ".join(words for _, words in scenario(each.side.results[0])) for each in shown]
    if len(set(told)) == 1:
        yield paragraph(told[0], "scenario")
    else:
        for each, words in zip(shown, told, strict=True):
            yield element("p", _of_side(each, text(f" {words}")), class_="scenario")
    if any(each.side.results[0].config.is_embedded for each in shown):
        yield paragraph(f"The kafka and ack hops are {MOCK}.", "scenario")


def draw_path() -> Markup:
    """From which stamp to which each hop runs."""
    stamps = ("due", "sent", "relay_in", "relay_out", "consumed")
    where = ("schedule", "generator", "relay", "relay", "consumer")
    marks = [
        element(
            "span", element("b", text(stamp)), element("small", text(place)), class_="stamp"
        )
        for stamp, place in zip(stamps, where, strict=True)
    ]  # fmt: skip
    spans = [
        ("schedule", 1, 2, ""), ("websocket", 2, 3, "T1"), ("relay", 3, 4, "T2"),
        ("kafka", 4, 5, "T3"), ("end_to_end", 1, 5, "the four, exactly"),
        ("service", 2, 5, "uncorrected"),
    ]  # fmt: skip
    bars = [
        element(
            "span",
            element("b", text(name)),
            Markup(f" <i>{text(note)}</i>" if note else ""),
            class_="span",
            style=f"grid-column:{first}/{last};--c:var(--hop-{name.replace('_', '-')})",
        )
        for name, first, last, note in spans
    ]
    return Markup(
        f'<div class="path"><div class="stamps">{join(marks, "")}</div>'
        f'<div class="spans">{join(bars, "")}</div></div>'
    )


PATH_WORDS: Final = (
    "Every tick is stamped at five moments by the programs that it passes, on one clock. Time "
    "counts from when a tick was due, not from when it was sent: a late generator is part of the "
    "latency. "
    "service counts from sending, so it is uncorrected: it hides a late generator (coordinated "
    "omission). ack, a side branch, runs from relay_out to the broker's acknowledgement; hiccup is "
    "no hop, but how late timers woke on this machine."
)
