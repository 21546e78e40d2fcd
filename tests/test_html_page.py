"""The HTML report of made-up runs: valid, complete in itself, and the same figures as the file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latbench.render.html import page as page_module
from latbench.render.html.sides import Side
from latbench.render.ink import Ink
from latbench.render.report import INFO, INVALID, WARNING
from latbench.result import RunStatus
from latbench.series import HICCUP
from latbench.tick import HOPS, PARTS
from latbench.units import format_count, format_latency
from tests.html_pages import (
    LOST,
    PLOTLY,
    TICKS,
    draw,
    figures,
    in_ns,
    make_side,
    parsed,
    result_of,
    table,
    texts,
    traces,
    write_run,
)
from tests.results import SCHEMA_1, make_client, make_environment

EVIL = "</script><b>x</b><!-- <img src=x onerror=alert(1)> & \"'"
DRAWN = 1e-3
"""What a drawn value may differ from the one it is of: four digits are kept."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("html")


@pytest.fixture(scope="module")
def side(folder: Path) -> Side:
    return make_side(write_run(folder))


@pytest.fixture(scope="module")
def other(folder: Path) -> Side:
    return make_side(write_run(folder, seed=2, lost=set()), label="new")


@pytest.fixture(scope="module")
def one(side: Side) -> str:
    return draw([side])


@pytest.fixture(scope="module")
def two(side: Side, other: Side) -> str:
    return draw([side, other])


@pytest.fixture(scope="module")
def many(side: Side, other: Side) -> str:
    """Two runs against one."""
    both = Side("base", (*side.results, *other.results), (*side.series, *other.series))
    return draw([both, other])


@pytest.fixture(params=["one", "two", "many"])
def page(request: pytest.FixtureRequest) -> str:
    drawn = request.getfixturevalue(request.param)
    assert isinstance(drawn, str)
    return drawn


# --- the document -------------------------------------------------------------------------------


def test_a_page_is_valid_html(page: str) -> None:
    document = parsed(page)
    assert document.find("body/main") is not None
    ids = [each.get("id") for each in document.iter() if each.get("id")]
    assert len(ids) == len(set(ids))


def test_a_page_names_nothing_that_a_browser_would_fetch(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"url\(|@import", page)
    for element in parsed(page).iter():
        assert element.get("src") is None
        assert element.get("href") in {None, "data:,"}
        assert element.tag not in {"img", "iframe", "object", "embed", "form"}
        assert not [name for name in element.keys() if name.startswith("on")]  # noqa: SIM118


def test_a_browser_is_told_to_fetch_nothing(one: str) -> None:
    (policy,) = [
        each.get("content") or ""
        for each in parsed(one).iter("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy


def test_plotly_is_in_the_page_before_the_script_that_uses_it(one: str) -> None:
    scripts = [each.text or "" for each in parsed(one).iter("script")]
    assert len(scripts) == 3
    assert scripts[1] == PLOTLY
    assert "Plotly.react" in scripts[2]


def test_a_bundle_that_would_end_its_own_element_is_refused(side: Side) -> None:
    with pytest.raises(ValueError, match="script"):
        page_module.draw_page([side], plotly_js="'</SCRIPT>'")


@pytest.mark.parametrize("count", [0, 3])
def test_there_are_one_or_two_sides(side: Side, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} sides"):
        draw([side] * count)


def test_who_has_no_javascript_is_told(one: str) -> None:
    (told,) = parsed(one).iter("noscript")
    assert "JavaScript" in texts(told)


def colours(node: Any) -> Iterator[str]:
    match node:
        case str() if node.startswith("--"):
            yield node
        case list():
            for each in node:
                yield from colours(each)
        case dict():
            for each in node.values():
                yield from colours(each)


def test_every_colour_that_a_figure_names_is_in_the_style_sheet(page: str) -> None:
    style = "".join(each.text or "" for each in parsed(page).iter("style"))
    defined = set(re.findall(r"(--[\w-]+):", style))
    assert set(colours(figures(page))) - defined == set()
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used - defined - {"--c"} == set()


def test_every_choice_shows_something_and_every_line_can_be_chosen(page: str) -> None:
    drawn = figures(page)
    for field in parsed(page).iter("fieldset"):
        kind, chart = field.get("data-kind"), field.get("data-of")
        if kind == "scale":
            continue
        offered = {each.get("value") for each in field.iter("input")}
        there = {
            trace["meta"][kind] for trace in drawn[chart]["data"] if kind in trace.get("meta", {})
        }
        assert offered == there, (chart, kind)


def test_every_figure_has_its_place(page: str) -> None:
    places = {each.get("data-chart") for each in parsed(page).iter("div")} - {None}
    assert places == set(figures(page))


# --- figures ------------------------------------------------------------------------------------


def test_the_hop_table_tells_the_results_figures(one: str, side: Side) -> None:
    header, *rows = table(one, "Latency by hop")
    result = result_of(side)
    assert result.hiccups is not None
    assert len(rows) == len(HOPS) + 1
    for row, summary in zip(rows, [*result.hops, result.hiccups], strict=True):
        cells = dict(zip(header, row, strict=True))
        assert cells["hop"].startswith(summary.hop)
        assert cells["count"] == format_count(summary.count)
        for name in ("p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"):
            value = summary.percentiles_ns[name]
            assert cells[name] == ("n/a" if value is None else format_latency(value))
        assert cells["max"] == format_latency(summary.max_ns)
        assert cells["mean"] == format_latency(summary.mean_ns)


def test_a_percentile_with_few_samples_is_not_told(one: str) -> None:
    (total,) = [row for row in table(one, "Latency by hop") if row[0].startswith("end_to_end")]
    header = table(one, "Latency by hop")[0]
    assert total[header.index("p99.9")] == "n/a"
    assert "n/a: fewer than 100 ticks lie above" in texts(parsed(one))


def test_the_heading_tells_latency_ticks_and_losses(one: str, side: Side) -> None:
    (header,) = parsed(one).iter("header")
    told = texts(header)
    percentiles = result_of(side).hop("end_to_end").percentiles_ns
    for name in ("p50", "p99"):
        value = percentiles[name]
        assert value is not None
        assert format_latency(value) in told
    assert format_count(TICKS - 2000) in told
    (lost,) = [
        each for each in header.iter("div") if texts(each).startswith("lost")
    ]  # fmt: skip
    assert texts(lost) == f"lost{len(LOST)}"


@pytest.mark.parametrize(
    ("severity", "told"), [(INVALID, "not valid"), (WARNING, "valid"), (INFO, "valid")]
)
def test_the_heading_tells_whether_to_believe_it(side: Side, severity: str, told: str) -> None:
    found = dataclasses.replace(side, findings=[(severity, "something")])
    (header,) = parsed(draw([found])).iter("header")
    (tile,) = [each for each in header.iter("div") if texts(each).startswith("measurement")]
    assert texts(tile) == f"measurement{told}"


def test_latency_over_time_is_the_series(one: str, side: Side) -> None:
    for hop, line in side.series[0].timeline.hops.items():
        for statistic, values in (
            ("p50", line.p50_ns), ("p99", line.p99_ns), ("max", line.max_ns),
        ):  # fmt: skip
            (trace,) = traces(one, "latency", hop=hop, stat=statistic)
            np.testing.assert_allclose(in_ns(trace["y"]), values, rtol=DRAWN)


def test_the_parts_add_up_to_the_total_at_every_moment(one: str) -> None:
    drawn = {trace["name"]: trace for trace in figures(one)["contributions"]["data"]}
    parts = np.sum([in_ns(drawn[hop.name]["y"]) for hop in PARTS], axis=0)
    np.testing.assert_allclose(parts, in_ns(drawn["end_to_end"]["y"]), rtol=2 * DRAWN)
    assert all("stackgroup" in drawn[hop.name] for hop in PARTS)


def test_a_percentile_curve_ends_at_its_last_honest_point(one: str, side: Side) -> None:
    count = result_of(side).hop("end_to_end").count
    line, end = traces(one, "percentiles", hop="end_to_end")
    assert line["x"][-1] == pytest.approx(count / 100, rel=DRAWN)
    assert (end["x"], end["y"]) == (line["x"][-1:], line["y"][-1:])
    curve = side.series[0].curves["end_to_end"]
    np.testing.assert_allclose(in_ns(line["y"]), curve.value_ns, rtol=DRAWN)
    np.testing.assert_allclose(line["customdata"], curve.percent, rtol=DRAWN)


def test_a_histogram_holds_every_tick(one: str, side: Side) -> None:
    result = result_of(side)
    for hop in HOPS:
        (trace,) = traces(one, "histogram", hop=hop.name)
        assert sum(trace["y"]) == result.hop(hop.name).count
    (hiccups,) = [each for each in figures(one)["histogram"]["data"] if each["name"] == HICCUP]
    assert result.hiccups is not None
    assert sum(hiccups["y"]) == result.hiccups.count
    assert hiccups["yaxis"] == "y2"


def test_the_tail_is_the_results_tail(one: str, side: Side) -> None:
    result = result_of(side)
    assert result.tail is not None
    rows = {row[0]: row for row in table(one, "Means of the parts")[1:]}
    for hop in PARTS:
        assert rows[hop.name][1].startswith(format_latency(result.hop(hop.name).mean_ns))
        assert rows[hop.name][2].startswith(format_latency(result.tail.mean_ns[hop.name]))


def test_throughput_is_due_and_consumed_ticks_a_second(one: str, side: Side) -> None:
    timeline = side.series[0].timeline
    for name, counts in (("due", timeline.count), ("consumed", timeline.consumed)):
        (trace,) = traces(one, "throughput", rate=name)
        rates = np.array([each for each in trace["y"] if each is not None])
        whole_s = timeline.interval_ns / 1e9
        np.testing.assert_allclose(rates[:-1] * whole_s, counts[: rates.size - 1], rtol=DRAWN)
    due, consumed = (np.array(traces(one, "throughput", rate=name)[0]["y"], dtype=float)
                     for name in ("due", "consumed"))  # fmt: skip
    assert (consumed < due).any()  # what was lost


def test_stalls_are_marked_behind_the_charts_over_time(one: str, side: Side) -> None:
    timeline = side.series[0].timeline
    assert timeline.stalled.any()
    for chart in ("latency", "contributions", "throughput"):
        (bands,) = [each for each in figures(one)[chart]["data"] if each["type"] == "bar"]
        assert len(bands["x"]) == np.count_nonzero(timeline.stalled)
        darkest = timeline.stalled[timeline.stalled > 0] / timeline.count[timeline.stalled > 0]
        assert np.argmax(bands["marker"]["opacity"]) == np.argmax(darkest)


def test_the_worst_hiccup_stands_below_with_its_process(one: str) -> None:
    (strip,) = [each for each in figures(one)["latency"]["data"] if each["name"] == HICCUP]
    late = in_ns(strip["y"])
    worst = int(np.nanargmax(late))
    assert late[worst] == pytest.approx(9e6, rel=DRAWN)
    assert strip["meta"]["whose"][worst] == "relay"


def test_a_file_without_meters_is_drawn_without_them(folder: Path) -> None:
    bare = make_side(write_run(folder / "bare", meters=False), **SCHEMA_1)
    series = bare.series[0]
    timeline = dataclasses.replace(
        series.timeline, stalled=series.timeline.stalled[:0], hiccup_max_ns={}
    )
    page = draw(
        [dataclasses.replace(bare, series=(dataclasses.replace(series, timeline=timeline),))]
    )
    assert [
        each["type"] for each in figures(page)["latency"]["data"] if each["type"] == "bar"
    ] == []
    assert "Shaded" not in page
    assert "yaxis2" not in figures(page)["histogram"]["layout"]


def test_a_run_in_which_nothing_was_measured_says_so(folder: Path, side: Side) -> None:
    hops = tuple(
        msgspec.structs.replace(
            hop, count=0, percentiles_ns=dict.fromkeys(hop.percentiles_ns)
        )
        for hop in result_of(side).hops
    )  # fmt: skip
    result = msgspec.structs.replace(
        result_of(side), status=RunStatus.FAILED, failure="the relay died", hops=hops, tail=None,
        hiccups=None,
    )  # fmt: skip
    series = dataclasses.replace(side.series[0], curves={}, bins={}, distributions={})
    page = draw([Side("", (result,), (series,))])
    assert figures(page) == {}
    told = texts(parsed(page))
    assert "No tick was measured" in told
    assert "FAILED: the relay died" in told


# --- two sides ----------------------------------------------------------------------------------


def test_two_sides_are_overlaid_in_their_own_colours(two: str, side: Side, other: Side) -> None:
    for chart in ("latency", "percentiles", "histogram", "throughput"):
        used = set(colours([each.get("line", {}) for each in figures(two)[chart]["data"]]))
        assert {"--side-a", "--side-b"} <= used
    a, b = traces(two, "latency", hop="kafka", stat="p50")
    for trace, each in ((a, side), (b, other)):
        p50_ns = each.series[0].timeline.hops["kafka"].p50_ns
        np.testing.assert_allclose(in_ns(trace["y"]), p50_ns, rtol=DRAWN)


def test_differences_stand_in_a_table(two: str, side: Side, other: Side) -> None:
    rows = {row[0].split()[0]: row for row in table(two, "Differences by hop")}
    for hop in HOPS:
        old, new = (result_of(each).hop(hop.name).percentiles_ns["p50"] for each in (side, other))
        assert old is not None
        assert new is not None
        told = rows[hop.name][1:4]
        assert told[:2] == [format_latency(old), format_latency(new)]
        percent = float(re.sub(r"[▲▼ %]", "", told[2]).replace("−", "-"))
        assert percent == pytest.approx(100 * (new / old - 1), abs=0.05)


def test_a_verdict_stands_in_for_the_warning_of_noise(two: str, side: Side, other: Side) -> None:
    judged = draw([side, other], verdict_html="<h2>Verdict</h2><p>pass</p>")
    (verdict,) = [each for each in parsed(judged).iter("section") if each.get("class") == "verdict"]
    assert texts(verdict) == "Verdictpass"
    assert "not yet one that would come again" in two
    assert "not yet one that would come again" not in judged


def test_what_differs_between_the_sides_is_named(side: Side) -> None:
    config = msgspec.structs.replace(result_of(side).config, linger_ms=5.0)
    result = msgspec.structs.replace(result_of(side), config=config)
    page = draw([side, Side("B", (result,), side.series)])
    assert "What differs between A and B: linger 0 ms → 5 ms." in texts(parsed(page))


def test_the_same_twice_differs_in_nothing(side: Side) -> None:
    told = texts(parsed(draw([side, side])))
    assert "What differs between A and B: nothing that makes another measurement." in told


def test_several_runs_are_a_mark_each_in_the_order_they_were_made(many: str) -> None:
    marks = traces(many, "runs", hop="end_to_end", stat="p50")
    assert [mark["x"] for mark in marks] == [["A 1", "A 2"], ["B 1"]]
    bars = figures(many)["contributions"]
    assert bars["layout"]["barmode"] == "stack"
    assert len(bars["data"][0]["x"]) == 3


# --- texts --------------------------------------------------------------------------------------


def evil_side(side: Side, text: str) -> Side:
    environment = make_environment(hostname=text, libraries={text: text})
    config = msgspec.structs.replace(result_of(side).config, source=text)
    result = msgspec.structs.replace(
        result_of(side), environment=environment, config=config, said=(text,), failure=text,
        status=RunStatus.FAILED,
    )  # fmt: skip
    return Side(text, (result,), side.series, [(WARNING, text)], [text], [text])


@pytest.fixture(scope="module")
def give_side(side: Side) -> Callable[[], Side]:
    """A side that hypothesis need not print, which would take longer than the test."""

    def give() -> Side:
        return side

    return give


@settings(max_examples=8)
@given(text=st.text(min_size=1, max_size=40))
@example(text=EVIL)
@example(text="]]>&lt;\u2028\x00\ud7ff")
def test_no_text_that_comes_in_is_markup(give_side: Callable[[], Side], text: str) -> None:
    side = give_side()
    page = draw([evil_side(side, text), evil_side(side, f"{text}2")])
    document = parsed(page)
    plain = parsed(draw([evil_side(side, "x"), evil_side(side, "x2")]))
    # a command's option is set apart wherever it stands
    tags = [each.tag for each in document.iter() if each.tag != "code"]
    assert tags == [each.tag for each in plain.iter() if each.tag != "code"]
    shown = " ".join(Ink().text(text).split())
    assert shown in " ".join(texts(document).split())


def test_an_option_is_set_apart(side: Side) -> None:
    page = draw([dataclasses.replace(side, advice=["a lower --linger saves it"])])
    assert "--linger" in [texts(each) for each in parsed(page).iter("code")]


def test_plotly_gets_no_text_that_it_would_take_for_markup(side: Side) -> None:
    page = draw([evil_side(side, EVIL), evil_side(side, f"{EVIL}2")])
    assert "<" not in str(figures(page))


def test_what_the_kafka_clients_counted_is_told_of_a_single_run(side: Side) -> None:
    client = make_client()
    rows = table(draw([make_side_like(side, client=client)]), "Where T3 goes")
    told = {row[0]: row[1:3] for row in rows}
    assert client.queue_mean_ns is not None
    assert client.queue_max_ns is not None
    assert told["in the producer's queue"] == [
        format_latency(client.queue_mean_ns), format_latency(client.queue_max_ns),
    ]  # fmt: skip
    assert told["fetch request → answer"][1] == "–"


def make_side_like(side: Side, **changes: Any) -> Side:
    """The same with another result."""
    result = msgspec.structs.replace(result_of(side), **changes)
    return dataclasses.replace(side, results=(result,))
