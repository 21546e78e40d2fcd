"""A run while it goes on, redrawn in place on a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live

from latbench.clock import NS_PER_S
from latbench.render.hops import HopTable, Statistic, only
from latbench.render.ink import (
    Ink,
    Line,
    left,
    paragraph,
    right,
    segments,
    width_of,
    wrap,
)
from latbench.result import Snapshot, StageSnapshot
from latbench.units import format_clock, format_count, format_latency, format_memory, format_rate

SECONDS_SHOWN: Final = 60

_GUTTER: Final = 12
_PHASE_WIDTH: Final = len("measuring")
_CHART_HEIGHT: Final = 5
_MAX_MESSAGES: Final = 3
_STATE_STYLES: Final = {"starting": "dim", "ready": "cyan", "done": "dim", "died": "bold red"}
_FEW: Final = only("p50", "p99", "p99.9", "max")
_MANY: Final = only("p50", "p90", "p99", "p99.9", "p99.99", "max", "mean")
_ALL: Final = only(
    "count", "rate", "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max", "mean",
    "stdev",
)  # fmt: skip


class LiveView:
    """Draws each snapshot over the last one; `stop` leaves nothing of it on the terminal."""

    def __init__(self, console: Console, title: str, *, embedded: bool) -> None:
        self._console = console
        self._title = title
        self._embedded = embedded
        self._live: Live | None = None
        self._size = (0, 0)

    def start(self) -> None:
        """Hide the cursor and take the lines below it."""
        self._size = (self._console.width, self._console.height)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            # stdout may be a file that waits for data; only talk on stderr is kept above the view
            redirect_stdout=False,
        )
        self._live.start()

    def update(self, snapshot: Snapshot) -> None:
        """Draw `snapshot`; if that fails, give the terminal back before anything else."""
        assert self._live is not None, "started"
        try:
            width, height = self._console.size
            if (width, height) != self._size:
                self._begin_anew()
            ink = Ink(self._console.options.ascii_only)
            lines = draw_frame(
                snapshot, width, height, ink, title=self._title, embedded=self._embedded
            )
            self._live.update(_Frame(lines), refresh=True)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Wipe the view off the terminal and show the cursor; again does nothing."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _begin_anew(self) -> None:
        # a terminal that got smaller has wrapped or scrolled what was drawn: Rich counts too few
        # lines of it, so that a part would stay; an empty screen is the one known state
        self._console.control(Control.clear(), Control.home())
        self.stop()
        self.start()


class _Frame:
    """Lines drawn already: printing them can't fail half-way."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from segments(self._lines, console)


@dataclasses.dataclass(slots=True)
class _Block:
    """A part of the view, in the largest of its forms that there was room for."""

    lines: list[Line] = dataclasses.field(default_factory=list)
    is_apart: bool = False
    """A blank line stands above."""

    @property
    def height(self) -> int:
        return len(self.lines) + self.is_apart


def draw_frame(
    snapshot: Snapshot, width: int, height: int, ink: Ink, *, title: str = "", embedded: bool
) -> list[Line]:
    """The lines of the view: at most `height` − 1 of them, so that the terminal never scrolls.

    Every part has forms of rising height. They are tried in order of worth, and each is taken if
    all still fits.
    """
    names = ("title", "progress", "table", "ticks", "chart", "stages", "messages")
    blocks = {name: _Block() for name in names}

    def fits(name: str, lines: list[Line]) -> None:
        block = blocks[name]
        others = sum(other.height for other in blocks.values()) - len(block.lines)
        if others + len(lines) < height:
            block.lines = lines

    def table(
        statistics: Sequence[Statistic], *, short: bool = False, bare: bool = False
    ) -> list[Line]:
        hops = HopTable(
            snapshot.hops,
            embedded=embedded,
            hiccups=None if bare else snapshot.hiccups,
            statistics=statistics,
            notes=False,
        )
        return hops.draw_shortest(width, ink) if short else hops.draw(width, ink)

    upgrades: Sequence[tuple[str, Callable[[], list[Line]]]] = (
        ("progress", lambda: [_progress(snapshot, width, ink)]),
        ("table", lambda: table(_FEW, short=True, bare=True)),
        ("messages", lambda: _messages(snapshot, width, ink, 1)),
        ("ticks", lambda: _ticks(snapshot, width)),
        ("table", lambda: table(_FEW, short=True)),
        ("chart", lambda: _chart(snapshot, width, ink, 1)),
        ("stages", lambda: [_stages_line(snapshot.stages, width, ink)]),
        ("table", lambda: table(_MANY)),
        ("table", lambda: table(_ALL)),
    )
    for name, draw in upgrades:
        fits(name, draw())
    for name in ("table", "ticks", "stages", "chart", "messages"):
        if blocks[name].lines and sum(other.height for other in blocks.values()) + 1 < height:
            blocks[name].is_apart = True
    for name, draw in (
        ("title", lambda: [*paragraph(title, width, ink, style="bold"), []] if title else []),
        ("messages", lambda: _messages(snapshot, width, ink, _MAX_MESSAGES)),
        ("stages", lambda: _stages_table(snapshot.stages, width, ink)),
        ("chart", lambda: _chart(snapshot, width, ink, _CHART_HEIGHT)),
    ):
        fits(name, draw())
    lines: list[Line] = []
    for block in blocks.values():
        lines += [*([[]] if block.is_apart else []), *block.lines]
    return lines


def _progress(snapshot: Snapshot, width: int, ink: Ink) -> Line:
    elapsed_ns = max(snapshot.elapsed_ns, 0)
    head: Line = [(left(ink.text(snapshot.phase), _PHASE_WIDTH), "bold"), ("  ", "")]
    if snapshot.is_warmup_open:
        return [*head, (f"{format_clock(elapsed_ns)} so far, until the latency has settled", "")]
    if snapshot.total_ns is None:
        return [*head, (f"{format_clock(elapsed_ns)} so far, to the end of the source", "")]
    total = format_clock(snapshot.total_ns)
    elapsed_ns = min(elapsed_ns, snapshot.total_ns)
    # the time left is that of the two figures shown: they must not seem to contradict each other
    left_ns = (snapshot.total_ns // NS_PER_S - elapsed_ns // NS_PER_S) * NS_PER_S
    times = (
        f"  {right(format_clock(elapsed_ns), len(total))} of {total}, "
        f"{right(format_clock(left_ns), len(total))} left"
    )
    share = elapsed_ns / snapshot.total_ns
    track = max(width - width_of(head) - len(times), 1)
    done, rest = ink.progress(share, track)
    return [*head, (done, "cyan"), (rest, "dim"), (times, "")]


def _ticks(snapshot: Snapshot, width: int) -> list[Line]:
    flow: Line = [
        (f"sent {format_rate(snapshot.rate_sent_hz)}, {format_count(snapshot.sent)} in all   ", ""),
        (f"consumed {format_rate(snapshot.rate_consumed_hz)}   ", ""),
        (f"in flight {format_count(snapshot.in_flight)}", ""),
    ]
    trouble: Line = []
    for number, what, style in (
        (snapshot.lost, "lost", "bold red"),
        (snapshot.duplicates, "duplicates", "yellow"),
        (snapshot.reordered, "reordered", "yellow"),
        (snapshot.errors, "errors", "bold red"),
    ):
        gap = "   " if trouble else ""
        trouble.append((f"{gap}{what} {format_count(number)}", style if number else "dim"))
    label: Line = [(left("ticks", _GUTTER), "dim")]
    blank: Line = [(" " * _GUTTER, "")]
    lines = [[*label, *flow, ("   ", ""), *trouble]]
    if width_of(lines[0]) > width:
        lines = [[*label, *flow], [*blank, *trouble]]
    if width_of(lines[0]) > width:
        lines = [[*label, *flow[:1]], [*blank, *flow[1:]], [*blank, *trouble]]
    return lines


def _chart(snapshot: Snapshot, width: int, ink: Ink, height: int) -> list[Line]:
    """End-to-end p99 of each of the last seconds, from 0 up; low and high stand beside it."""
    values = snapshot.e2e_p99_per_second_ns[-SECONDS_SHOWN:]
    label = left("p99 by sec", _GUTTER)
    known = [value for value in values if value]
    if not known:
        return [[(label, "dim"), ("no whole second measured yet", "dim")]]
    high, low = ink.text(format_latency(max(known))), ink.text(format_latency(min(known)))
    scale = f"  low {low}, high {high}"
    room = min(width - _GUTTER - (len(scale) if height == 1 else 10), SECONDS_SHOWN)
    shown = [0] * (room - len(values)) + list(values[-room:])
    rows = ink.chart(shown, max(known), height)
    if height == 1:
        return [[(label, "dim"), (rows[0], "cyan"), (scale, "")]]
    sides = [f" {high}", *[""] * (height - 2), " 0"]
    heads = [label, *(left(text, _GUTTER) for text in (f"last {SECONDS_SHOWN} s", f"low {low}"))]
    heads += [" " * _GUTTER] * (height - len(heads))
    return [
        [(head, "dim"), (row, "cyan"), (side, "dim")]
        for head, row, side in zip(heads, rows, sides, strict=True)
    ]


def _stages_line(stages: Sequence[StageSnapshot], width: int, ink: Ink) -> Line:
    for label, spans in (
        ("processes", _in_full(stages, ink)),
        ("CPU use", _cpus(stages, ink)),
    ):
        if spans and width_of(spans) + _GUTTER <= width:
            return [(left(label, _GUTTER), "dim"), *spans]
    # too long for a line: by state and without numbers; what died comes first and keeps its name
    names: dict[str, list[str]] = {}
    for stage in sorted(stages, key=lambda stage: stage.state != "died"):
        names.setdefault(stage.state, []).append(stage.stage)
    spans = []
    for named in (set(names), {"died"}, set[str]()):
        spans = []
        for state, some in names.items():
            told = ", ".join(some) if state in named else format_count(len(some))
            gap = "   " if spans else ""
            spans.append((gap + ink.text(f"{told} {state}"), _STATE_STYLES.get(state, "")))
        if width_of(spans) + _GUTTER <= width:
            break
    return [(left("processes", _GUTTER), "dim"), *spans]


def _in_full(stages: Sequence[StageSnapshot], ink: Ink) -> Line:
    spans: Line = []
    for stage in stages:
        cpu = f" {_cpu(stage)}" if _cpu(stage) else ""
        note = f" ({stage.note})" if stage.note else ""
        gap = "   " if spans else ""
        text = ink.text(f"{stage.stage} {stage.pid} {stage.state}{cpu}{note}")
        spans.append((gap + text, _STATE_STYLES.get(stage.state, "")))
    return spans


def _cpus(stages: Sequence[StageSnapshot], ink: Ink) -> Line:
    """Names and CPU alone, where all run and it is known of all."""
    if any(stage.state != "running" or stage.cpu_share is None for stage in stages):
        return []
    return [(ink.text("  ".join(f"{stage.stage} {_cpu(stage)}" for stage in stages)), "")]


def _cpu(stage: StageSnapshot) -> str:
    """CPU time over the last second, 100% being one CPU; "" while not known."""
    return f"{stage.cpu_share:.0%}" if stage.cpu_share is not None else ""


def _stages_table(stages: Sequence[StageSnapshot], width: int, ink: Ink) -> list[Line]:
    names = max((len(stage.stage) for stage in stages), default=0)
    room = width - _GUTTER - names - 22
    usages = [_usage(stage) for stage in stages]
    if max(map(len, usages), default=0) > room:
        usages = [""] * len(stages)
    lines: list[Line] = []
    for stage, usage in zip(stages, usages, strict=True):
        # what died uses nothing any more: its note takes that room
        note = wrap(ink.text(stage.note), max(room - len(usage), 1))[0]
        lines.append(
            [
                (left("processes" if not lines else "", _GUTTER), "dim"),
                (left(ink.text(stage.stage), names), ""),
                (f"  {stage.pid:>8}  ", "dim"),
                (left(ink.text(stage.state), 8), _STATE_STYLES.get(stage.state, "")),
                (f"  {usage}{note}", ""),
            ]
        )
    return lines


def _usage(stage: StageSnapshot) -> str:
    """CPU and memory in columns; "" while neither is known."""
    memory = format_memory(stage.rss_bytes) if stage.rss_bytes else ""
    return f"{right(_cpu(stage), 4)} CPU  {right(memory, 8)}  " if _cpu(stage) or memory else ""


def _messages(snapshot: Snapshot, width: int, ink: Ink, most: int) -> list[Line]:
    lines: list[Line] = []
    for text in snapshot.messages[-most:]:
        lines += paragraph(text, width, ink, style="yellow")
    if not lines and snapshot.phase in ("starting", "warm-up"):
        lines += paragraph("figures begin after the warm-up", width, ink, style="dim")
    return lines[:most]
