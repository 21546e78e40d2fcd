"""The commands' table, and that a command imports no more than it needs."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from latbench.cli import COMMANDS, build_app

HEAVY = ("numpy", "pyarrow", "confluent_kafka", "hdrh", "uvloop", "asyncio", "latbench.supervisor")


def imported_by(words: list[str], of: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the modules `of` the command imports until it ends."""
    code = (
        f"import sys\nsys.argv = ['latbench', *{words}]\n"
        "from latbench.__main__ import main\n"
        "try:\n    main()\n"
        f"finally:\n    print(*[name for name in {of} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_sentence_is_its_docstrings_first(name: str) -> None:
    function = getattr(importlib.import_module(f"latbench.cli.{name}"), name)
    text = inspect.getdoc(function)
    assert text is not None
    assert " ".join(text.split("\n\n")[0].split()) == COMMANDS[name]


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]])
def test_help_and_version_import_nothing_that_measures(words: list[str]) -> None:
    assert imported_by(words) == []


def test_only_the_commands_that_are_named_are_there_with_their_options() -> None:
    commands = typer.main.get_command(build_app(["report", "x"])).commands  # type: ignore[attr-defined]
    assert list(commands) == list(COMMANDS)
    assert [name for name, command in commands.items() if command.params] == ["report"]
    complete = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]
    assert [name for name, command in complete.items() if not command.params] == ["broker"]


def test_completion_knows_every_option() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("latbench")],
        env={
            "_LATBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "latbench run --tick",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout.split() == ["--tick-rate"], done.stderr
