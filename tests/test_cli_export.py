"""`latbench export` and `latbench merge` as they are called."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from latbench.cli import html
from latbench.cli.export_formats import WAYS, Format
from latbench.recording import CONSUMER
from latbench.spool import spool_path
from latbench.store import HISTOGRAMS_KEY, METADATA_KEY, read_result
from latbench.sweep_file import write_sweep
from tests.cli import Caller, Finished, run_latbench
from tests.comparisons import write as write_plain
from tests.html_pages import PLOTLY, parsed, texts
from tests.rows import fill_spool, make_rows, make_stamps
from tests.stored import LOST, write_run
from tests.sweeps import make_sweep

TICKS = 14_000
GITHUB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
TEXTS = [each for each in Format if each is not Format.ARROW]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two valid runs, one that lost ticks and one that is short."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "a.parquet", ticks=TICKS)
    write_run(folder / "b.parquet", ticks=TICKS, seed=2)
    write_run(folder / "lost.parquet", ticks=TICKS, seed=3, gone=LOST)
    write_run(folder / "short.parquet", ticks=2500, seed=4)
    write_run(folder / "empty.parquet", ticks=3000, seed=5, gone={CONSUMER: set(range(3000))})
    return folder


@pytest.fixture(autouse=True)
def outside_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GITHUB:
        monkeypatch.delenv(name, raising=False)


def check_told(done: Finished, code: int, error: str, hint: str) -> None:
    """One line that tells the fact, one with the way out, nothing else."""
    assert done.code == code, done.talk
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second


@pytest.mark.parametrize("to", TEXTS)
def test_a_format_goes_to_stdout_and_nothing_else_does(
    to: Format, runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    printed = call_latbench("export", runs / "a.parquet", "--format", to, cwd=tmp_path)
    target = tmp_path / "out"
    written = call_latbench(
        "export", runs / "a.parquet", "--format", to, "--output", target, cwd=tmp_path
    )
    assert printed.code == written.code == 0
    assert printed.stderr == written.stdout == written.stderr == ""
    assert printed.stdout == target.read_text()
    assert printed.stdout.endswith("\n")
    assert list(tmp_path.iterdir()) == [target]


def shell(command: str, cwd: Path) -> tuple[int, str]:
    """What a line of bash ends with, and stderr; `latbench` is this one."""
    text = command.replace("latbench", f"{sys.executable} -m latbench")
    done = subprocess.run(
        ["bash", "-c", text], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr


def test_arrow_goes_through_a_pipe(runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.arrow"
    assert shell(f"latbench export a.parquet --format arrow | cat > {target}", runs) == (0, "")
    assert pa.ipc.open_file(target).read_all().num_rows == TICKS


def test_binary_is_not_written_to_a_terminal(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    done = call_latbench("export", "a.parquet", "--format", "arrow", cwd=runs)
    check_told(done, 2, "--format arrow is binary, and stdout is a terminal", "add --output FILE")


def test_a_reader_that_leaves_early_is_no_failure_to_tell(runs: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert shell(f"latbench export a.parquet --format csv | head -n 1 > {first}", runs) == (0, "")
    assert first.read_text().startswith("seq,symbol,")


def test_a_full_disk_is_told(runs: Path) -> None:
    code, told = shell("latbench export a.parquet --format csv > /dev/full", runs)
    assert code == 1
    assert told.splitlines() == [
        "error: can't write to stdout: no space left on device",
        "hint: add --output FILE",
    ]


def test_a_file_that_is_there_is_replaced_only_when_asked(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    target = tmp_path / "run.csv"
    target.write_text("mine")
    command = ("export", runs / "a.parquet", "--format", "csv", "--output", target)
    check_told(call_latbench(*command, cwd=tmp_path), 2, "is there already", "add --overwrite")
    assert target.read_text() == "mine"
    assert call_latbench(*command, "--overwrite", cwd=tmp_path).code == 0
    assert target.read_text().startswith("seq,")


@pytest.mark.parametrize("command", [("export", "--format", "csv"), ("merge",)], ids=lambda c: c[0])
def test_a_result_is_not_replaced_by_what_is_made_of_it(
    command: tuple[str, ...], runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    content = (runs / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content)
    (tmp_path / "link").symlink_to("a.parquet")
    for target in ("a.parquet", "link"):
        done = call_latbench(*command, "a.parquet", "--output", target, "--overwrite", cwd=tmp_path)
        check_told(done, 2, f"{target} is a result that is read", "choose another --output")
    assert (tmp_path / "a.parquet").read_bytes() == content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_what_was_there_and_nothing_else(
    number: signal.Signals, tmp_path: Path
) -> None:
    target = tmp_path / "run.csv"
    target.write_text("mine")
    code = (
        "import os, pathlib, signal, time\n"
        "from latbench.cli.writing import write_file\n"
        "def write(sink):\n"
        "    sink.write(b'half')\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(30)\n"
        f"write_file(pathlib.Path({str(target)!r}), write)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=20)
    assert done.returncode == 128 + number
    assert target.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_made_leaves_nothing_and_keeps_what_was_there(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    content = bytearray((runs / "a.parquet").read_bytes())
    content[500:9000] = bytes(8500)
    (tmp_path / "bad.parquet").write_bytes(content)
    target = tmp_path / "out" / "run.csv"
    target.parent.mkdir()
    target.write_text("mine")
    done = call_latbench(
        "export", "bad.parquet", "--format", "csv", "--output", target, "--overwrite", cwd=tmp_path
    )
    check_told(done, 1, "bad.parquet has damaged rows", "copy it again")
    assert target.read_text() == "mine"
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_told(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "run.csv"
    done = call_latbench(
        "export", runs / "a.parquet", "--format", "csv", "--output", target, cwd=tmp_path
    )
    check_told(done, 1, "can't write", "choose another --output")


@pytest.mark.parametrize("to", list(Format))
def test_a_directory_gets_a_file_for_each_run(
    to: Format, runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    files = [runs / "a.parquet", runs / "b.parquet"]
    command = ("export", *files, "--format", to, "--output", tmp_path)
    assert call_latbench(*command, cwd=tmp_path).code == 0
    names = {f"{name}.{WAYS[to].suffix}" for name in "ab"}
    assert {path.name for path in tmp_path.iterdir()} == names
    check_told(call_latbench(*command, cwd=tmp_path), 2, "is there already", "--overwrite")


def test_two_runs_of_one_name_are_not_written_over_each_other(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "to").mkdir()
    copy = tmp_path / "copy" / "a.parquet"
    copy.write_bytes((runs / "a.parquet").read_bytes())
    done = call_latbench(
        "export", runs / "a.parquet", copy, "--format", "csv", "--output", "to", cwd=tmp_path
    )
    check_told(done, 2, "two of the files would be written as to/a.csv", "one by one")
    assert list((tmp_path / "to").iterdir()) == []


def test_several_runs_fit_into_one_document_of_some_formats_only(
    runs: Path, call_latbench: Caller
) -> None:
    done = call_latbench("export", "a.parquet", "b.parquet", "--format", "csv", cwd=runs)
    check_told(done, 2, "--format csv holds one run, and 2 are named", "make a directory")
    done = call_latbench("export", "a.parquet", "b.parquet", "--format", "junit", cwd=runs)
    assert len(ET.fromstring(done.stdout)) == 2
    done = call_latbench("export", "a.parquet", "b.parquet", "--format", "markdown", cwd=runs)
    assert done.stdout.count("## latbench run ") == 2


def make_partial(folder: Path) -> Path:
    path = spool_path(folder / "killed.parquet")
    fill_spool(path, make_rows(make_stamps(100)))
    return path


@pytest.mark.parametrize("command", [("export", "--format", "csv"), ("merge",)], ids=lambda c: c[0])
def test_what_is_no_run_is_told_with_what_it_is(
    command: tuple[str, ...], call_latbench: Caller, tmp_path: Path
) -> None:
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    make_partial(tmp_path)
    (tmp_path / "text.parquet").write_text("no")
    for name, error, hint in (
        ("sweep.parquet", f"is of a sweep: {command[0]} takes runs", "latbench report"),
        ("killed.parquet.partial", "no result file yet", "killed.parquet.partial --save"),
        ("killed.parquet", "what its run has recorded is", "killed.parquet.partial --save"),
        ("none.parquet", "does not exist", "bench-results"),
        ("text.parquet", "is not a Parquet file", "name a result"),
    ):
        check_told(call_latbench(*command, name, cwd=tmp_path), 1, error, hint)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--format", "csv", "--fail-on", "p99 < 5ms"], "says nothing that fails", "p99 > 15ms"),
        (["--format", "hgrm", "--hop", "kafak"], "--hop 'kafak' is not there", "kafka"),
        (["--format", "csv", "--hop", "kafka"], "--hop has no meaning for --format csv", "all"),
        (
            ["--format", "xml"],
            "invalid value for '--format': 'xml' is not one of",
            "latbench export --help",
        ),
        ([], "missing option '--format'", "latbench export --help"),
    ],
)
def test_an_option_that_cannot_be_is_told(
    arguments: list[str], error: str, hint: str, runs: Path, call_latbench: Caller
) -> None:
    check_told(call_latbench("export", "a.parquet", *arguments, cwd=runs), 2, error, hint)


@pytest.mark.parametrize(
    ("name", "limits", "code", "told"),
    [
        ("a", ["p99 > 1s"], 0, ""),
        ("a", ["p99 > 1s", "kafka.p50 >= 1us"], 3, "broken: kafka.p50 is "),
        ("short", ["p99 > 1s"], 4, "unknown: fewer than 100 ticks lie above end_to_end.p99"),
        ("lost", ["p99 > 1us"], 4, "no limit says anything of it: the run is no valid"),
        ("lost", [], 0, ""),
    ],
)
@pytest.mark.parametrize("to", ["junit", "json"])
def test_a_limit_is_the_exit_code(
    to: str, name: str, limits: list[str], code: int, told: str, runs: Path, call_latbench: Caller
) -> None:
    options = [word for limit in limits for word in ("--fail-on", limit)]
    done = call_latbench("export", f"{name}.parquet", "--format", to, *options, cwd=runs)
    assert done.code == code, done.talk
    assert len(done.stderr.splitlines()) == bool(told)
    assert told in done.stderr
    assert done.stdout


def test_a_broken_limit_is_a_failure_in_junit(runs: Path, call_latbench: Caller) -> None:
    done = call_latbench(
        "export", "a.parquet", "--format", "junit", "--fail-on", "p50 > 1us", cwd=runs
    )
    (failed,) = [case for case in ET.fromstring(done.stdout).iter("testcase") if len(case) == 2]
    assert (failed.get("classname"), failed.get("name")) == ("latbench.end_to_end", "p50")


@pytest.mark.parametrize("hop", ["kafka", "hiccup"])
def test_a_distribution_is_of_the_hop_asked_for(
    hop: str, runs: Path, call_latbench: Caller
) -> None:
    done = call_latbench("export", "a.parquet", "--format", "hgrm", "--hop", hop, cwd=runs)
    assert done.code == 0
    told = call_latbench("report", "a.parquet", "--json", cwd=runs).result
    summary = {each["hop"]: each for each in [*told["hops"], told["hiccups"]]}[hop]
    assert f"Total count    = {summary['count']:12d}]" in done.stdout


def test_a_hop_without_a_tick_has_no_distribution(runs: Path, call_latbench: Caller) -> None:
    done = call_latbench("export", "empty.parquet", "--format", "hgrm", cwd=runs)
    check_told(done, 1, "empty.parquet has no latency of end_to_end", "choose another --hop")


@pytest.mark.parametrize("to", [each for each in TEXTS if each is not Format.HGRM])
def test_a_run_in_which_nothing_arrived_can_be_exported(
    to: Format, runs: Path, call_latbench: Caller
) -> None:
    done = call_latbench("export", "empty.parquet", "--format", to, cwd=runs)
    assert done.code == 0
    assert done.stdout


@pytest.mark.parametrize("to", ["hlog", "hgrm", "prometheus"])
def test_a_damaged_histogram_is_told_in_one_line(
    to: str, runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    table = pq.read_table(runs / "a.parquet")
    kept = pq.read_metadata(runs / "a.parquet").metadata
    histograms = msgspec.json.decode(kept[HISTOGRAMS_KEY])
    metadata = {
        METADATA_KEY: kept[METADATA_KEY],
        HISTOGRAMS_KEY: msgspec.json.encode(histograms | {"kafka": histograms["kafka"][:60]}),
    }
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "bad.parquet")
    done = call_latbench("export", "bad.parquet", "--format", to, cwd=tmp_path)
    check_told(done, 1, "bad.parquet has a damaged histogram of kafka", "run it again")


# --- on GitHub


def test_markdown_is_added_to_the_step_summary(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    plain = call_latbench("export", "a.parquet", "--format", "markdown", cwd=runs)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = call_latbench("export", "a.parquet", "--format", "markdown", cwd=runs)
    assert done.code == 0
    assert done.stdout == ""
    assert done.stderr == "added to $GITHUB_STEP_SUMMARY, not printed\n"
    assert summary.read_text() == "before\n" + plain.stdout
    target = tmp_path / "own.md"
    call_latbench("export", "a.parquet", "--format", "markdown", "--output", target, cwd=runs)
    assert target.read_text() == plain.stdout
    assert summary.read_text() == "before\n" + plain.stdout


def test_other_formats_leave_the_step_summary_alone(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    done = call_latbench("export", "a.parquet", "--format", "json", cwd=runs)
    assert json.loads(done.stdout)
    assert not (tmp_path / "summary.md").exists()


def test_a_step_summary_that_cannot_be_written_is_told(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    done = call_latbench("export", "a.parquet", "--format", "markdown", cwd=runs)
    check_told(done, 1, "can't write", "unset GITHUB_STEP_SUMMARY, or give --output")


def test_findings_are_annotations_where_github_runs_it(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = call_latbench("export", "lost.parquet", "--format", "markdown", cwd=runs)
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert lines[0] == (
        "::error title=latbench ticks-lost::3 of 14,000 ticks never reached the consumer, and no "
        "percentile has them"
    )


# --- a page


def test_several_runs_are_one_side_of_a_page(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "plotly_bundle", lambda: PLOTLY)
    done = call_latbench("export", "a.parquet", "b.parquet", "--format", "html", cwd=runs)
    assert (done.code, done.stderr) == (0, "")
    assert "2 runs, the first of" in texts(parsed(done.stdout))
    assert "a.parquet" in done.stdout
    assert "b.parquet" in done.stdout


def test_runs_of_unlike_load_on_a_page_are_told(
    runs: Path, call_latbench: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(html, "plotly_bundle", lambda: PLOTLY)
    result = read_result(runs / "b.parquet")
    config = msgspec.structs.replace(result.config, tick_rate_hz=2000, seed=7)
    other = write_plain(tmp_path / "o.parquet", msgspec.structs.replace(result, config=config))
    done = call_latbench("export", runs / "a.parquet", other, "--format", "html", cwd=tmp_path)
    assert done.code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: {runs / 'a.parquet'} and {other} differ in tick-rate (")
    assert line.endswith("2,000/s); their histograms are added all the same")
    assert done.stdout.startswith("<!DOCTYPE html>")


# --- merge


def test_a_merge_is_printed_and_written(runs: Path, call_latbench: Caller, tmp_path: Path) -> None:
    log = tmp_path / "all.hlog"
    done = call_latbench(
        "merge", "a.parquet", "b.parquet", "lost.parquet", "--output", log, cwd=runs
    )
    assert done.code == 0
    assert done.stderr == f"histograms written to {log}\n"
    assert done.stdout.startswith("latbench merge of 2 runs: 24,000 ticks, 24 s measured\n")
    assert "left out  lost.parquet: 5f1c0003" in done.stdout
    assert log.read_text().count("Tag=") == 8


def test_a_merge_as_json(runs: Path, call_latbench: Caller) -> None:
    merged = call_latbench("merge", "a.parquet", "b.parquet", "--json", cwd=runs).result
    assert {hop["hop"]: hop["count"] for hop in merged["hops"]}["end_to_end"] == 24_000
    assert [run["file"] for run in merged["runs"]] == ["a.parquet", "b.parquet"]
    assert merged["hops"][4]["percentiles_ns"]["p99"] is not None


def test_all_runs_are_merged_where_asked(runs: Path, call_latbench: Caller) -> None:
    merged = call_latbench("merge", "a.parquet", "lost.parquet", "--all", "--json", cwd=runs).result
    assert {hop["hop"]: hop["count"] for hop in merged["hops"]}["end_to_end"] == 23_997


def test_a_merge_of_nothing_that_can_be_believed_exits_4(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    log = tmp_path / "x.hlog"
    done = call_latbench("merge", "lost.parquet", "--output", log, cwd=runs)
    check_told(done, 4, "lost.parquet is no valid measurement", "--all takes them all")
    assert not log.exists()


def test_a_merge_replaces_no_file_unless_asked(
    runs: Path, call_latbench: Caller, tmp_path: Path
) -> None:
    log = tmp_path / "x.hlog"
    log.touch()
    done = call_latbench("merge", "a.parquet", "--output", log, cwd=runs)
    check_told(done, 2, "x.hlog is there already", "add --overwrite")
    assert not log.read_bytes()


def test_a_merge_is_no_result_file(runs: Path, call_latbench: Caller) -> None:
    before = (runs / "b.parquet").read_bytes()
    for words in (("new.parquet",), ("b.parquet", "--overwrite")):
        done = call_latbench("merge", "a.parquet", "--output", *words, cwd=runs)
        told = f"{words[0]} would be no result file: a merge writes a log of HdrHistogram"
        check_told(done, 2, told, "write --output merged.hlog")
    assert (runs / "b.parquet").read_bytes() == before
    assert not (runs / "new.parquet").exists()


def test_a_command_of_its_own_leaves_nothing_behind(runs: Path) -> None:
    done = run_latbench("export", "a.parquet", "--format", "prometheus", cwd=runs)
    assert done.code == 0, done.talk
    assert "# TYPE latbench_hop_latency_seconds histogram\n" in done.stdout
