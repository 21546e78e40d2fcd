"""What report and live view are drawn with: the table of hops, lines of text, consoles."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.render.console import open_console
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import HopTable
from latbench.render.ink import Drawn, Ink, wrap
from latbench.render.pictures import draw_svg
from latbench.tick import HOPS
from tests.rendering import (
    plain,
    printed,
    report,
)
from tests.results import (
    make_hiccups,
    make_hops,
    make_result,
)


@pytest.mark.parametrize("width", [60, 80, 140, 170])
def test_no_number_is_cut_short(width: int) -> None:
    text = printed(HopTable(make_hops(scale=1.2345), embedded=False), width)
    assert "…" not in text
    # a unit behind every latency: 11 a hop
    assert len(re.findall(r"\d (?:ns|µs|ms| s)\b", text)) == 11 * len(HOPS)


def test_hops_come_in_their_order_and_the_uncorrected_one_says_so() -> None:
    lines = printed(HopTable(make_hops(), embedded=False, notes=False), 160).splitlines()
    shown = [line.split()[0] for line in lines[1:] if not line.startswith("─")]
    assert shown == [hop.name for hop in HOPS]
    assert "uncorrected" in lines[-1]


def test_a_percentile_without_enough_samples_is_not_available() -> None:
    text = printed(HopTable(make_hops(count=60_000), embedded=False), 140)
    assert text.count("n/a") == 2 * len(HOPS) + 1


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_tells_what_a_terminal_shows(environ: dict[str, str], ascii_only: bool) -> None:
    assert open_console(io.StringIO(), environ).options.ascii_only is ascii_only


def test_a_picture_fetches_nothing() -> None:
    svg = draw_svg(report(make_result()), title="latbench report", width=140)
    assert "url(" not in svg.replace("url(#", "")
    assert set(re.findall(r"https?://[^\"]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "end_to_end" in svg


@given(st.text(), st.integers(1, 40))
def test_wrapped_text_keeps_its_words(text: str, width: int) -> None:
    lines = wrap(Ink().text(text), width)
    assert "".join("".join(lines).split()) == "".join(Ink().text(text).split())


def test_a_number_stays_with_its_unit() -> None:
    assert wrap("after 5 s", 8) == ["after", "5 s"]


def test_bars_fill_their_width() -> None:
    assert Ink().bar(1.0, 10) == "█" * 10
    assert Ink().bar(0.0, 10) == ""
    assert Ink().bar(0.001, 10) == "▏"
    assert Ink(ascii_only=True).bar(0.5, 10) == "#####"


def test_a_second_without_ticks_is_an_empty_column() -> None:
    assert Ink().chart([0, 1, 50, 100], 100, 1) == [" ▁▄█"]
    assert Ink().chart([0, 1, 50, 100], 100, 2) == ["   █", " ▁██"]
    assert Ink(ascii_only=True).chart([0, 1, 100], 100, 1) == [" .#"]


def test_drawn_things_are_renderables() -> None:
    assert isinstance(report(make_result()), Drawn)


@pytest.mark.parametrize("width", [60, 80, 140, 170])
def test_hiccups_stand_last_and_are_no_hop(width: int) -> None:
    table = HopTable(make_hops(), embedded=False, hiccups=make_hiccups(), notes=False)
    lines = printed(table, width).splitlines()
    assert lines[-1].startswith("hiccup ")
    assert lines[-1].count(" ms") >= 2
    assert "hiccup" not in {hop.name for hop in HOPS}


def test_a_grid_leaves_out_what_is_worth_least() -> None:
    def column(name: str, worth: int) -> Column:
        return Column(name, [[("123456", "")]], "both", worth=worth)

    columns = [text_column("", ["row"]), column("a", 2), column("b", 1), column("c", 0)]
    assert plain(draw_grid(columns, 27, Ink())).splitlines() == [
        "     ──────── both ────────",
        "          a       b       c",
        "row  123456  123456  123456",
    ]
    assert plain(draw_grid(columns, 26, Ink())).splitlines() == [
        "     ──── both ────",
        "          a       c",
        "row  123456  123456",
    ]
    assert plain(draw_grid(columns, 3, Ink())).splitlines() == [
        "       both",
        "          c",
        "row  123456",
    ]
