"""Writing the HTML report of result files."""

from __future__ import annotations

from pathlib import Path

import pytest

from latbench.cli import html
from latbench.cli.html import read_side, write_html
from latbench.errors import LatbenchError, UsageError
from latbench.render.report import ALLOWED, INVALID
from latbench.result import Finding
from tests.html_pages import LOST, PLOTLY, parsed, texts, write_run
from tests.results import make_result


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder), write_run(folder, seed=2)]


@pytest.fixture
def _small_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "plotly_bundle", lambda: PLOTLY)


def test_the_bundle_is_plotlys_own_and_can_stand_in_a_page() -> None:
    bundle = html.plotly_bundle()
    assert bundle.lstrip().startswith("/**\n* plotly.js v")
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle


@pytest.mark.usefixtures("_small_bundle")
def test_a_report_is_written_to_a_file(runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    write_html([runs[0]], output=output)
    page = output.read_text(encoding="utf-8")
    assert f"{len(LOST)} of 15,000 ticks never reached the consumer" in texts(parsed(page))
    assert str(runs[0]) in texts(parsed(page))


@pytest.mark.usefixtures("_small_bundle")
def test_two_sides_go_by_their_labels(
    runs: list[Path], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:  # fmt: skip
    write_html([runs[0]], [runs[1]], labels=("main", "branch"), verdict_html="<p>pass</p>")
    page = capfdbinary.readouterr().out.decode()
    told = texts(parsed(page))
    assert "A · main" in told
    assert "B · branch" in told
    assert "<p>pass</p>" in page


@pytest.mark.usefixtures("_small_bundle")
def test_a_report_that_is_there_is_not_written_over(runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_html([runs[0]], output=output)
    assert output.read_text() == "mine"
    write_html([runs[0]], output=output, overwrite=True)
    assert output.read_text().startswith("<!DOCTYPE html>")


def test_a_directory_is_no_report(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        write_html([runs[0]], output=tmp_path)


@pytest.mark.usefixtures("_small_bundle")
def test_a_report_that_cannot_be_written_is_told(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LatbenchError, match="can't write"):
        write_html([runs[0]], output=tmp_path / "file" / "report.html")


def test_what_is_no_result_is_told_before_anything_is_written(tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    with pytest.raises(LatbenchError, match="does not exist"):
        write_html([tmp_path / "none.parquet"], output=output)
    assert not output.exists()


def test_findings_of_several_runs_are_told_once_each(
    monkeypatch: pytest.MonkeyPatch, runs: list[Path]
) -> None:
    lost = [Finding(code="ticks-lost", values={"lost": n, "sent": 10}) for n in (1, 2)]
    allowed = Finding(code="ticks-lost", values={"lost": 3, "sent": 10}, allowed=True)
    same = Finding(code="embedded-broker")
    results = iter(
        [
            make_result(findings=(lost[0], same)),
            make_result(findings=(lost[1], same)),
            make_result(findings=(allowed, same)),
        ]
    )
    monkeypatch.setattr(html, "read_result", lambda path: next(results))
    monkeypatch.setattr(html, "read_series", lambda path, intervals: None)
    found = read_side([runs[0]] * 3).findings
    assert [severity for severity, _ in found] == [INVALID, "info", ALLOWED]
    words = [text for _, text in found]
    assert words[0].startswith("2 of 3 runs, one of them: 1 of 10 ticks")
    assert words[1].startswith("3 of 3 runs: the kafka hop is")
    assert words[2].startswith("1 of 3 runs: 3 of 10 ticks")
