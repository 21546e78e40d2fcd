"""`--profile` from the command line to the configuration of a run; nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latbench.batch import wasm
from latbench.cli import conduct
from latbench.cli.profiles import NAMES
from latbench.config import RunConfig
from tests.cli import Caller

MS = 1_000_000
PLAIN = {
    "linger_ms": 0.0,
    "coalesce_ns": 0,
    "compression": "none",
    "realtime": False,
    "hiccups": True,
}
LATENCY = {**PLAIN, "coalesce_ns": 500_000, "realtime": True, "hiccups": False}
THROUGHPUT = {
    **PLAIN,
    "linger_ms": 5.0,
    "coalesce_ns": 2 * MS,
    "compression": "lz4",
    "hiccups": False,
}


class Configured:
    """Stands for the run: keeps the configuration that the command line came to."""

    def __init__(self, call: Caller, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._call = call
        self._cwd = cwd
        self.config: RunConfig | None = None
        monkeypatch.setattr(conduct, "conduct", self._keep)

    def _keep(self, config: RunConfig, *_: Any, **__: Any) -> int:
        self.config = config
        return 0

    def __call__(self, *arguments: object) -> dict[str, Any]:
        """What a profile may set, as it is after `latbench run ARGUMENTS`."""
        run = self._call("run", *arguments, cwd=self._cwd)
        assert run.code == 0, run.talk
        assert self.config is not None
        return {name: getattr(self.config, name) for name in PLAIN}

    def toml(self, text: str) -> tuple[str, Path]:
        """A file of options, as `--config` wants it."""
        path = self._cwd / "latbench.toml"
        path.write_text(text)
        return "--config", path


@pytest.fixture
def configured(
    call_latbench: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Configured:
    return Configured(call_latbench, tmp_path, monkeypatch)


def test_without_a_profile_nothing_is_set(configured: Configured) -> None:
    assert configured() == PLAIN


@pytest.mark.parametrize(("name", "values"), [("latency", LATENCY), ("throughput", THROUGHPUT)])
def test_a_profile_sets_what_goes_together(
    configured: Configured, name: str, values: dict[str, Any]
) -> None:
    assert configured("--profile", name) == values
    assert configured(*configured.toml(f'profile = "{name}"')) == values


@pytest.mark.parametrize(
    ("options", "file", "available", "compiled"),
    [
        ((), "", True, True),
        (("--compiled",), "compiled = false", True, True),
        (("--no-compiled",), "", True, False),
        ((), "compiled = false", True, False),
        (("--profile", "throughput", "--no-compiled"), "", True, False),
        ((), "", False, False),
        (("--compiled",), "", False, False),
    ],
)
def test_compiled_code_is_used_where_it_can_run_unless_told_otherwise(
    configured: Configured,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    file: str,
    available: bool,
    compiled: bool,
) -> None:
    monkeypatch.setattr(wasm, "is_available", lambda: available)
    configured(*configured.toml(file), *options)
    assert configured.config is not None
    assert configured.config.compiled is compiled


def test_every_profile_is_tested_here() -> None:
    assert set(NAMES) == {"latency", "throughput"}


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        (("--linger", "1"), {"linger_ms": 1.0}),
        (("--linger", "0"), {"linger_ms": 0.0}),
        (("--coalesce", "0"), {"coalesce_ns": 0}),
        (("--coalesce", "1.5"), {"coalesce_ns": 1_500_000}),
        (("--realtime",), {"realtime": True}),
        (("--hiccups",), {"hiccups": True}),
    ],
)
def test_the_command_line_wins_over_a_profile(
    configured: Configured, option: tuple[str, ...], changed: dict[str, Any]
) -> None:
    assert configured("--profile", "throughput", *option) == {**THROUGHPUT, **changed}
    assert configured(*option, "--profile", "throughput") == {**THROUGHPUT, **changed}
    of_file = configured.toml('profile = "throughput"')
    assert configured(*of_file, *option) == {**THROUGHPUT, **changed}


def test_a_file_wins_over_a_profile_whichever_is_written_first(configured: Configured) -> None:
    profile = ("--profile", "throughput")
    file = configured.toml("linger = 1\nrealtime = true\nhiccups = true\n")
    wanted = {**THROUGHPUT, "linger_ms": 1.0, "realtime": True, "hiccups": True}
    assert configured(*profile, *file) == wanted
    assert configured(*file, *profile) == wanted
    within = configured.toml('linger = 1\nprofile = "throughput"\nrealtime = true\nhiccups = true')
    assert configured(*within) == wanted


def test_a_profile_of_the_command_line_wins_over_that_of_a_file(configured: Configured) -> None:
    file = configured.toml('profile = "throughput"\n')
    assert configured(*file, "--profile", "latency") == LATENCY
    assert configured("--profile", "latency", *file) == LATENCY


@pytest.mark.parametrize("in_file", [False, True])
def test_the_environment_wins_over_a_file_and_leaves_the_profile(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, in_file: bool
) -> None:
    monkeypatch.setenv("TICK_RATE", "200")
    monkeypatch.setenv("DURATION", "100ms")
    named = 'profile = "latency"\n' if in_file else ""
    file = configured.toml('tick-rate = 100\nduration = "9s"\n' + named)
    more = () if in_file else ("--profile", "latency")
    assert configured(*file, *more) == LATENCY
    assert configured.config is not None
    assert configured.config.tick_rate_hz == 200
    assert configured.config.duration_ns == 100 * MS


def test_a_profile_that_is_not_there_is_told_in_a_line(
    configured: Configured, call_latbench: Caller, tmp_path: Path
) -> None:
    for options in (("--profile", "fast"), configured.toml('profile = "fast"')):
        run = call_latbench("run", *options, cwd=tmp_path)
        assert run.code == 2
        assert run.stdout == ""
        assert run.stderr.splitlines() == [
            "error: --profile 'fast' is not there",
            "hint: choose from latency, throughput",
        ]


@pytest.mark.parametrize("value", ["-1", "1001", "nan", "much", ""])
def test_a_wrong_moment_to_coalesce_is_told_in_a_line(
    call_latbench: Caller, tmp_path: Path, value: str
) -> None:
    run = call_latbench("run", f"--coalesce={value}", cwd=tmp_path)
    assert run.code == 2
    assert run.stderr.splitlines() == [
        f"error: --coalesce {value!r} is not a number of milliseconds from 0 to 1,000",
        "hint: write --coalesce 1",
    ]
