"""The rules of the house that tools can check: style, types, layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="lint"),
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["mypy"], id="types"),
        pytest.param(["lint-imports"], id="layers"),
    ],
)
def test_the_code_keeps_the_rules(command: list[str]) -> None:
    tool, *arguments = command
    done = subprocess.run(
        [TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
