"""`latbench export` of an A/B session's file, in every format that there is of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from latbench.ab import conclude
from latbench.ab_file import AB_COLUMNS, write_ab
from latbench.ab_result import AbResult, AbStatus, Phase, Side
from latbench.cli import comparison_html
from latbench.cli.export_formats import WAYS, Format
from latbench.comparison import Unfit, Verdict
from latbench.render.ab_markdown import draw_ab_markdown
from latbench.render.comparison_words import sentence
from latbench.sweep_file import write_sweep
from tests.ab import make_drawn_session, make_plan, make_session
from tests.cli import Caller
from tests.html_pages import PLOTLY, figures, in_ns, parsed, table, texts, traces, write_run
from tests.rendering import assert_golden
from tests.sweeps import make_sweep

HELD = [each for each in Format if WAYS[each].holds_sessions]
REFUSED = [each for each in Format if not WAYS[each].holds_sessions]
PLAN = make_plan("p50=5%", "kafka.p90=60%", "p99.9=10%", pairs=12)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_html, "plotly_bundle", lambda: PLOTLY)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def slower() -> AbResult:
    return make_session(PLAN, by_us={"kafka": 100.0})


def same() -> AbResult:
    return make_session(make_plan("p50=20%"))


def close() -> AbResult:
    return make_session(make_plan("p50=5%"), times=1.09)


def spoiled() -> AbResult:
    session = same()
    assert session.comparison is not None
    bad = Unfit(run="run 3", side="B", why="3 of 100 ticks never reached the consumer")
    comparison = msgspec.structs.replace(
        session.comparison, verdict=Verdict.INCOMPARABLE, unfit=(bad,)
    )
    return msgspec.structs.replace(session, comparison=comparison)


def nothing() -> AbResult:
    return msgspec.structs.replace(
        same(), runs=(), comparison=None, status=AbStatus.FAILED, failure="the broker died"
    )


MADE: dict[str, Callable[[], AbResult]] = {
    "regression": slower,
    "pass": same,
    "inconclusive": close,
    "incomparable": spoiled,
    "nothing": nothing,
}


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest) -> tuple[str, AbResult]:
    return request.param, MADE[request.param]()


class Export:
    """`latbench export` of a session that lies in a directory of its own."""

    def __init__(self, caller: Caller, directory: Path) -> None:
        self._caller = caller
        self.directory = directory

    def __call__(self, result: AbResult, to: str, *options: object, code: int = 0) -> str:
        write_ab(self.directory / "s.parquet", result)
        done = self._caller("export", "s.parquet", "--format", to, *options, cwd=self.directory)
        assert done.code == code, done.talk
        assert not done.stderr
        return done.stdout


@pytest.fixture
def export(call_latbench: Caller, tmp_path: Path) -> Export:
    return Export(call_latbench, tmp_path)


# --- which formats ------------------------------------------------------------------------------


def test_formats_of_ticks_or_of_one_run_are_refused() -> None:
    assert set(REFUSED) == {Format.HLOG, Format.HGRM, Format.PROMETHEUS, Format.ARROW}


@pytest.mark.parametrize("to", REFUSED)
def test_a_format_without_a_meaning_is_refused_with_those_that_have_one(
    to: Format, call_latbench: Caller, tmp_path: Path
) -> None:
    write_ab(tmp_path / "s.parquet", same())
    done = call_latbench("export", "s.parquet", "--format", to, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error: s.parquet is of an A/B session, which --format {to} can't tell",
        "hint: there is csv, json, markdown, junit, html",
    ]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--format", "junit", "--fail-on", "p50 > 1s"), "--fail-on has no meaning for it"),
        (("--format", "junit", "--no-annotations"), "--format junit makes no annotations"),
    ],
)
def test_an_option_without_a_meaning_is_refused(
    options: tuple[str, ...], error: str, call_latbench: Caller, tmp_path: Path
) -> None:
    write_ab(tmp_path / "s.parquet", same())
    done = call_latbench("export", "s.parquet", *options, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert error in first
    assert second.startswith("hint: leave ")


@pytest.mark.parametrize("to", HELD)
def test_a_directory_gets_a_file_of_a_session(to: Format, export: Export) -> None:
    (export.directory / "out").mkdir()
    assert export(make_drawn_session(), to, "--output", "out") == ""
    (made,) = (export.directory / "out").iterdir()
    assert made.name == f"s.{WAYS[to].suffix}"


def test_sweeps_are_still_refused_and_merges_of_sessions(
    call_latbench: Caller, tmp_path: Path
) -> None:
    write_sweep(tmp_path / "sweep.parquet", make_sweep())
    write_ab(tmp_path / "s.parquet", same())
    done = call_latbench("export", "sweep.parquet", "--format", "html", cwd=tmp_path)
    assert done.stderr.startswith("error: sweep.parquet is of a sweep: export takes runs\n")
    done = call_latbench("merge", "s.parquet", cwd=tmp_path)
    assert done.stderr.startswith("error: s.parquet is of an A/B session: merge takes runs\n")
    assert "latbench ab --keep-runs" in done.stderr


# --- Markdown and annotations -------------------------------------------------------------------


def test_markdown_has_the_verdict_first(made: tuple[str, AbResult], export: Export) -> None:
    name, result = made
    text = export(result, "markdown")
    assert_golden(f"markdown-ab-{name}", text)
    assert text == draw_ab_markdown(result, "s.parquet")
    if name != "nothing":
        assert text.splitlines()[0].endswith(f" {name}")
        assert text.splitlines()[2].startswith(f"**{name.capitalize()}:** ")


def test_every_row_of_a_markdown_table_has_its_cells(made: tuple[str, AbResult]) -> None:
    cells = 0
    for line in draw_ab_markdown(made[1], "s.parquet").splitlines():
        if not line.startswith("|"):
            cells = 0
            continue
        found = line.replace("\\|", "").count("|")
        assert cells in {0, found}, line
        cells = found


def test_a_name_is_no_markup() -> None:
    result = same()
    evil = msgspec.structs.replace(result.plan.b, options=("--topic", "a|<b>*x*"))
    plan = msgspec.structs.replace(result.plan, b=evil)
    text = draw_ab_markdown(msgspec.structs.replace(result, plan=plan), "a|b`.parquet")
    assert "a\\|\\<b\\>\\*x\\*" in text
    assert "a\\|b\\`.parquet" in text


COMMANDS = {
    "regression": "::error title=latbench ab::Regression: end_to_end.p50 is slower by ",
    "pass": "::notice title=latbench ab::Pass: end_to_end.p50 ",
    "inconclusive": "::warning title=latbench ab::Inconclusive: end_to_end.p50 ",
    "incomparable": "::warning title=latbench ab::Incomparable: run 3 (B) does not count: 3 of ",
    "nothing": "::error title=latbench ab::the broker died",
}


def test_a_verdict_is_one_annotation_on_github(
    made: tuple[str, AbResult], export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, result = made
    summary = export.directory / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (line,) = export(result, "markdown", "--output", "s.md").splitlines()
    assert line.startswith(COMMANDS[name])
    assert "%" not in line.replace("%25", "")
    assert export(result, "markdown", "--output", "t.md", "--no-annotations") == ""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    write_ab(export.directory / "s.parquet", result)
    done = export._caller("export", "s.parquet", "--format", "markdown", cwd=export.directory)
    assert done.stdout.splitlines() == [line]
    assert done.stderr == "added to $GITHUB_STEP_SUMMARY, not printed\n"
    assert summary.read_text() == draw_ab_markdown(result, "s.parquet")


# --- JUnit, JSON, CSV ---------------------------------------------------------------------------

KINDS = {"regression": "failure", "inconclusive": "skipped", "incomparable": "error", "pass": None}


def test_junit_has_a_case_for_each_gate(made: tuple[str, AbResult], export: Export) -> None:
    name, result = made
    root = ET.fromstring(export(result, "junit"))
    (suite,) = root
    cases = list(suite.iter("testcase"))
    assert len(cases) == len(result.plan.gates) == int(suite.get("tests", ""))
    found = {
        f"{(case.get('classname') or '').removeprefix('latbench.ab.')}.{case.get('name')}": case
        for case in cases
    }
    assert list(found) == [gate.subject for gate in result.plan.gates]
    for total, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(total, "")) == len(list(suite.iter(kind)))
    if name in {"incomparable", "nothing"}:
        assert all(case.find("error") is not None for case in cases)
        why = "the broker died" if name == "nothing" else "run 3 (B) does not count"
        assert all(why in (case.findtext("system-out") or "") for case in cases)
        return
    assert result.comparison is not None
    for each in result.comparison.gates:
        case = found[each.gate.subject]
        kinds = [kind for kind in ("failure", "skipped", "error") if case.find(kind) is not None]
        expected = KINDS[str(each.verdict)]
        assert kinds == ([expected] if expected else [])
        assert case.findtext("system-out") == sentence(each)
        if expected:
            told = case.find(expected)
            assert told is not None
            assert told.get("message") == sentence(each)
        new_ns = each.change.new_ns or 0
        assert float(case.get("time", "")) == pytest.approx(new_ns / 1e9, abs=1e-9)


def test_junit_holds_runs_and_sessions_together(call_latbench: Caller, tmp_path: Path) -> None:
    write_ab(tmp_path / "s.parquet", slower())
    run = write_run(tmp_path / "runs", seed=1)
    done = call_latbench("export", run, "s.parquet", "--format", "junit", cwd=tmp_path)
    root = ET.fromstring(done.stdout)
    assert [suite.get("name") for suite in root] == ["latbench", "latbench ab"]
    assert int(root.get("tests", "")) == sum(int(suite.get("tests", "")) for suite in root)
    done = call_latbench("export", run, "s.parquet", "--format", "markdown", cwd=tmp_path)
    assert "## latbench run " in done.stdout
    assert "## latbench ab: " in done.stdout


def test_json_is_what_ab_itself_prints(export: Export, call_latbench: Caller) -> None:
    told = export(slower(), "json")
    assert told == call_latbench("report", "s.parquet", "--json", cwd=export.directory).stdout
    assert json.loads(told)["comparison"]["verdict"] == "regression"


def test_csv_has_a_line_for_each_run(export: Export) -> None:
    result = slower()
    rows = list(csv.DictReader(io.StringIO(export(result, "csv"))))
    assert len(rows) == len(result.runs)
    assert list(rows[0])[: len(AB_COLUMNS)] == [name for name, _ in AB_COLUMNS]
    for row, run in zip(rows, result.runs, strict=True):
        assert (row["phase"], row["side"], int(row["pair"])) == (run.phase, run.side, run.pair)
        p50_ns = run.result.hop("end_to_end").percentiles_ns["p50"]
        assert float(row["end_to_end_p50_ns"]) == p50_ns
        p9999_ns = run.result.hop("end_to_end").percentiles_ns["p99.99"]
        assert row["end_to_end_p99.99_ns"] == ("" if p9999_ns is None else str(p9999_ns))


# --- HTML ---------------------------------------------------------------------------------------


def test_a_page_is_drawn_from_the_sessions_file_alone(export: Export) -> None:
    result = make_drawn_session()
    page = export(result, "html")
    document = parsed(page)
    told = texts(document)
    assert "A · latbench run" in told
    assert "B · latbench run --linger 5" in told
    assert set(figures(page)) == {"percentiles", "histogram", "runs", "contributions"}
    for side in Side:
        letter = side.upper()
        count = sum(run.hop("end_to_end").count for run in result.results(side))
        (line,) = [
            each
            for each in traces(page, "percentiles", hop="end_to_end")
            if each["name"] == letter and each["mode"] == "lines" and each["line"]["width"] == 2
        ]
        assert line["x"][-1] == pytest.approx(count / 100, rel=1e-3)
        (marks,) = [
            each
            for each in traces(page, "runs", hop="kafka", stat="p50")
            if each["name"].startswith(letter)
        ]
        values = [run.hop("kafka").percentiles_ns["p50"] for run in result.results(side)]
        np.testing.assert_allclose(in_ns(marks["y"]), values, rtol=1e-3)
    assert "s.parquet" in told


def test_the_verdict_comes_before_the_figures(export: Export) -> None:
    result = make_drawn_session()
    assert result.comparison is not None
    page = export(result, "html")
    (header,) = parsed(page).iter("header")
    kinds = [each.get("class") for each in header]
    assert kinds.index("verdict") < kinds.index("tiles")
    (verdict,) = [each for each in header if each.get("class") == "verdict"]
    told = texts(verdict)
    (gate,) = result.comparison.gates
    assert sentence(gate) in told
    assert table(page, "Gates")[1][0] == "end_to_end.p50"
    assert table(page, "Gates")[1][-1] == "regression"
    dots = [each for each in verdict.iter("i") if (each.get("class") or "").startswith("dot")]
    assert len(dots) == 6
    assert all(each.get("class") == "dot beyond" for each in dots)


def test_a_page_has_charts_over_time_where_the_runs_were_kept(
    call_latbench: Caller, tmp_path: Path
) -> None:
    session = make_drawn_session()
    wanted = [run for run in session.runs if run.phase is Phase.MEASURED]
    files = {run.number: write_run(tmp_path / "s.runs", seed=run.number) for run in wanted}
    kept = []
    for run in session.runs:
        if run.number in files:
            own = comparison_html.read_result(files[run.number])
            # as it was named when it ran: since then the directory was moved
            run = msgspec.structs.replace(  # noqa: PLW2901
                run, result=own, file=f"gone/s.runs/{files[run.number].name}"
            )
        kept.append(run)
    write_ab(tmp_path / "s.parquet", conclude(msgspec.structs.replace(session, runs=tuple(kept))))
    done = call_latbench("export", "s.parquet", "--format", "html", cwd=tmp_path)
    assert {"latency", "throughput"} <= set(figures(done.stdout))
    files[wanted[0].number].unlink()
    done = call_latbench("export", "s.parquet", "--format", "html", cwd=tmp_path)
    assert done.code == 0
    assert not {"latency", "throughput"} & set(figures(done.stdout))


def test_a_session_without_a_pair_has_no_page(call_latbench: Caller, tmp_path: Path) -> None:
    write_ab(tmp_path / "s.parquet", nothing())
    done = call_latbench("export", "s.parquet", "--format", "html", cwd=tmp_path)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: s.parquet has no whole pair to draw",
        "hint: latbench report s.parquet tells what there is",
    ]


def test_a_session_shares_its_page_with_nothing(call_latbench: Caller, tmp_path: Path) -> None:
    write_ab(tmp_path / "s.parquet", make_drawn_session())
    run = write_run(tmp_path / "runs")
    done = call_latbench("export", run, "s.parquet", "--format", "html", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert "s.parquet is of an A/B session, which has a page of its own" in done.stderr
