"""What was run, on what: configuration, broker, machine, processes; folded at the page's end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from latbench.clock import NS_PER_S
from latbench.config import RunConfig
from latbench.likeness import differences, mismatches
from latbench.render.clients import Station, batches_in_words, stations, title
from latbench.render.comparison_words import listed
from latbench.render.hops import NOT_AVAILABLE
from latbench.render.html.markup import Markup, element, join, latency, paragraph, table, text
from latbench.render.html.sides import Shown
from latbench.render.machine import machine_words
from latbench.result import ClientFigures, RunResult
from latbench.units import format_count, format_duration, format_latency, format_memory

_MIXED: Final = "differs from run to run"
_NOBODYS: Final = ("boot_id",)


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """Names and values of one kind, of all sides."""

    title: str
    names: list[str]
    values: list[dict[str, str]]
    """A dictionary for each side."""

    @property
    def differing(self) -> list[str]:
        """The names whose values are not the same on all sides."""
        return [
            name
            for name in self.names
            if len({side.get(name, "") for side in self.values}) > 1
            or any(side.get(name) == _MIXED for side in self.values)
        ]


def gather(shown: Sequence[Shown]) -> list[Facts]:
    """Configuration, broker and environment of all sides."""
    return [
        _facts("Configuration", shown, lambda result: msgspec.to_builtins(result.config)),
        _facts("Broker", shown, lambda result: msgspec.to_builtins(result.broker)),
        _facts("Environment", shown, _environment),
    ]


def _facts(title: str, shown: Sequence[Shown], read: Any) -> Facts:
    values = [_merged([_flat(read(result)) for result in each.side.results]) for each in shown]
    names = list(dict.fromkeys(name for side in values for name in side))
    return Facts(title, names, values)


def _environment(result: RunResult) -> dict[str, Any]:
    told = msgspec.to_builtins(result.environment)
    libraries = told.pop("libraries")
    return {"latbench": result.latbench, **told, **libraries}


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _told(name, value) for name, value in values.items() if name not in _NOBODYS}


def _told(name: str, value: Any) -> str:
    match value:
        case None:
            told = ""
        case bool():
            told = "yes" if value else "no"
        case int() if name.endswith("_ns"):
            is_short = 0 < value < NS_PER_S // 10
            told = format_latency(value) if is_short else format_duration(value)
        case int() if name == "memory_bytes":
            told = format_memory(value)
        case int() if name == "tick_rate_hz":
            told = format_count(value)
        case float():
            told = f"{value:g}"
        case dict():
            told = ", ".join(f"{key}={each}" for key, each in value.items())
        case list() | tuple():
            told = ", ".join(map(str, value))
        case _:
            told = str(value)
    return told or "–"


def _merged(runs: Sequence[dict[str, str]]) -> dict[str, str]:
    """What is the same in all runs of a side."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {
        name: runs[0].get(name, "–") if len({run.get(name) for run in runs}) == 1 else _MIXED
        for name in names
    }


def draw_facts(facts: Facts, shown: Sequence[Shown]) -> Markup:
    """Names and values, a column a side; rows that differ are marked."""
    header = [text(""), *(text(each.label if each.letter else "") for each in shown)]
    differing = set(facts.differing)
    rows = [
        (
            [text(name), *(text(side.get(name, "–")) for side in facts.values)],
            "differs" if name in differing else "",
        )
        for name in facts.names
    ]
    return element("div", table(header, rows, label=facts.title), class_="facts")


def differences_in_words(shown: Sequence[Shown]) -> str:
    """`linger 0 ms → 5 ms`, for all that is not the same on both sides, as `compare` tells it."""
    base, new = (each.side.results for each in shown)
    found = [*mismatches(base, new), *differences(base, new)]
    told = [f"{name} {words}" for name, words in listed(found)]
    return "; ".join(told) or "nothing that makes another measurement"


def draw_clients(client: ClientFigures, config: RunConfig) -> Markup:
    """Where the Kafka hop goes, by what the clients count themselves."""
    rows = [
        ([text(each.name), latency(each.mean_ns), _most(each), text(each.words)], "")
        for each in stations(client, config)
    ]
    header = [text("station"), text("mean"), text("max"), text("")]
    notes = [paragraph("By librdkafka's own count; times overlap, so they don't add up.", "note")]
    if batches := batches_in_words(client):
        notes.append(paragraph(f"Batches: {batches}.", "note"))
    return join([table(header, rows, label=title(config)), *notes])


def _most(station: Station) -> Markup:
    """The maximum; a dash where only the mean is counted."""
    is_unknown = station.max_ns is None and station.mean_ns is not None
    return text("–") if is_unknown else latency(station.max_ns)


def draw_processes(result: RunResult) -> Markup:
    """A row a process, then the machine and what measuring took."""
    rows = []
    for each in result.processes:
        hiccups = each.hiccups if each.hiccups is not None and each.hiccups.count else None
        switches = each.involuntary_switches * NS_PER_S / each.span_ns if each.span_ns else None
        cells = [
            text(each.process),
            text(f"{each.cpu_share:.0%}" if each.span_ns else NOT_AVAILABLE),
            *(
                latency(hiccups.percentiles_ns.get(name)) if hiccups else text("–")
                for name in ("p50", "p99", "p99.9")
            ),
            latency(hiccups.max_ns) if hiccups else text("–"),
            text(NOT_AVAILABLE if switches is None else f"{switches:,.1f}/s"),
            text(format_count(each.major_faults)),
            text(format_memory(each.peak_rss_bytes)),
        ]
        rows.append((cells, ""))
    header = [
        text(name)
        for name in (
            "", "of a CPU", "hiccup p50", "p99", "p99.9", "max", "preempted", "major faults",
            "peak memory",
        )
    ]  # fmt: skip
    parts = [table(header, rows, label="Processes")] if rows else []
    parts += [paragraph(f"{label}: {words}", "note") for label, words in machine_words(result)]
    return join(parts)
