"""How a session makes a run by the command line, and what it makes of one that fails."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from latbench.ab import Runner, session
from latbench.ab_result import AbRun, Phase, Side, Variant
from latbench.comparison import Comparison
from latbench.endings import Endings
from latbench.errors import LatbenchError
from latbench.kept_broker import keep_broker
from latbench.probing import await_stage, check_stage
from latbench.signals import Interrupted
from tests.ab import make_plan
from tests.cli import is_gone, wait_until

WRITES = 'for output; do :; done; echo rows > "$output"\n'
"""The file is the last word of a run's command line."""


class Shell:
    """Stands for installations of latbench by scripts."""

    def __init__(self, directory: Path, endings: Endings) -> None:
        self.directory = directory
        self.log = directory / "run.log"
        self.output = directory / "run.parquet"
        self._endings = endings

    def variant(self, script: str, *options: str) -> Variant:
        path = self.directory / "latbench"
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
        return Variant(command=(str(path),), options=options)

    def run(self, script: str, *options: str, common: tuple[str, ...] = ()) -> None:
        self.run_variant(self.variant(script, *options), common=common)

    def run_variant(self, variant: Variant, *, common: tuple[str, ...] = ()) -> None:
        Runner(common, self.log, self._endings).run(variant, self.output)

    def failure(self, script: str) -> tuple[str, str]:
        with pytest.raises(LatbenchError) as told:
            self.run(script)
        return told.value.message, told.value.hint


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with Endings() as endings:
        yield Shell(tmp_path, endings)


def test_common_options_come_before_a_sides_own_and_the_sessions_last(shell: Shell) -> None:
    script = f'for word; do echo "<$word>"; done > {shell.directory}/words\n{WRITES}'
    shell.run(script, "--linger", "5 ms", common=("--tick-rate", "10"))
    words = (shell.directory / "words").read_text().split("\n")[:-1]
    options = ["--tick-rate", "10", "--linger", "5 ms", "--no-live", "--output", str(shell.output)]
    assert words == [f"<{word}>" for word in ("run", *options)]


@pytest.mark.parametrize("code", [0, 3, 4])
def test_a_run_that_measured_is_one_whatever_it_says_of_itself(code: int, shell: Shell) -> None:
    shell.run(f"{WRITES}exit {code}")
    assert shell.output.read_text() == "rows\n"


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_run_that_failed_is_none_though_there_is_a_file(code: int, shell: Shell) -> None:
    message, _ = shell.failure(f"{WRITES}exit {code}")
    assert message.endswith(f" run ended with exit code {code}")


def test_what_the_run_said_is_the_failure(shell: Shell) -> None:
    script = """
        echo 'noise' >&2
        echo 'error: no broker answers at x:1' >&2
        echo 'hint: start one' >&2
        exit 1
    """
    assert shell.failure(script) == ("no broker answers at x:1", "start one")
    assert shell.failure("echo 'error: it broke' >&2; exit 1") == ("it broke", "")


def test_one_that_said_nothing_is_told_by_its_code(shell: Shell) -> None:
    command = shell.directory / "latbench"
    assert shell.failure("exit 5") == (f"{command} run ended with exit code 5", "it said nothing")
    message, _ = shell.failure("kill -KILL $$")
    assert message == f"{command} run ended with signal 9"


def test_one_that_measured_nothing_and_was_content_is_a_failure(shell: Shell) -> None:
    message, hint = shell.failure("exit 0")
    assert message.endswith(" run ended with exit code 0")
    assert hint == "it said nothing"


def test_a_traceback_is_told_by_its_last_lines(shell: Shell) -> None:
    _, hint = shell.failure("for n in 1 2 3 4 5; do echo line $n >&2; echo >&2; done; exit 1")
    assert hint == "line 3; line 4; line 5"


def test_a_failure_shows_no_secret(shell: Shell) -> None:
    shell.variant("exit 5")
    command = ("env", "KAFKA_PASSWORD=hunter2", str(shell.directory / "latbench"))
    with pytest.raises(LatbenchError) as told:
        shell.run_variant(Variant(command=command, options=("--producer=sasl.password=hunter2",)))
    assert "hunter2" not in told.value.message + told.value.hint


def test_a_command_that_is_not_there_or_can_not_be_run_is_told(shell: Shell) -> None:
    with pytest.raises(LatbenchError) as told:
        shell.run_variant(Variant(command=("/no/such/latbench",), options=()))
    assert told.value.message == "/no/such/latbench can't be run: no such file or directory"
    assert told.value.hint == "name a latbench that is there"
    plain = shell.directory / "plain"
    plain.write_text("no program")
    with pytest.raises(LatbenchError, match="plain can't be run: permission denied"):
        shell.run_variant(Variant(command=(str(plain),), options=()))
    plain.chmod(0o755)
    with pytest.raises(LatbenchError, match="plain can't be run: exec format error"):
        shell.run_variant(Variant(command=(str(plain),), options=()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_to_the_run_and_ends_the_session(
    number: signal.Signals, shell: Shell
) -> None:
    with pytest.raises(Interrupted) as told:
        shell.run(f"echo $$ > {shell.directory}/pid; kill -{number} $PPID; exec sleep 60")
    assert told.value.signum == number
    assert is_gone(int((shell.directory / "pid").read_text()))


def test_what_a_wrapper_leaves_behind_is_ended_too(shell: Shell) -> None:
    with pytest.raises(Interrupted):
        shell.run(f"sleep 60 & echo $! > {shell.directory}/pid; kill -TERM $PPID; wait")
    pid = int((shell.directory / "pid").read_text())
    wait_until(lambda: is_gone(pid))


def test_a_run_that_ends_itself_in_order_when_asked_has_the_time_for_it(shell: Shell) -> None:
    script = f"""
        trap 'echo ended in order > {shell.directory}/told; kill $child; exit 130' INT
        sleep 60 & child=$!
        kill -INT $PPID
        wait $child
    """
    with pytest.raises(Interrupted):
        shell.run(script)
    assert (shell.directory / "told").read_text() == "ended in order\n"


def test_a_run_does_not_outlive_what_breaks_the_session(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def await_end(endings: Endings, process: subprocess.Popen[bytes]) -> int:
        started.append(process)
        raise RuntimeError("broken")

    monkeypatch.setattr(Endings, "await_end", await_end)
    with pytest.raises(RuntimeError, match="broken"):
        shell.run("exec sleep 60")
    assert started[0].returncode == -signal.SIGKILL


# --- the whole session


class Silent:
    """A watcher that shows nothing."""

    def begin(self, phase: Phase, pair: int, side: Side) -> None: ...

    def end(self, run: AbRun) -> None: ...

    def look(self, comparison: Comparison, pairs: int) -> None: ...


def test_a_session_whose_first_run_fails_leaves_nothing(tmp_path: Path) -> None:
    broken = Variant(command=("sh", "-c", "echo error: it broke >&2; exit 1"), options=())
    runs = tmp_path / "new" / "s.runs"
    with pytest.raises(LatbenchError, match="it broke"):
        session(make_plan(a=broken, b=broken), runs, Silent(), embedded=False)
    assert not runs.exists()


def test_a_signal_in_the_first_run_leaves_nothing(tmp_path: Path) -> None:
    ends = Variant(command=("sh", "-c", "kill -TERM $PPID; exec sleep 60"), options=())
    with pytest.raises(Interrupted):
        session(make_plan(a=ends, b=ends), tmp_path / "s.runs", Silent(), embedded=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_runs_that_were_kept_before_stay_where_they_are(keep: bool, tmp_path: Path) -> None:
    kept = tmp_path / "s.runs" / "003-measured-1-a.parquet"
    kept.parent.mkdir()
    kept.write_text("rows")
    broken = Variant(command=("false",), options=())
    with pytest.raises(LatbenchError, match="false run ended with exit code 1"):
        session(make_plan(a=broken, b=broken), kept.parent, Silent(), embedded=False, keep=keep)
    assert kept.read_text() == "rows"
    assert list(tmp_path.iterdir()) == [kept.parent]
    assert list(kept.parent.iterdir()) == [kept]


def test_a_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        LatbenchError, match=r"can't write \S+: (not a directory|file exists)$"
    ) as told:
        session(make_plan(), tmp_path / "file" / "s.runs", Silent(), embedded=False)
    assert told.value.hint == "choose --output"


# --- the broker that is kept


@pytest.mark.parametrize("breaks", [False, True])
def test_a_kept_broker_works_until_the_block_ends_however_that_is(
    breaks: bool, tmp_path: Path
) -> None:
    pid = 0
    try:
        with keep_broker(tmp_path) as process:
            pid = process.pid
            ready = await_stage(process, lambda: process.ready, lambda: check_stage(process))
            host, _, port = ready.bootstrap.rpartition(":")
            assert host == "127.0.0.1"
            assert int(port) > 0
            assert not process.ended
            if breaks:
                raise RuntimeError
    except RuntimeError:
        assert breaks
    wait_until(lambda: is_gone(pid))
    assert process.ended


def test_a_broker_that_has_died_is_told_of(tmp_path: Path) -> None:
    with keep_broker(tmp_path) as process:
        process.kill()
        with pytest.raises(LatbenchError, match=r"^the embedded broker died \(killed by SIGKILL"):
            await_stage(process, lambda: process.ready, lambda: None)
