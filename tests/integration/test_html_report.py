"""The HTML report of a real run, with the real bundle."""

from __future__ import annotations

from pathlib import Path

from latbench.cli.html import plotly_bundle, write_html
from latbench.store import read_result
from latbench.units import format_latency
from tests.cli import SHORT, run_latbench
from tests.html_pages import figures, parsed, table, texts

MOST_BYTES = 8_000_000


def test_a_real_run_is_drawn_with_the_figures_of_its_file(tmp_path: Path) -> None:
    path, output = tmp_path / "run.parquet", tmp_path / "report.html"
    run = run_latbench("run", *SHORT, "--output", path, cwd=tmp_path)
    assert run.code == 0, run.talk
    write_html([path], output=output)
    page = output.read_text(encoding="utf-8")
    assert len(page.encode()) < MOST_BYTES
    # with a few bytes in it that strict HTML wants escaped, which no browser minds
    assert page.count(plotly_bundle()) == 1
    page = page.replace(plotly_bundle(), "")
    result = read_result(path)
    p50_ns = result.hop("end_to_end").percentiles_ns["p50"]
    assert p50_ns is not None
    assert format_latency(p50_ns) in texts(parsed(page))
    rows = {row[0].split()[0]: row for row in table(page, "Latency by hop")}
    for summary in result.hops:
        assert format_latency(summary.max_ns) in rows[summary.hop]
    (consumed,) = [
        each for each in figures(page)["throughput"]["data"] if each["name"] == "consumed"
    ]
    rates = [each for each in consumed["y"] if each is not None]
    assert rates
    assert all(0 < rate < 5 * result.achieved_rate_hz for rate in rates)
