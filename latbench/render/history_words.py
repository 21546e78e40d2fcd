"""The history of results in words: what a scenario is, what changed, and how sure that is."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.e_divisive import LEAST_VALUES, MIN_SEGMENT
from latbench.history import HICCUP, TOTAL
from latbench.history_result import (
    Change,
    Differing,
    Event,
    HistoryRun,
    HopMove,
    Latest,
    Trend,
)
from latbench.trend_key import SeriesKey, Unused
from latbench.units import format_latency, format_memory, format_rate

_NAMES: Final = {
    Unused.FAILED: "failed",
    Unused.INTERRUPTED: "interrupted",
    Unused.RECOVERED: "recovered from a killed run",
    Unused.RUNNING: "still running",
    Unused.DELAYS_INJECTED: "with injected delays",
    Unused.INVALID: "invalid",
}
_SMALLEST_P: Final = 1e-12


def when(unix_ns: int, *, to_the_minute: bool = True) -> str:
    """A moment in UTC: `2026-11-20 14:10`, or the day alone."""
    moment = datetime.datetime.fromtimestamp(unix_ns // NS_PER_S, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M}" if to_the_minute else f"{moment:%Y-%m-%d}"


def count_of(number: int, what: str) -> str:
    """`1 run`, `1,204 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def percent(magnitude: float) -> str:
    """A change with its sign: `+12.3 %`; from 1,000 % on as a factor."""
    return f"×{magnitude + 1:,.1f}" if magnitude >= 10 else f"{magnitude * 100:+.1f} %"


def p_value(p: float) -> str:
    """A probability that is small: `0.0004`, `3e-7`, `<1e-12`."""
    if p < _SMALLEST_P:
        return "<1e-12"
    if p >= 1e-4:
        return f"{p:.4f}"
    mantissa, _, exponent = f"{p:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def revisions(before: str, after: str) -> str:
    """`9f3c2d1e8a4b → 51aa0c97d2e3`; one that is the same on both sides is no cause."""
    if not before and not after:
        return "revision unknown"
    if before == after:
        return f"{after} on both sides"
    return f"{before or 'unknown'} → {after or 'unknown'}"


# --- scenarios ------------------------------------------------------------------------------------


def key_words(key: SeriesKey) -> dict[str, str]:
    """What a scenario is: texts by label, without what is as by default; every field is in one."""
    replay = key.source != "sim"
    speed = "as fast as it goes" if key.speed == 0 else f"{key.speed:g}× its speed"
    load = (
        f"replay of {key.source}, {speed}"
        if replay
        else f"{format_rate(key.tick_rate_hz)}, {key.arrivals}"
    )
    broker = "embedded broker"
    if key.broker != "embedded":
        broker = f"Kafka {key.broker_version} at {', '.join(key.broker_hosts)}"
    settings = [f"acks {key.acks}", f"linger {key.linger_ms:g} ms"]
    if key.compression != "none":
        settings.append(key.compression)
    settings += [f"{name}={value}" for name, value in key.producer]
    ways = [
        key.ws_engine,
        "" if key.ws_host == "127.0.0.1" else f"at {key.ws_host}",
        "" if key.kafka_client == "librdkafka" else key.kafka_client,
        "" if not key.coalesce_ns else f"coalesce {key.coalesce_ns / 1e6:g} ms",
        "spinning" if key.spin else "",
        "" if key.compiled else "without compiled code",
        "real-time" if key.realtime else "",
        "" if key.hiccups else "no hiccup meters",
        _subscribers(key),
        "a consumer alone" if key.consumer_alone else "",
        f"pinned to {','.join(map(str, key.pin))}" if key.pin else "",
    ]
    machine = [key.cpu_model, count_of(key.cpus, "CPU"), key.hostname or "any host"]
    return {
        "name": key.name,
        "load": load,
        "symbols": ", ".join(key.symbols),
        "broker": f"{broker}, {count_of(key.partitions, 'partition')}",
        "producer": ", ".join(settings),
        "consumer": ", ".join(f"{name}={value}" for name, value in key.consumer),
        "how": ", ".join(filter(None, ways)),
        "machine": ", ".join(machine),
    }


def _subscribers(key: SeriesKey) -> str:
    if not (key.subscribers or key.subscriber_queue or key.slow_client):
        return ""
    return f"{key.subscribers} subscribers, {key.slow_client} from {key.subscriber_queue} behind"


def told_apart(keys: Sequence[SeriesKey]) -> list[str]:
    """Each scenario by that which is not the same in all of them, beside its name and load."""
    words = [key_words(key) for key in keys]
    differing = [
        label
        for label in words[0]
        if label in {"name", "load"} or len({each[label] for each in words}) > 1
    ]
    return [" · ".join(filter(None, (each[label] for label in differing))) for each in words]


# --- trends ---------------------------------------------------------------------------------------


def latest(trend: Trend | None) -> str:
    """How the newest runs stand to those before, in a line."""
    if trend is None or not trend.runs:
        return "known of no run that is used: it takes more ticks a run, or better runs"
    count = len(trend.runs)
    if trend.latest is Latest.TOO_FEW_RUNS:
        are = "is" if count == 1 else "are"
        return (
            f"{count_of(count, 'run')} {are} too few to tell: it takes {LEAST_VALUES}, "
            f"{MIN_SEGMENT} on each side of a change"
        )
    level = format_latency(trend.levels[-1].median_ns)
    if trend.latest is Latest.UNCHANGED:
        return f"no change in {count_of(count, 'run')}, {level} at the median"
    change = trend.changes[-1]
    since = change.revision_after or "an unknown revision"
    return (
        f"{trend.latest} since {since} ({when(change.started_unix_ns, to_the_minute=False)}), "
        f"{count_of(change.runs_after, 'run')} ago: {format_latency(change.from_ns)} → {level}, "
        f"{percent(change.magnitude)}"
    )


# --- change points --------------------------------------------------------------------------------


def event_words(event: Event, shown: Sequence[Change]) -> Iterator[tuple[str, str]]:
    """What else is to be said of an event, as (label, text); `shown`: changes that have a row."""
    label = "hops"
    for change in event.changes:
        if change.hop == TOTAL and change in shown and change.moved:
            yield label, moved(change)
            label = ""
    others = [change for change in event.changes if change not in shown]
    if others:
        yield "also" if shown else "moved", _by_hop(others)
    if event.differing:
        yield "changed", ", ".join(map(_differing, event.differing))


def moved(change: Change) -> str:
    """Which hop moved with `end_to_end`, and whether the machine did."""
    parts = [move for move in change.moved if move.hop != HICCUP]
    told = [f"{move.hop} {_move(move)}" for move in parts if move.is_change_point]
    if told:
        text = f"{change.percentile}: {', '.join(told)}"
    elif parts:
        text = (
            f"{change.percentile}: none has a change point of its own here; {parts[0].hop} "
            f"differs most, {_move(parts[0])}"
        )
    else:
        text = f"{change.percentile}: not known of the parts"
    machine = next((each for each in change.moved if each.hop == HICCUP), None)
    if machine is not None and machine.is_change_point:
        text += f"; the machine's own timers changed as well (hiccup {_move(machine)})"
    return text


def _move(move: HopMove) -> str:
    return (
        f"{format_latency(move.from_ns)} → {format_latency(move.to_ns)} "
        f"({percent(move.to_ns / move.from_ns - 1)})"
    )


def _by_hop(changes: Sequence[Change]) -> str:
    """`kafka p50, p75 +16.1 to +16.7 %; ack p50 +15.2 %`: a hop's risings and fallings apart."""
    hops: dict[tuple[str, bool], list[Change]] = {}
    for change in changes:
        hops.setdefault((change.hop, change.is_worse), []).append(change)
    return "; ".join(
        f"{hop} {', '.join(each.percentile for each in told)} {_range(told)}"
        for (hop, _), told in hops.items()
    )


def _range(changes: Sequence[Change]) -> str:
    """From the smallest change to the greatest: `+16.1 to +16.7 %`."""
    magnitudes = sorted((change.magnitude for change in changes), key=abs)
    low, high = percent(magnitudes[0]), percent(magnitudes[-1])
    if low == high:
        return low
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} to {high}"


def _differing(each: Differing) -> str:
    match each.name:
        case "boot":
            return "the machine was rebooted"
        case "memory":
            before, after = (format_memory(int(value or 0)) for value in (each.before, each.after))
            return f"memory {before} → {after}"
        case _:
            return f"{each.name} {each.before or 'none'} → {each.after or 'none'}"


# --- runs -----------------------------------------------------------------------------------------


def not_used(runs: Sequence[HistoryRun]) -> str:
    """How many runs are in no trend, and why; "" where all are."""
    counts: dict[str, int] = {}
    for run in runs:
        if run.unused is not None:
            told = reason(run)
            counts[told] = counts.get(told, 0) + 1
    if not counts:
        return ""
    listed = ", ".join(f"{number:,} {told}" for told, number in counts.items())
    return f"{sum(counts.values()):,} of {count_of(len(runs), 'run')}: {listed}"


def reason(run: HistoryRun, *, whole: bool = False) -> str:
    """Why a run is not used: `invalid (ticks-lost)`; `whole`: with what a failed one said."""
    if run.unused is None:
        return ""
    told = _NAMES[run.unused]
    if run.why and (whole or run.unused is Unused.INVALID):
        return f"{told} ({run.why})"
    return told
