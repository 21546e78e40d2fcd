"""A run while it goes on, against `tests/golden/`; `LATBENCH_UPDATE_GOLDEN=1` writes that anew."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from latbench.clock import NS_PER_S
from latbench.render.console import open_console
from latbench.render.lines import LineView, draw_line
from latbench.render.live import LiveView
from latbench.render.view import open_view
from latbench.result import StageSnapshot
from tests.rendering import (
    TITLE,
    Terminal,
    assert_golden,
    frame,
    widest,
)
from tests.results import (
    make_hiccups,
    make_hops,
    make_snapshot,
    make_stages,
)

scales = st.floats(1e-4, 1e6)
counts = st.integers(0, 10**10)
words = st.text(max_size=90)
widths = st.integers(60, 200)


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
        phase="warm-up",
        elapsed_ns=NS_PER_S,
        hops=(),
        e2e_p99_per_second_ns=(),
        messages=(),
        hiccups=make_hiccups(count=0),
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


OPEN_WARM_UP = make_snapshot(
    phase="warm-up",
    elapsed_ns=23 * NS_PER_S,
    total_ns=None,
    hops=(),
    e2e_p99_per_second_ns=(),
    is_warmup_open=True,
    hiccups=None,
    stages=make_stages(known=False),
)


def test_a_warm_up_without_a_known_end_says_what_it_waits_for() -> None:
    text = frame(OPEN_WARM_UP, 80, 24)
    assert text.startswith("warm-up    0:23 so far, until the latency has settled\n")
    assert draw_line(OPEN_WARM_UP).startswith("warm-up    0:23 until settled    5,000/s")


def test_hiccups_are_shown_when_known() -> None:
    assert "\nhiccup  p50 61.2 µs  p99  121 µs" in frame(make_snapshot(), 80, 24)
    assert "hiccup     platform  129,000" in frame(make_snapshot(), 140, 24)
    assert "hiccup" not in frame(make_snapshot(hiccups=None), 80, 24)


def test_hiccups_give_way_to_the_ticks() -> None:
    text = frame(make_snapshot(), 80, 10)
    assert "hiccup" not in text
    assert "\nticks " in text
    assert "hiccup" in frame(make_snapshot(), 80, 11)


def test_cpu_and_memory_are_shown_when_known() -> None:
    assert re.search(r"relay +4713  running    64% CPU    84 MiB\n", frame(make_snapshot(), 80, 40))
    assert "\nCPU use     supervisor 3%  generator 21%  relay" in frame(make_snapshot(), 80, 24)
    unknown = make_snapshot(stages=make_stages(known=False))
    assert "CPU" not in frame(unknown, 80, 40)
    assert "supervisor, generator, relay, consumer running" in frame(unknown, 80, 24)


def test_processes_of_the_embedded_broker_fit_a_line_too() -> None:
    broker = StageSnapshot(stage="broker", pid=1, state="running", cpu_share=1.0, rss_bytes=1 << 30)
    text = frame(make_snapshot(stages=(*make_stages(), broker)), 80, 24)
    assert text.endswith("  relay 64%  consumer 18%  broker 100%\n")
    assert widest(text) <= 80
