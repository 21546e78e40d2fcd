"""The example workflow: that it is YAML of the right shape, and calls what there is."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from latbench.cli import COMMANDS
from latbench.cli.export_formats import Format
from latbench.thresholds import parse_limit
from tests.test_docs import options_of

WORKFLOW = Path(__file__).parent.parent / ".github" / "workflows" / "latency.yml"


def workflow() -> dict[Any, Any]:
    content = yaml.safe_load(WORKFLOW.read_text())
    assert isinstance(content, dict)
    return content


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each call of latbench: its command and the words after it."""
    for step in steps():
        for line in step.get("run", "").splitlines():
            words = shlex.split(line)
            for place, word in enumerate(words):
                if word.rpartition("/")[2] == "latbench" and words[place + 1 :]:
                    if words[place - 1].startswith("--") and place:
                        continue  # an option's value
                    yield words[place + 1], words[place + 2 :]
                    break


def test_it_runs_exports_and_gates() -> None:
    called = [name for name, _ in commands()]
    assert called == ["run", *["export"] * 3, "ab", *["export"] * 3]


def test_every_option_that_it_gives_is_there() -> None:
    missing: dict[str, set[str]] = {}
    for name, words in commands():
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = set(options_of(name)) if name in COMMANDS else set()
        if unknown := given - known:
            missing.setdefault(name, set()).update(unknown)
    assert missing == {}


def test_every_value_that_it_gives_can_be() -> None:
    limits, formats = [], []
    for _, words in commands():
        for option, value in itertools.pairwise(words):
            if option == "--fail-on":
                limits.append(parse_limit(value))
            if option == "--format":
                formats.append(Format(value))
    assert len(limits) == 3
    assert len(set(limits)) == 1, "the same limit in all steps"
    assert formats == [Format.MARKDOWN, Format.JUNIT, Format.HTML] * 2


def test_it_runs_on_pushes_and_pull_requests_with_the_least_rights() -> None:
    content = workflow()
    assert set(content[True]) == {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    assert content["permissions"] == {"contents": "read"}
    assert content["jobs"]["gate"]["if"] == "${{ github.event_name == 'pull_request' }}"
    assert all(job["timeout-minutes"] <= 30 for job in content["jobs"].values())


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.get("name") or step.get("uses", ""))
def test_a_step_runs_or_uses_something_of_a_known_version(step: dict[str, Any]) -> None:
    assert ("run" in step) != ("uses" in step)
    if "uses" in step:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_no_text_of_a_pull_request_becomes_shell() -> None:
    assert [step for step in steps() if "${{" in step.get("run", "")] == []


def test_the_report_is_shown_also_where_a_limit_was_broken() -> None:
    after = [step for step in steps() if "run.parquet" in str(step) and "run " not in str(step)]
    shown = [step for step in steps() if step.get("run", "").startswith("latbench export")]
    assert len(shown) == 3
    assert all("!cancelled()" in step["if"] for step in [*after, *shown])


def test_the_verdict_is_shown_and_kept_whatever_it_is() -> None:
    gate = workflow()["jobs"]["gate"]["steps"]
    place = next(number for number, step in enumerate(gate) if "latbench ab" in str(step))
    made = shlex.split(gate[place]["run"])
    file = made[made.index("--output") + 1]
    after = gate[place + 1 :]
    assert [step["if"] for step in after[:3]] == [
        f"${{{{ always() && hashFiles('{file}') != '' }}}}"
    ] * 3
    written = []
    for step in after[:3]:
        words = shlex.split(step["run"])
        assert words[1:3] == ["export", file]
        written += [words[words.index("--output") + 1]] if "--output" in words else []
    (kept,) = [step for step in after if step.get("uses", "").startswith("actions/upload-artifact")]
    assert kept["if"] == "${{ always() }}"
    assert kept["with"]["path"].split() == [*written, file]


def test_what_is_annotated_once_is_not_annotated_again() -> None:
    exports = [words for name, words in commands() if name == "export" and "markdown" in words]
    assert len(exports) == 2
    assert all("--no-annotations" in words for words in exports)
