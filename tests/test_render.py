"""What is rendered, against `tests/golden/`; `LATBENCH_UPDATE_GOLDEN=1` writes that anew."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from latbench.clock import NS_PER_S
from latbench.config import MAX_SPEED
from latbench.render.console import PIPED_WIDTH, open_console
from latbench.render.hops import HopTable
from latbench.render.ink import Drawn, Ink, Line, wrap
from latbench.render.lines import LineView, draw_line
from latbench.render.live import LiveView, draw_frame
from latbench.render.pictures import draw_svg
from latbench.render.report import Report
from latbench.render.view import open_view
from latbench.result import RunResult, RunStatus, Snapshot
from latbench.tick import HOPS
from tests.results import (
    make_broker,
    make_config,
    make_counts,
    make_environment,
    make_hop,
    make_hops,
    make_result,
    make_snapshot,
    make_stages,
)

GOLDEN = Path(__file__).parent / "golden"
STATISTICS = ("count", "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max")
FINDINGS = (
    ("info", "p99.99 rests on 150 ticks"),
    ("warning", "2 % of the ticks were sent more than 1 ms after they were due"),
)
TITLE = "latbench run · 5,000 ticks/s for 60 s · localhost:9092"


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("LATBENCH_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"LATBENCH_UPDATE_GOLDEN=1 rewrites {path}"


def printed(
    renderable: RenderableType, width: int, environ: Mapping[str, str] | None = None
) -> str:
    stream = io.StringIO()
    console = open_console(stream, {"COLUMNS": str(width)} | dict(environ or {}))
    console.print(renderable)
    return stream.getvalue()


def plain(lines: list[Line]) -> str:
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def frame(snapshot: Snapshot, width: int, height: int, *, ascii_only: bool = False) -> str:
    lines = draw_frame(snapshot, width, height, Ink(ascii_only), title=TITLE, embedded=False)
    return plain(lines)


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


def report(result: RunResult) -> Report:
    return Report(result, FINDINGS, "bench-results/5f1c09ab.parquet")


EMBEDDED = make_result(
    config=make_config(broker="embedded"),
    broker=make_broker(embedded=True),
    hops=make_hops(count=60_000),
    counts=make_counts(sent=70_000),
)
FAILED = make_result(
    status=RunStatus.FAILED,
    failure="the relay died: signal 9",
    measured_ns=34 * NS_PER_S,
    hops=make_hops(count=161_250),
    counts=make_counts(
        sent=171_250, lost=1_204, delivery_errors=7, relay_backpressure=4,
        relay_backpressure_ns=33_000_000,
    ),
)  # fmt: skip
LOST = make_result(
    config=make_config(name="nightly"),
    counts=make_counts(lost=12, duplicates=3, reordered=1),
)
RESULTS = {"quiet": make_result(), "embedded": EMBEDDED, "failed": FAILED, "lost": LOST}


@pytest.mark.parametrize("width", [80, 140, 160])
@pytest.mark.parametrize("name", RESULTS)
def test_report_looks_as_before(name: str, width: int) -> None:
    text = printed(report(RESULTS[name]), width)
    assert widest(text) <= width
    assert_golden(f"report-{name}-{width}", text)


@pytest.mark.parametrize("width", [80, 140])
def test_report_looks_as_before_in_ascii(width: int) -> None:
    text = printed(report(EMBEDDED), width, {"LANG": "C"})
    text.encode("ascii")
    assert widest(text) <= width
    assert_golden(f"report-ascii-{width}", text)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (80, 10)])
def test_live_view_looks_as_before(width: int, height: int) -> None:
    assert_golden(f"live-{width}x{height}", frame(make_snapshot(), width, height))


def test_live_view_in_trouble_looks_as_before() -> None:
    snapshot = make_snapshot(
        lost=4, errors=2, stages=make_stages(died="relay"), messages=("the relay died: signal 9",)
    )
    assert_golden("live-trouble-140x40", frame(snapshot, 140, 40))
    assert_golden("live-trouble-80x24", frame(snapshot, 80, 24))


def test_live_view_before_the_first_measured_tick_looks_as_before() -> None:
    warming = make_snapshot(
        phase="warm-up", elapsed_ns=NS_PER_S, hops=(), e2e_p99_per_second_ns=(), messages=()
    )
    assert_golden("live-warming-80x24", frame(warming, 80, 24))


def test_live_view_in_ascii_looks_as_before() -> None:
    text = frame(make_snapshot(messages=("µ → …",)), 80, 24, ascii_only=True)
    text.encode("ascii")
    assert_golden("live-ascii-80x24", text)


def test_line_view_looks_as_before() -> None:
    now_ns = 0
    stream = io.StringIO()
    view = LineView(open_console(stream, {"LANG": "en"}), TITLE, clock=lambda: now_ns)
    view.start()
    for second in range(16):
        now_ns = second * NS_PER_S
        view.update(
            make_snapshot(
                phase="warm-up" if second < 2 else "measuring",
                elapsed_ns=now_ns,
                hops=make_hops(count=second * 5000) if second > 2 else (),
                messages=("the relay waits for Kafka: its queue is full",) if second > 8 else (),
            )
        )
    view.stop()
    assert_golden("lines", stream.getvalue())


def test_line_view_without_a_title_says_nothing_before_the_first_snapshot() -> None:
    stream = io.StringIO()
    LineView(open_console(stream, {})).start()
    assert stream.getvalue() == ""


widths = st.integers(60, 200)
scales = st.floats(1e-4, 1e6)
counts = st.integers(0, 10**10)
words = st.text(max_size=90)


@settings(max_examples=150, deadline=None)
@given(widths, scales, counts, words, st.booleans())
def test_no_line_of_a_report_is_wider_than_the_terminal(
    width: int, scale: float, count: int, word: str, ascii_only: bool
) -> None:
    result = make_result(
        status=RunStatus.FAILED,
        failure=word,
        hops=make_hops(scale=scale, count=count),
        config=make_config(symbols=(word, "TCS"), name=word),
        environment=make_environment(cpu_model=word),
    )
    text = plain(Report(result, [("invalid", word)], word).draw(width, Ink(ascii_only)))
    assert widest(text) <= width
    if count:
        assert all(re.search(rf"\b{re.escape(name)}\b", text) for name in STATISTICS)
        assert all(hop.name in text for hop in HOPS)
    if ascii_only:
        text.encode("ascii")


@settings(max_examples=150, deadline=None)
@given(widths, st.integers(2, 60), scales, counts, st.lists(words, max_size=4), st.booleans())
def test_live_view_never_outgrows_the_terminal(
    width: int, height: int, scale: float, count: int, messages: list[str], ascii_only: bool
) -> None:
    snapshot = make_snapshot(
        hops=make_hops(scale=scale, count=count),
        sent=count,
        consumed=count,
        messages=tuple(messages),
        e2e_p99_per_second_ns=tuple(range(0, count % 60 * 1000, 1000)),
    )
    text = frame(snapshot, width, height, ascii_only=ascii_only)
    assert 0 < text.count("\n") < height
    assert widest(text) <= width


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


def test_a_report_without_measured_ticks_shows_no_figures() -> None:
    nothing = make_result(
        status=RunStatus.INTERRUPTED, hops=make_hops(count=0), tail=None, measured_ns=0
    )
    text = printed(Report(nothing), 80)
    assert text.startswith("INTERRUPTED; no tick was measured before that\n")
    assert "No tick was measured." in text
    assert "Where the time goes" not in text


def test_a_recovered_run_says_so_first() -> None:
    text = printed(Report(make_result(status=RunStatus.RECOVERED)), 120)
    assert text.startswith("RECOVERED from what a killed run left behind; the figures cover")


def test_an_invalid_measurement_says_so_in_the_heading() -> None:
    text = printed(Report(make_result(), [("invalid", "a ring was full 3 times")]), 120)
    assert "complete, but not a valid measurement" in text.splitlines()[1]


def test_findings_that_weigh_most_come_first() -> None:
    found = [("info", "third"), ("invalid", "first"), ("warning", "second")]
    text = printed(Report(make_result(), found), 120)
    assert text.index("first") < text.index("second") < text.index("third")


def test_without_a_tail_the_shares_of_all_ticks_are_shown_alone() -> None:
    text = printed(Report(make_result(tail=None)), 80)
    assert "mean of all ticks" in text
    assert "slowest" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "btc.jsonl", "speed": 1.0}, "at its own speed, 5,000 ticks/s achieved"),
        ({"source": "btc.jsonl", "speed": 2.5, "loop": True}, "at 2.5× its own speed"),
        ({"source": "btc.jsonl", "speed": MAX_SPEED}, "as fast as the pipeline took it"),
        ({"source": "btc.jsonl", "loop": True}, "replay of btc.jsonl, again and again"),
        ({"producer": {"batch.size": "1"}, "linger_ms": 0.5}, "linger 0.5 ms, compression none, b"),
        ({"consumer": {"fetch.wait.max.ms": "5"}}, "fetch.wait.max.ms=5"),
        ({"pin": (0, 1)}, "to CPUs 0, 1"),
    ],
)
def test_the_scenario_is_told(changes: dict[str, object], told: str) -> None:
    assert told in printed(Report(make_result(config=make_config(**changes))), 160)


def test_values_counted_apart_are_told() -> None:
    hops = (
        make_hop("schedule", negative=3),
        *make_hops()[1:-1],
        make_hop("service", out_of_range=1),
    )
    text = printed(Report(make_result(hops=hops)), 160)
    assert "in no figure above: 3 of schedule below 0, 1 of service above 24 h" in text


def test_backpressure_of_the_generator_is_told() -> None:
    counts = make_counts(generator_backpressure=1, generator_backpressure_ns=1_500_000)
    text = printed(Report(make_result(counts=counts)), 160)
    assert "the generator waited for the relay once, 1.50 ms in all" in text


def test_uncommitted_changes_are_told() -> None:
    environment = make_environment(git_revision="2419d19+", governor="", memory_bytes=0)
    text = printed(Report(make_result(environment=environment)), 160)
    assert "git 2419d19, uncommitted changes" in text
    assert "governor" not in text


def test_terminal_escapes_in_a_text_are_not_printed() -> None:
    failed = make_result(status=RunStatus.FAILED, failure="\x1b[2Jgone\nnext line")
    text = printed(Report(failed), 80)
    assert "\x1b" not in text
    assert text.startswith("FAILED: ?[2Jgone next line;")


def test_piped_output_has_a_row_a_hop_and_no_escapes() -> None:
    stream = io.StringIO()
    console = open_console(stream, {})
    console.print(report(make_result()))
    assert console.width == PIPED_WIDTH
    assert "\x1b" not in stream.getvalue()
    assert re.search(r"^kafka +T3 .* ms ", stream.getvalue(), re.MULTILINE)


def test_no_color_leaves_out_colours() -> None:
    stream = Terminal()
    environ = {"NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    open_console(stream, environ).print(report(LOST))
    styles = {
        code
        for codes in re.findall(r"\x1b\[([\d;]*)m", stream.getvalue())
        for code in codes.split(";")
    }
    assert styles <= {"0", "1", "2"}  # bold and dim remain


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


def test_a_terminal_gets_the_live_view_and_anything_else_lines() -> None:
    environ = {"TERM": "xterm", "FORCE_COLOR": "1"}
    assert isinstance(open_view(open_console(Terminal(), environ), "", embedded=False), LiveView)
    for stream, changed in ((io.StringIO(), environ), (Terminal(), {"TERM": "dumb"})):
        view = open_view(open_console(stream, changed), "", embedded=False)
        assert isinstance(view, LineView)


def live_console() -> tuple[Terminal, Console]:
    stream = Terminal()
    environ = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    return stream, open_console(stream, environ)


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_live_view_gives_the_terminal_back() -> None:
    stream, console = live_console()
    view = LiveView(console, TITLE, embedded=False)
    view.start()
    view.update(make_snapshot())
    assert stream.getvalue().startswith(HIDE)
    view.stop()
    view.stop()
    wiped = stream.getvalue().rpartition(SHOW)
    assert wiped[0].count(SHOW) == 0
    assert wiped[2] == "\r" + "\x1b[1A\x1b[2K" * 23


def test_live_view_gives_the_terminal_back_when_drawing_fails() -> None:
    stream, console = live_console()
    view = LiveView(console, TITLE, embedded=False)
    view.start()
    view.update(make_snapshot())
    with pytest.raises(ValueError, match="Cannot specify"):
        view.update(make_snapshot(sent="many"))
    assert SHOW in stream.getvalue()


def test_live_view_begins_anew_on_a_terminal_of_another_size() -> None:
    stream, console = live_console()
    view = LiveView(console, TITLE, embedded=False)
    view.start()
    view.update(make_snapshot())
    assert "\x1b[2J" not in stream.getvalue()
    console.size = (140, 40)
    view.update(make_snapshot())
    view.stop()
    assert stream.getvalue().count("\x1b[2J") == 1
    assert max(map(cell_len, Text.from_ansi(stream.getvalue()).plain.splitlines())) > 130


def test_live_view_without_an_end_in_sight_shows_the_time_so_far() -> None:
    text = frame(make_snapshot(total_ns=None), 80, 24)
    assert text.startswith("measuring  0:34 so far, to the end of the source\n")


def test_processes_that_died_are_named_where_there_is_room_for_one_line() -> None:
    text = frame(make_snapshot(stages=make_stages(died="relay") * 4), 80, 24)
    assert "relay, relay, relay, relay died   12 running" in text


def test_processes_that_died_are_counted_where_even_their_names_are_too_many() -> None:
    text = frame(make_snapshot(stages=make_stages(died="relay") * 12), 80, 24)
    assert "12 died   36 running" in text


def test_line_view_without_an_end_in_sight_shows_the_time_so_far() -> None:
    assert draw_line(make_snapshot(total_ns=None)).startswith("measuring  0:34    5,000/s")


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
