"""The script of the HTML report, run: what it draws of the figures, and what clicks do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latbench.clock import NS_PER_S
from latbench.render.html.sides import Side
from latbench.units import format_latency
from tests.browser import Browser
from tests.html_pages import draw, figures, make_side, write_run

CHARTS = {
    "one": {"latency", "percentiles", "histogram", "contributions", "throughput"},
    "two": {"latency", "percentiles", "histogram", "contributions", "throughput"},
    "many": {"latency", "percentiles", "histogram", "contributions", "throughput", "runs"},
}
WITH_HOPS = ("latency", "histogram")
"""Charts of one run that show a hop at a time."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("script")
    one = make_side(write_run(folder))
    other = make_side(write_run(folder, seed=2, lost=set()), label="new")
    both = Side("base", (*one.results, *other.results), (*one.series, *other.series))
    return {"one": draw([one]), "two": draw([one, other]), "many": draw([both, other])}


@pytest.fixture(params=CHARTS)
def name(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def browser(name: str, pages: dict[str, str]) -> Iterator[Browser]:
    with Browser(pages[name]) as opened:
        yield opened


@pytest.fixture
def one(pages: dict[str, str]) -> Iterator[Browser]:
    with Browser(pages["one"]) as opened:
        yield opened


def axes(layout: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [item for item in layout.items() if item[0].startswith(("xaxis", "yaxis"))]


def is_of_latencies(axis: dict[str, Any]) -> bool:
    return axis.get("type") == "log" and axis.get("ticksuffix") == "s"


def as_latency(value_ns: float) -> set[str]:
    """How it may be written: just between two, JavaScript takes the upper, Python the even one."""
    return {format_latency(value_ns * (1 + way)) for way in (-1e-9, 0, 1e-9)}


def meta_of(traces: list[dict[str, Any]], key: str) -> set[str]:
    """The values of their `meta`; what lies behind the lines has none."""
    return {each["meta"][key] for each in traces if key in each.get("meta", {})}


def strings(node: object) -> Iterator[str]:
    match node:
        case str():
            yield node
        case list():
            for each in node:
                yield from strings(each)
        case dict():
            for each in node.values():
                yield from strings(each)


def test_every_chart_is_drawn_once_at_first(name: str, browser: Browser) -> None:
    drawn = browser.told()["drawn"]
    assert set(drawn) == CHARTS[name]
    assert {each["times"] for each in drawn.values()} == {1}
    assert all(browser.visible(key) for key in drawn)


def test_what_is_shown_is_what_is_chosen(browser: Browser) -> None:
    told = browser.told()
    for key, chart in told["drawn"].items():
        choices = {kind: values for of, kind, values in told["chosen"] if of == key}
        for trace in chart["data"]:
            meta = trace.get("meta", {})
            wanted = all(
                meta[kind] in values for kind, values in choices.items() if kind in meta
            )  # fmt: skip
            assert trace["visible"] is wanted


def test_every_colour_is_that_of_the_style_sheet(browser: Browser) -> None:
    drawn = browser.told()["drawn"]
    assert [each for each in strings(drawn) if each.startswith("--")] == []
    assert any(each.startswith("light(") for each in strings(drawn))
    browser.darken()
    assert not any(each.startswith("light(") for each in strings(browser.told()["drawn"]))


def test_a_point_tells_its_latency_and_percentile(one: Browser) -> None:
    (curve,) = [
        each
        for each in one.visible("percentiles")
        if each["meta"]["hop"] == "end_to_end" and each["mode"] == "lines"
    ]
    for seconds, percent, text in zip(curve["y"], curve["customdata"], curve["text"], strict=True):
        latency, _, rest = text.partition(" at ")
        assert latency in as_latency(seconds * NS_PER_S)
        assert rest == f"p{percent:g}"
    assert curve["hovertemplate"] == "%{text}"


def test_a_bin_tells_its_ends_and_its_count(one: Browser) -> None:
    one.choose("histogram", "scale", "linear")  # a logarithmic axis has no 0
    (steps,) = [each for each in one.visible("histogram") if each["yaxis"] == "y"]
    half = steps["meta"]["half"]
    for middle, count, text in zip(steps["x"], steps["y"], steps["text"], strict=True):
        ends, _, told = text.partition(": ")
        low, high = ends.split(" to ")
        assert low in as_latency(middle / half * NS_PER_S)
        assert high in as_latency(middle * half * NS_PER_S)
        assert told == f"{count:,} ticks"


def test_a_hop_chosen_in_one_chart_is_chosen_in_all(one: Browser) -> None:
    for chart in WITH_HOPS:
        one.choose(chart, "hop", "relay")
        for other in WITH_HOPS:
            assert meta_of(one.visible(other), "hop") == {"relay"}
        one.choose(chart, "hop", "end_to_end")
    # this one has them all, each to be left out by itself
    assert len(meta_of(one.visible("percentiles"), "hop")) > 1


def test_a_box_without_its_mark_takes_its_lines_away(one: Browser) -> None:
    before = len(one.visible("latency"))
    one.choose("latency", "stat", "p99", is_on=False)
    shown = one.visible("latency")
    assert len(shown) == before - 1
    assert meta_of(shown, "stat") == {"p50", "max"}
    one.choose("latency", "stat", "p99")
    assert len(one.visible("latency")) == before


def test_a_choice_is_forgotten_by_no_redrawing(one: Browser) -> None:
    one.choose("latency", "stat", "max", is_on=False)
    one.darken()
    assert meta_of(one.visible("latency"), "stat") == {"p50", "p99"}


def test_counts_of_none_lie_below_a_logarithmic_axis_and_at_0_on_a_linear_one(
    one: Browser,
) -> None:
    on_log = one.drawn("histogram")
    assert on_log["layout"]["yaxis"]["type"] == "log"
    low = 10 ** on_log["layout"]["yaxis"]["range"][0]
    values = [
        each["y"]
        for each in on_log["data"]
        if each["yaxis"] == "y" and each["meta"].get("hop") == "end_to_end"
    ]
    assert all(0 < ys[0] < low for ys in values)
    one.choose("histogram", "scale", "linear")
    on_linear = one.drawn("histogram")
    assert on_linear["layout"]["yaxis"]["type"] == "linear"
    assert all(each["y"][0] == 0 for each in on_linear["data"])
    one.choose("histogram", "scale", "log")
    assert one.drawn("histogram") | {"times": 0} == on_log | {"times": 0}


def told_ticks(axis: dict[str, Any]) -> list[tuple[float, str]]:
    return list(zip(axis["tickvals"], axis["ticktext"], strict=True))


def assert_round(axis: dict[str, Any]) -> None:
    """Its values are in range, in order, apart, and told as latencies."""
    low, high = axis["range"]
    ticks = told_ticks(axis)
    assert len(ticks) >= 2
    assert [value for value, _ in ticks] == sorted({value for value, _ in ticks})
    for value, text in ticks:
        assert low - 1e-9 <= math.log10(value) <= high + 1e-9
        number, unit = text.split()
        whole, whole_unit = format_latency(value * NS_PER_S).split()
        assert (float(number), unit) == (float(whole), whole_unit)
        assert len(number) <= 4


def test_axes_of_latencies_have_round_values_with_units(browser: Browser) -> None:
    seen = 0
    for chart in browser.told()["drawn"].values():
        for _, axis in axes(chart["layout"]):
            if is_of_latencies(axis):
                assert_round(axis)
                seen += 1
    assert seen >= 3


@pytest.mark.parametrize(("low", "high"), [(-3.3, -2.9), (-6, -1), (-9, 0), (-3.01, -3)])
def test_after_a_zoom_they_are_round_again(one: Browser, low: float, high: float) -> None:
    layout = one.drawn("latency")["layout"]
    name = next(each for each, axis in axes(layout) if is_of_latencies(axis))
    one.zoom("latency", name, low, high)
    ((chart, update),) = one.told()["relayouts"]
    assert chart == "latency"
    changed = {key.removeprefix(f"{name}."): value for key, value in update.items()}
    assert_round(changed | {"range": [low, high]})


def test_a_narrow_page_has_fewer_of_them(pages: dict[str, str]) -> None:
    counts = []
    for width in (1000, 300):
        with Browser(pages["one"], width=width) as opened:
            counts.append(len(told_ticks(opened.drawn("histogram")["layout"]["xaxis"])))
    assert counts[1] < counts[0]
    assert counts[1] <= 300 / 85


def test_on_paper_all_is_open_and_fits(one: Browser) -> None:
    one.begin_print()
    told = one.told()
    assert all(told["open"])
    assert {each["layout"]["width"] for each in told["drawn"].values()} == {680}
    one.end_print()
    told = one.told()
    assert not any(told["open"])
    assert {each["layout"]["width"] for each in told["drawn"].values()} == {1000}


@given(values_ns=st.lists(st.integers(0, 10**12), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_latencies_are_written_as_everywhere(pages: dict[str, str], values_ns: list[int]) -> None:
    trace = {
        "x": values_ns,
        "y": [value / NS_PER_S for value in values_ns],
        "meta": {"text": "latency"},
    }
    chart = figures(pages["one"])["latency"] | {"data": [trace]}
    with Browser(pages["one"], instead={"latency": chart}) as opened:
        (drawn,) = opened.drawn("latency")["data"]
    for value_ns, text in zip(values_ns, drawn["text"], strict=True):
        assert text in as_latency(value_ns)
