"""What the run's processes used of the machine, and what the machine and latbench took of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from latbench.clock import NS_PER_S
from latbench.render.grid import Column, draw_grid, text_column
from latbench.render.hops import (
    HICCUP,
    LATENCY_WIDTH,
    NOT_AVAILABLE,
    Statistic,
    latency_spans,
    only,
)
from latbench.render.ink import Ink, Line, fields
from latbench.result import MachineFigures, ProcessFigures, RunResult
from latbench.units import format_count, format_latency, format_memory

_HICCUPS: Final = only("p50", "p99", "p99.9", "max")


def draw_machine(result: RunResult, width: int, ink: Ink) -> list[Line]:
    """A row a process; below it all CPUs, and what measuring itself took."""
    lines = _table(result.processes, width, ink) if result.processes else []
    lines += fields(machine_words(result), width, ink)
    return [[("Processes", "bold")], *lines] if lines else []


def _table(processes: Sequence[ProcessFigures], width: int, ink: Ink) -> list[Line]:
    def column(
        name: str, read: Callable[[ProcessFigures], str], group: str = "", worth: int = 0
    ) -> Column:
        return Column(name, [[_dimmed(read(each))] for each in processes], group, worth=worth)

    metered = any(each.hiccups is not None for each in processes)
    columns = [
        text_column("", [ink.text(each.process) for each in processes]),
        column("CPU", _cpu, "of a"),
        *(_hiccups(statistic, processes, ink) for statistic in _HICCUPS if metered),
        column("preempted", _preempted, worth=4),
        column("minor", lambda each: format_count(each.minor_faults), "faults", worth=1),
        column("major", lambda each: format_count(each.major_faults), "faults", worth=5),
        column("RSS", lambda each: format_memory(each.peak_rss_bytes), "peak", worth=6),
        column("files", lambda each: format_count(each.descriptors), "open", worth=3),
    ]
    return draw_grid(columns, width, ink)


def _hiccups(statistic: Statistic, processes: Sequence[ProcessFigures], ink: Ink) -> Column:
    cells = []
    for each in processes:
        is_known = each.hiccups is not None and each.hiccups.count
        value = statistic.read(each.hiccups) if each.hiccups is not None and is_known else None
        cells.append(latency_spans(value, LATENCY_WIDTH, "", ink))
    return Column(statistic.name, cells, HICCUP, worth=2 if statistic.name == "p50" else 0)


def _cpu(process: ProcessFigures) -> str:
    return f"{process.cpu_share:.0%}" if process.span_ns else NOT_AVAILABLE


def _preempted(process: ProcessFigures) -> str:
    if not process.span_ns:
        return NOT_AVAILABLE
    return f"{process.involuntary_switches * NS_PER_S / process.span_ns:,.1f}/s"


def _dimmed(text: str) -> tuple[str, str]:
    return (text, "dim" if text == NOT_AVAILABLE else "")


def _share(share: float) -> str:
    """A share in per cent; a small one keeps a decimal."""
    percent = share * 100
    if 0 < percent < 0.05:
        return "under 0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def machine_words(result: RunResult) -> Iterable[tuple[str, str]]:
    """What all CPUs did, and what measuring took of a tick."""
    if result.machine is not None:
        yield "all CPUs", _of_machine(result.machine, _others(result))
    if result.own_cost_ns:
        yield "own cost", _own_cost(result)


def _others(result: RunResult) -> float:
    """CPUs in use by what is no process of this run."""
    ours = sum(each.cpu_share for each in result.processes)
    busy = result.machine.busy if result.machine is not None else 0.0
    return max(busy * result.environment.cpus - ours, 0.0)


def _of_machine(machine: MachineFigures, others: float) -> str:
    return (
        f"{_share(machine.busy)} busy ({_share(others)} of a CPU by other processes, such as a "
        f"broker here), {_share(machine.steal)} stolen by the hypervisor, "
        f"{_share(machine.iowait)} waiting for a disk"
    )


def _own_cost(result: RunResult) -> str:
    each = ", ".join(
        f"{stage} {format_latency(cost_ns)}" for stage, cost_ns in result.own_cost_ns.items()
    )
    told = f"latbench's own work on a tick that comes alone: {each}"
    p50_ns = result.hop("end_to_end").percentiles_ns.get("p50")
    if p50_ns:
        told += f", {_share(sum(result.own_cost_ns.values()) / p50_ns)} of end_to_end's p50"
    return told
