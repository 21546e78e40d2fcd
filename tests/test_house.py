"""The rules of the house that tools can check: style, types, layers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent


RULES = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "layers": ["lint-imports"],
}


@pytest.fixture(scope="module")
def checks() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The tools, all at work at the same time: most have one thread, and mypy takes longest."""
    with contextlib.ExitStack() as stack:
        yield {
            rule: stack.enter_context(
                subprocess.Popen(
                    [TOOLS / tool, *arguments],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for rule, (tool, *arguments) in RULES.items()
        }


@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps_the_rules(rule: str, checks: dict[str, subprocess.Popen[str]]) -> None:
    said, _ = checks[rule].communicate()
    assert checks[rule].returncode == 0, said


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_no_file_names_a_path_of_a_development_machine() -> None:
    homes = ("/" + "work/", "/" + "root/", "/" + "farm/", "/" + "home/")
    naming = [
        path.name
        for path in tracked_files()
        if path.is_file() and any(home in path.read_text(errors="ignore") for home in homes)
    ]
    assert naming == []


def test_the_ci_script_finds_its_command_in_the_readme() -> None:
    commands = [
        line for line in (ROOT / "README.md").read_text().splitlines() if line.endswith("pytest")
    ]
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv ")
