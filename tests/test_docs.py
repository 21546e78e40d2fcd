"""What the pages say of names and numbers, held against the code."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import typer

from latbench.broker import consumer_properties, producer_properties
from latbench.cli import build_app
from latbench.cli.export_formats import Format
from latbench.config import RunConfig
from latbench.errors import ExitCode
from latbench.export.prometheus import draw_prometheus
from latbench.export.tables import csv_columns
from latbench.findings import SEVERITY, Code
from latbench.floor import PROBES
from latbench.floor_session import FloorResult
from latbench.history_result import (
    Change,
    Differing,
    Event,
    History,
    HistoryRun,
    HopMove,
    Latest,
    Level,
    Listed,
    Scenario,
    Trend,
)
from latbench.result import Counts, Floor, HopSummary, RunResult, RunStatus
from latbench.result_folder import Kind, Skipped
from latbench.store import HISTOGRAMS_KEY, METADATA_KEY, SCHEMA
from latbench.sweep_file import SWEEP_COLUMNS
from latbench.tick import HOPS, Stamps
from latbench.tickfile import COLUMNS
from latbench.trend_key import Unused
from tests.results import make_result

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ALL_PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

OPTIONS_OF_OTHERS = {
    "--wait",  # docker compose
    "--quiet",  # pip
    "--editable",
    "--signal",  # timeout
}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int
    text: str


def fenced_blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page in its order."""
    blocks: list[Block] = []
    begun: tuple[str, int] | None = None
    body: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if not line.startswith("```"):
            body.append(line)
        elif begun is None:
            begun, body = (line.removeprefix("```").strip(), number), []
        else:
            blocks.append(Block(begun[0], begun[1], "\n".join(body) + "\n"))
            begun = None
    assert begun is None, f"{page.name}: the block of line {begun} has no end"
    return blocks


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page ends in, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names_in(page: Path) -> set[str]:
    """All that stands in backticks, whole and in its words."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    return {word for span in spans for word in [span, *re.findall(r"[\w.-]+", span)]}


def options_of(command: str) -> dict[str, str | None]:
    """A command's long options, and the environment variable of each."""
    found = typer.main.get_command(build_app()).commands[command]  # type: ignore[attr-defined]
    return {
        option: getattr(parameter, "envvar", None)
        for parameter in found.params
        for option in [*parameter.opts, *parameter.secondary_opts]
        if option.startswith("--") and option != "--help"
    }


def all_options() -> set[str]:
    commands = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]
    return {"--help", "--version"} | {option for name in commands for option in options_of(name)}


def options_of_scripts() -> set[str]:
    """Options of the scripts in a checkout that pages may name."""
    scripts = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").glob("*.py")]
    return {
        option
        for script in [*scripts, *DOCS.glob("*.py")]
        for option in re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", script.read_text())
    }


def links() -> Iterator[tuple[Path, str]]:
    for page in ALL_PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if not re.match(r"[a-z]+:", target):
                yield page, target


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for page, target in links():
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_option_that_a_page_names_is_there() -> None:
    known = all_options() | options_of_scripts() | OPTIONS_OF_OTHERS
    unknown = [
        f"{page.name}: {option}"
        for page in [ROOT / "README.md", *PAGES]
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.read_text())
        if option not in known
    ]
    assert unknown == []


@pytest.mark.parametrize(
    "command", ["run", "report", "selftest", "floor", "sweep", "compare", "history"]
)
def test_every_option_is_explained(command: str) -> None:
    assert set(options_of(command)) - names_in(DOCS / "running.md") == set()


@pytest.mark.parametrize("command", ["relay", "generate", "consume", "subscribe", "broker"])
def test_every_option_of_a_stage_is_explained(command: str) -> None:
    explained = names_in(DOCS / "stages.md") | names_in(DOCS / "relay.md")
    assert set(options_of(command)) - explained == set()


def test_every_option_of_a_session_is_explained() -> None:
    assert set(options_of("ab")) - names_in(DOCS / "gating.md") == set()


@pytest.mark.parametrize("command", ["export", "merge"])
def test_every_option_of_an_export_is_explained(command: str) -> None:
    assert set(options_of(command)) - names_in(DOCS / "export.md") == set()


def test_every_format_of_an_export_is_explained_with_a_command() -> None:
    page = (DOCS / "export.md").read_text()
    missing = [
        name for name in Format if f"| `{name}` |" not in page or f"--format {name} " not in page
    ]
    assert missing == []


def test_every_metric_family_is_named() -> None:
    text = draw_prometheus(make_result(hiccups=None), {})
    told = set(re.findall(r"^# TYPE (\w+) ", text, flags=re.MULTILINE))
    counts = {name for name in told if name.endswith("_ticks")}
    assert len(counts) == 9
    named = names_in(DOCS / "export.md")
    assert told - counts - named == set()
    assert {"latbench_sent_ticks", "latbench_lost_ticks", "latbench_hiccup_seconds"} <= named


def test_every_column_of_the_csv_is_named() -> None:
    added = set(csv_columns(SCHEMA.names)) - set(SCHEMA.names)
    assert added - names_in(DOCS / "export.md") == set()


def test_every_column_of_a_sweep_is_named() -> None:
    assert {name for name, _ in SWEEP_COLUMNS} - names_in(DOCS / "sweep.md") == set()


def test_all_of_a_history_is_named() -> None:
    kinds = (History, Listed, Scenario, HistoryRun, Trend, Level, Change, HopMove, Event)
    kinds += (Differing, Skipped)
    told = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
    told |= {*Unused, *Kind, *Latest}
    assert told - names_in(DOCS / "history.md") == set()


def test_every_environment_variable_stands_beside_its_option() -> None:
    page = (DOCS / "running.md").read_text()
    variables: dict[str, str] = {}
    for option, name in options_of("run").items():  # the first of an option's names
        if name is not None:
            variables.setdefault(name, option)
    assert len(variables) >= 8
    missing = [name for name, option in variables.items() if f"`{name}` | `{option}`" not in page]
    assert missing == []


def test_every_finding_stands_in_the_table_with_its_severity() -> None:
    page = (DOCS / "running.md").read_text()
    missing = [code for code in Code if f"\n| `{code}` | {SEVERITY[code]} |" not in page]
    assert missing == []


def test_every_exit_code_stands_in_the_table() -> None:
    page = (DOCS / "running.md").read_text()
    assert [code for code in ExitCode if f"\n| {int(code)} | " not in page] == []


def test_every_column_of_a_result_file_stands_in_the_table_with_its_type() -> None:
    page = (DOCS / "result-file.md").read_text()
    types = {"dictionary<values=string, indices=int32, ordered=0>": "string, dictionary"}
    missing = [
        field.name
        for field in SCHEMA
        if f"\n| `{field.name}` | {types.get(str(field.type), str(field.type))} |" not in page
    ]
    assert missing == []


def test_all_of_the_metadata_is_named() -> None:
    names = names_in(DOCS / "result-file.md")
    told = {METADATA_KEY.decode(), HISTOGRAMS_KEY.decode(), *map(str, RunStatus)}
    for kind in (RunResult, HopSummary, Counts):
        told |= {field.name for field in msgspec.structs.fields(kind)}
    implied = {"hop", "relay_backpressure_ns", "generator_backpressure_ns"}
    assert told - names - implied == set()


def test_all_of_a_floor_is_named() -> None:
    kinds = (Floor, FloorResult)
    told = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}
    told |= {probe.name for probe in PROBES}
    assert told - names_in(DOCS / "floor.md") == set()


def test_every_member_of_a_message_is_named() -> None:
    stamps = {f"latbench.{field.name}" for field in msgspec.structs.fields(Stamps)}
    members = {*COLUMNS, *stamps, "latency_t1", "latency_t2", "product_id"}
    assert members - names_in(DOCS / "message.md") == set()


def test_every_hop_is_named_in_the_readme() -> None:
    assert {hop.name for hop in HOPS} - names_in(ROOT / "README.md") == set()


def test_every_column_of_a_recording_is_named() -> None:
    header = next(
        line for line in (DOCS / "replay.md").read_text().splitlines() if "timestamp," in line
    )
    assert header.split(",") == list(COLUMNS)


def test_every_property_that_is_set_is_told() -> None:
    config = RunConfig()
    properties = {**producer_properties(config, "b:1"), **consumer_properties(config, "b:1")}
    assert properties.keys() - names_in(DOCS / "kafka.md") == set()


@dataclasses.dataclass(frozen=True)
class Snippet:
    """A Python block, and where it stands."""

    page: Path
    block: Block

    def __str__(self) -> str:
        return f"{self.page.name}:{self.block.line}"


@pytest.mark.parametrize(
    "snippet",
    [
        Snippet(page, block)
        for page in PAGES
        for block in fenced_blocks(page)
        if block.language == "python"
    ],
    ids=str,
)
def test_a_snippet_is_python(snippet: Snippet) -> None:
    compile(snippet.block.text, str(snippet), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is_in(page: Path) -> None:
    known = {"sh", "python", "console", "text", "json", "toml", "csv", "yaml", "sql"}
    assert [block.line for block in fenced_blocks(page) if block.language not in known] == []
